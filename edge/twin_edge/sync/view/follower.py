"""Following one twin: from its messages to updates."""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import LostPacketError, MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.view.bundles import BundleStore, LoadedBundle
from twin_edge.sync.view.history import History
from twin_edge.sync.view.listeners import Sink, Tap
from twin_edge.sync.view.meters import Meters
from twin_edge.sync.view.pending import Pending
from twin_edge.sync.view.sequence import Sequence
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.events import parse_event
from twin_edge.sync.wire.history import parse_history
from twin_edge.sync.wire.messages import (
    Availability,
    CodecInfo,
    HeardReport,
    Request,
    build_request,
    parse_avail,
    parse_codec,
    parse_state,
)
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.packet import HEADER_BYTES, Flags, Packet, PacketHeader

_PATIENCE_S: Final = 1.0
"""How long what we need may take to come by itself before we ask for it."""
_MAX_PATIENCE_S: Final = 30.0
_EVENT_IDS: Final = 64
"""Events that are remembered, because they may come twice."""
_MODEL: Final = slice(4, 8)
"""Where a packet says of which bundle it is."""

_U32: Final = 0xFFFF_FFFF

_LOGGER = logging.getLogger(__name__)


class Follower:
    """Follows one twin; all methods run in the network thread.

    Args:
        client: The connection.
        twin: Whom to follow.
        bundles: Where its bundle comes from.
        sink: Takes updates and events.
        tap: Gets what the twin sends as it came.
    """

    def __init__(
        self,
        client: MqttClient,
        twin: TwinId,
        bundles: BundleStore,
        sink: Sink,
        tap: Tap | None = None,
    ) -> None:
        self.twin = twin
        self.availability: Availability | None = None
        self.codec: CodecInfo | None = None
        self.report: HeardReport | None = None
        self.sequence = Sequence()
        self.history = History()
        self.meters = Meters()
        self.states = self.missed = self.dropped = self.events = 0
        self.owed = 0
        """States that were lost here and that no update has told of yet."""
        self.malformed = self.unknown_model = self.lost_packets = self.resyncs = 0
        self._client = client
        self._bundles = bundles
        self._sink = sink
        self._tap = tap
        self._loaded: LoadedBundle | None = None
        self._model = b""
        self._reader: PacketReader | None = None
        self._last_key = b""
        self._event_ids: deque[str] = deque(maxlen=_EVENT_IDS)
        self._pending = Pending()
        self._ask_at = self._asked_at = 0.0
        self._patience = _PATIENCE_S
        self._missing_then = 0
        topics = twin.topics
        self._request = topics.request
        self.handlers: dict[str, Callable[[Inbound], None]] = {
            topics.avail: self._hear_avail,
            topics.codec: self._hear_codec,
            topics.state: self._hear_state,
            topics.key: self._hear_packet,
            topics.stream: self._hear_packet,
            topics.history: self._hear_history,
            topics.event: self._hear_event,
        }
        """What takes the messages of each topic; each raises `MessageError` where it refuses one."""

    @property
    def bundle(self) -> Bundle | None:
        """The bundle of the current codec, None until it is there."""
        return self._loaded.bundle if self._loaded else None

    @property
    def duplicates(self) -> int:
        """States that came twice or too late."""
        return self.sequence.duplicates + self.history.duplicates

    @property
    def trouble(self) -> str:
        """What to do when the bundle does not come."""
        refused = self._bundles.refused.get((self.codec.bundle, self.twin)) if self.codec else None
        return refused or "restart the device, or put the bundle into the cache folder"

    def connected(self) -> None:
        """Begins with a new connection: what is needed may come by itself."""
        self._ask_at = 0.0

    def use(self, loaded: LoadedBundle) -> None:
        """Takes a bundle, and reads the packets that have waited for it; nothing where it is not the one needed."""
        if self.codec is None or self.codec.bundle != loaded.bundle.digest or self._loaded is not None:
            return
        self._loaded = loaded
        self._model = self.codec.model.to_bytes(4, "little")
        self._reader = loaded.reader()
        self.history.use(loaded)
        for message in self._pending.take():
            try:
                self._hear_packet(message)
            except MessageError as error:
                self.refuse(error)

    def refuse(self, error: MessageError) -> None:
        """Counts a message that was refused."""
        self.malformed += 1
        _LOGGER.debug("%s: %s", self.twin, error)

    def tick(self, now: float) -> bool:
        """Asks the device for what has not come by itself; returns whether it did."""
        codec = self.codec
        if codec is None or (self._loaded is None and (codec.bundle, self.twin) in self._bundles.refused):
            return False
        needs_key = self._reader is not None and self._reader.needs_key
        if self._loaded is not None and self.sequence.session is not None and not needs_key and not self._pending:
            self._ask_at, self._patience = 0.0, _PATIENCE_S
            return False
        if needs_key and not self._ask_at:
            # It will not come by itself before the next key that is on schedule.
            self._ask_at = max(now, self._asked_at + _PATIENCE_S)
        missing = 0 if self._loaded is not None else self._bundles.missing(codec.bundle)
        asks = False
        if not self._ask_at or missing < self._missing_then:
            self._ask_at = now + self._patience
        elif now >= self._ask_at:
            self._ask(lacks_bundle=self._loaded is None)
            self._asked_at = now
            self._patience = min(2 * self._patience, _MAX_PATIENCE_S)
            self._ask_at = now + self._patience
            asks = True
        self._missing_then = missing
        return asks

    def _ask(self, *, lacks_bundle: bool) -> None:
        request = Request(secrets.token_hex(8), "resync", lacks_bundle)
        if self._client.publish(Outbound(self._request, build_request(request), qos=1)):
            self.resyncs += 1
        if lacks_bundle and self.codec is not None:
            # What lies on the broker is sent again with a new subscription.
            self._client.subscribe([(self.twin.topics.codec, 1)])
            self._bundles.asked(self.codec.bundle, self.twin)

    def _hear_avail(self, message: Inbound) -> None:
        heard = parse_avail(self.twin, message.payload)
        known = max(
            self.availability.session if self.availability else 0,
            self.sequence.session or 0,
        )
        # The will of an earlier connection may come after the device is back.
        if heard.session >= known:
            self.availability = heard
            if not heard.online:
                self.meters.offline()

    def _hear_state(self, message: Inbound) -> None:
        heard = parse_state(self.twin, message.payload)
        if self.report is None or heard.rev > self.report.rev:
            self.report = heard
            self.meters.report(heard)
            if self._tap is not None:
                self._tap.on_report(self.twin, message.payload, heard)

    def _hear_codec(self, message: Inbound) -> None:
        heard = parse_codec(message.payload)
        if self.codec is not None and heard == self.codec:
            return
        if self.codec is None or heard.bundle != self.codec.bundle:
            self._loaded = self._reader = None
            self._last_key = b""
        self.codec = heard
        if self._loaded is None:
            loaded = self._bundles.get(heard.bundle, self.twin)
            if loaded is not None:
                self.use(loaded)

    def _hear_packet(self, message: Inbound) -> None:
        data = message.payload
        loaded, reader = self._loaded, self._reader
        if loaded is None or reader is None or data[_MODEL] != self._model:
            self._await_bundle(message)
            return
        if data == self._last_key:
            # A key comes both ways.
            self.sequence.duplicates += data[3]
            return
        try:
            packet = reader.read(data)
        except LostPacketError as error:
            self.lost_packets += 1
            _LOGGER.debug("%s: %s", self.twin, error)
            return
        finally:
            if self._pending:
                self._pending.take()
        if packet.flags & Flags.KEY:
            self._last_key = data
        if self._tap is not None:
            self._tap.on_packet(self.twin, loaded.bundle, data, packet)
        places = self.sequence.take(packet, retained=message.retained)
        if places:
            self._tell(loaded, packet, places, retained=message.retained)

    def _hear_history(self, message: Inbound) -> None:
        for data in parse_history(message.payload):
            try:
                read = self.history.read(data)
            except LostPacketError:
                self.lost_packets += 1
                continue
            except MessageError as error:
                self.refuse(error)
                continue
            if read is None:
                self.unknown_model += 1
                continue
            loaded, packet, places = read
            if self._tap is not None:
                self._tap.on_packet(self.twin, loaded.bundle, data, packet)
            new = [(place, 0) for place in places]
            self._sink.put_updates(self.twin, self._updates(loaded, packet, new, None))

    def _hear_event(self, message: Inbound) -> None:
        heard = parse_event(message.payload)
        if heard.id in self._event_ids:
            return
        self._event_ids.append(heard.id)
        self.events += 1
        if self._tap is not None:
            self._tap.on_event(self.twin, message.payload, heard)
        self._sink.put_event(TwinEvent(self.twin, heard))

    def _tell(self, loaded: LoadedBundle, packet: Packet, places: list[tuple[int, int]], *, retained: bool) -> None:
        first, last = places[0][0], places[-1][0]
        self.history.seen(packet.session, (packet.seq + first) & _U32, (packet.seq + last) & _U32)
        self.states += len(places)
        self.missed += places[0][1]
        last_us = packet.time_us + 1000 * packet.offsets_ms[-1]
        latency_ms = None if retained else (time.time_ns() // 1000 - last_us) / 1e3
        self.meters.packet(len(places), HEADER_BYTES + packet.payload_bytes, latency_ms)
        if self.owed:
            (place, missing), *others = places
            places, self.owed = [(place, missing + self.owed), *others], 0
        self._sink.put_updates(self.twin, self._updates(loaded, packet, places, self.report))

    def _updates(
        self, loaded: LoadedBundle, packet: Packet, places: list[tuple[int, int]], report: HeardReport | None
    ) -> list[TwinUpdate]:
        """Returns the updates of some states of a packet: of each its place, and how many are missing before it."""
        flags = packet.flags
        key, historical = Flags.KEY in flags, Flags.HISTORICAL in flags
        payload_bytes = packet.payload_bytes / len(packet.states)
        gap, in_sync = (None, None) if report is None else (report.gap, report.in_sync)
        return [
            TwinUpdate(
                self.twin,
                packet.session,
                (packet.seq + place) & _U32,
                packet.time_us + 1000 * packet.offsets_ms[place],
                packet.states[place],
                missed,
                key,
                payload_bytes,
                historical,
                gap,
                in_sync,
                loaded.renderer,
            )
            for place, missed in places
        ]

    def _await_bundle(self, message: Inbound) -> None:
        header = PacketHeader.decode(message.payload)
        codec = self.codec
        self.unknown_model += codec is not None and header.model != codec.model
        # It may be of a bundle that is on its way.
        self._pending.add(message)
