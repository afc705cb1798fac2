"""Following one twin: from its messages to updates, fetching its bundle on the way."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import BundleError, LostPacketError, MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.sequence import Sequence
from twin_edge.sync.view.update import Renderer, TwinUpdate
from twin_edge.sync.wire.blocks import Assembler, BundleIndex
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
from twin_edge.twin.packet import Flags, PacketHeader

_PATIENCE_S: Final = 1.0
"""How long what we need may take to come by itself before we ask for it."""
_MAX_PATIENCE_S: Final = 30.0
_MAX_PENDING: Final = 128
_MAX_PENDING_BYTES: Final = 64 * 1024
"""Longest packet that may wait for its bundle."""

_LOGGER = logging.getLogger(__name__)


class Follower:
    """Follows one twin; all methods run in the network thread.

    Args:
        client: The connection.
        twin: Whom to follow.
        cache: Bundles that were fetched before.
        put: Takes each update.
    """

    def __init__(self, client: MqttClient, twin: TwinId, cache: BundleCache, put: Callable[[TwinUpdate], None]) -> None:
        self.twin = twin
        self.availability: Availability | None = None
        self.codec: CodecInfo | None = None
        self.report: HeardReport | None = None
        self.sequence = Sequence()
        self.malformed = self.unknown_model = self.lost_packets = self.resyncs = 0
        self.trouble = "restart the device, or put the bundle into the cache folder"
        self._client = client
        self._topics = twin.topics
        self._cache = cache
        self._put = put
        self._renderer: Renderer | None = None
        self._reader: PacketReader | None = None
        self._index: BundleIndex | None = None
        self._assembler: Assembler | None = None
        self._pending: deque[Inbound] = deque(maxlen=_MAX_PENDING)
        self._ask_at = self._asked_at = 0.0
        self._patience = _PATIENCE_S
        self._missing_then = 0
        self._refused = ""
        self._handlers: dict[str, Callable[[Inbound], None]] = {
            self._topics.avail: self._hear_avail,
            self._topics.codec: self._hear_codec,
            self._topics.state: self._hear_state,
            self._topics.index: self._hear_index,
            self._topics.key: self._hear_packet,
            self._topics.stream: self._hear_packet,
        }

    @property
    def bundle(self) -> Bundle | None:
        """The bundle of the current codec, None until it is there."""
        return self._renderer.bundle if self._renderer else None

    def begin(self) -> None:
        """Subscribes, in the order in which retained messages are wanted."""
        topics = self._topics
        self._ask_at = 0.0
        self._client.subscribe(
            [
                (topics.avail, 1),
                (topics.codec, 1),
                (topics.state, 1),
                (topics.index, 1),
                (topics.key, 1),
                (topics.stream, 0),
            ]
        )
        if self._assembler is not None:
            self._client.subscribe([(topics.blocks, 1)])

    def heard(self, message: Inbound) -> None:
        """Takes an untrusted message."""
        handler = self._handlers.get(message.topic)
        number = self._topics.block_number(message.topic) if handler is None else None
        try:
            if handler is not None and message.payload:
                handler(message)
            elif number is not None:
                self._hear_block(number, message.payload)
        except MessageError as error:
            self.malformed += 1
            _LOGGER.debug("%s", error)

    def tick(self, now: float) -> None:
        """Asks the device for what has not come by itself."""
        if self.codec is None or self.codec.bundle == self._refused:
            return
        missing = self._assembler.missing if self._assembler else 0
        needs_key = self._reader is not None and self._reader.needs_key
        if needs_key and not self._ask_at:
            # It will not come by itself before the next key that is on schedule.
            self._ask_at = max(now, self._asked_at + _PATIENCE_S)
        has_all = self.bundle is not None and self.sequence.session is not None
        if has_all and not needs_key and not self._waits_for_model():
            self._ask_at, self._patience = 0.0, _PATIENCE_S
        elif not self._ask_at or missing < self._missing_then:
            self._ask_at = now + self._patience
        elif now >= self._ask_at:
            self._ask(lacks_bundle=self.bundle is None)
            self._asked_at = now
            self._patience = min(2 * self._patience, _MAX_PATIENCE_S)
            self._ask_at = now + self._patience
        self._missing_then = missing

    def _waits_for_model(self) -> bool:
        return self.bundle is not None and bool(self._pending)

    def _ask(self, *, lacks_bundle: bool) -> None:
        request = Request(secrets.token_hex(8), "resync", lacks_bundle)
        if self._client.publish(Outbound(self._topics.request, build_request(request), qos=1)):
            self.resyncs += 1
        if lacks_bundle:
            # What lies on the broker is sent again with a new subscription.
            wanted = [(self._topics.codec, 1), (self._topics.index, 1)]
            self._client.subscribe(wanted + ([(self._topics.blocks, 1)] if self._assembler else []))

    def _hear_avail(self, message: Inbound) -> None:
        heard = parse_avail(self.twin, message.payload)
        known = max(
            self.availability.session if self.availability else 0,
            self.sequence.session or 0,
        )
        # The will of an earlier connection may come after the device is back.
        if heard.session >= known:
            self.availability = heard

    def _hear_state(self, message: Inbound) -> None:
        heard = parse_state(self.twin, message.payload)
        if self.report is None or heard.rev > self.report.rev:
            self.report = heard

    def _hear_codec(self, message: Inbound) -> None:
        heard = parse_codec(message.payload)
        if self.codec is not None and heard == self.codec:
            return
        if self.codec is None or heard.bundle != self.codec.bundle:
            self._renderer = self._reader = None
            self._end_fetching()
        self.codec = heard
        if self._renderer is None:
            cached = self._cache.load(heard.bundle)
            if cached is not None:
                self._use(cached)
            else:
                self._begin_fetching()

    def _hear_index(self, message: Inbound) -> None:
        heard = BundleIndex.from_bytes(message.payload)
        if heard == self._index:
            return
        self._index = heard
        if self._renderer is None:
            self._end_fetching()
            self._begin_fetching()

    def _begin_fetching(self) -> None:
        # The index of another bundle lies there until the device has brought the whole new one.
        if self.codec is not None and self._index is not None and self._index.digest == self.codec.bundle:
            self._assembler = Assembler(self._index)
            self._client.subscribe([(self._topics.blocks, 1)])

    def _end_fetching(self) -> None:
        if self._assembler is not None:
            self._assembler = None
            self._client.unsubscribe([self._topics.blocks])

    def _hear_block(self, number: int, payload: bytes) -> None:
        assembler = self._assembler
        if assembler is None or not assembler.add(number, payload) or assembler.missing:
            return
        self._end_fetching()
        try:
            bundle = assembler.bundle()
        except (BundleError, MessageError) as error:
            # Each block is what the index says, so asking for them again would bring the same.
            self._refused = assembler.index.digest
            self.trouble = str(error)
            _LOGGER.warning("the bundle of %s is refused (%s)", self.twin, error)
            raise MessageError(f"the fetched bundle is refused ({error.message})") from error
        self._cache.store(bundle)
        self._use(bundle)

    def _use(self, bundle: Bundle) -> None:
        self._renderer = Renderer(bundle)
        self._reader = PacketReader(bundle.codec)
        pending = list(self._pending)
        self._pending.clear()
        for message in pending:
            try:
                self._hear_packet(message)
            except MessageError:
                self.malformed += 1

    def _hear_packet(self, message: Inbound) -> None:
        header = PacketHeader.decode(message.payload)
        renderer, reader, codec = self._renderer, self._reader, self.codec
        if codec is None or renderer is None or reader is None or header.model != codec.model:
            self.unknown_model += codec is not None and header.model != codec.model
            # It may be of a bundle that is on its way.
            if len(message.payload) <= _MAX_PENDING_BYTES:
                self._pending.append(message)
            return
        try:
            packet = reader.read(message.payload)
        except LostPacketError as error:
            self.lost_packets += 1
            _LOGGER.debug("%s", error)
            return
        finally:
            self._pending.clear()
        for place, missed in self.sequence.take(packet, retained=message.retained):
            self._put(
                TwinUpdate(
                    twin=self.twin,
                    session=packet.session,
                    seq=packet.seqs()[place],
                    time_us=packet.time_us + 1000 * packet.offsets_ms[place],
                    state=packet.states[place],
                    missed=missed,
                    key=bool(packet.flags & Flags.KEY),
                    payload_bytes=packet.payload_bytes / len(packet.states),
                    historical=bool(packet.flags & Flags.HISTORICAL),
                    gap=self.report.gap if self.report else None,
                    in_sync=self.report.in_sync if self.report else None,
                    _renderer=renderer,
                )
            )
