"""The device's side: publishes packets and what subscribers need to read them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import topic_matches_sub

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import ConfigError, MessageError
from twin_edge.sync.device.operations import Operations
from twin_edge.sync.device.part import LinkPart
from twin_edge.sync.device.requests import RequestGate, answer_to
from twin_edge.sync.device.upload import BundleUpload
from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, Outbound
from twin_edge.sync.wire.messages import (
    Availability,
    Request,
    StateReport,
    build_answer,
    build_avail,
    build_codec,
    build_state,
    parse_avail,
)
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import Codec, Flags, Packet

_ONLINE_AT_LATEST_S: Final = 5.0
"""Subscribers are told that we are online after this time even while the bundle is still on its way."""
_GOODBYE_S: Final = 0.9
_REPEAT_S: Final = 1.0
_TICK_S: Final = 0.1
_IDLE_TICK_S: Final = 0.28
"""When nothing but packets is left to send: each tick wakes the processor, and packets are ticks already."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """How a device keeps its link."""

    broker: BrokerConfig
    """How to reach the broker."""
    wait: bool = False
    """Whether to start without a broker, and keep trying: what a service wants."""
    uploads_bundle: bool = True
    """Whether to keep the bundle on the broker for subscribers that do not have it."""
    requests_per_s: float = 10.0
    """Requests that are carried out per second, above 0; the others are dropped and counted."""
    codec: Codec = Codec.RAW
    """How the packets code their states, which is said to subscribers."""

    def __post_init__(self) -> None:
        if not self.requests_per_s > 0:
            raise ConfigError("the rate of requests must be above 0 per second", fix="correct it")


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Counters of a link since its start."""

    connected: bool
    """Whether the broker has us, as far as we have heard."""
    ready: bool
    """Whether everything that a late joiner needs is on the broker, and the device marked online."""
    protocol: str
    """MQTT version of the connection, empty without one."""
    reconnects: int
    """Connections after the first one."""
    sent: int
    """Packets handed to the network."""
    skipped: int
    """Packets dropped because there was no connection or its buffer was full."""
    queued: int
    """Messages of QoS 1 that the broker has not acknowledged yet."""
    requests: int
    """Requests carried out."""
    refused: int
    """Requests that were malformed, repeated, retained or too many."""
    errors: int
    """Exceptions of handlers; each is a defect."""
    uploads: int
    """Times the bundle was sent."""


class DeviceLink:
    """Publishes one twin, from `start` to `stop`, or as a context manager.

    Nothing but `start` waits for the network, and nothing but `start` raises for it. `publish`, `report` and
    `take_resync` are for one thread, `stats` is for any.

    Args:
        config: How to keep the link.
        twin_id: Whom to publish.
        bundle: What the states are made with.
        session: Number of this process start, from `Counters`.
        parts: Further features of the link, in the order in which they have their say.
        operations: What can be asked of the device; the link adds its own, `ping` and `resync`.
    """

    def __init__(
        self,
        config: LinkConfig,
        twin_id: TwinId,
        bundle: Bundle,
        session: int,
        parts: Sequence[LinkPart] = (),
        operations: Operations | None = None,
    ) -> None:
        self._config = config
        self._twin = twin_id
        self._topics = twin_id.topics
        self._session = session
        will = self._avail(Availability("offline", session))
        self._client = MqttClient(config.broker, twin_id.device, self, user=twin_id.device, will=will)
        self._codec = Outbound(self._topics.codec, build_codec(bundle, config.codec), qos=1, retain=True)
        self._upload = BundleUpload(self._client, self._topics, bundle) if config.uploads_bundle else None
        self._gate = RequestGate(config.requests_per_s)
        self._key: Outbound | None = None
        self._state: Outbound | None = None
        self._resync = threading.Event()
        self._ready = threading.Event()
        self._online = self._stopping = False
        self._online_at_latest = self._said_online_at = 0.0
        self._seq = self._sent = self._skipped = 0
        self._operations = operations or Operations()
        self._operations.add("ping", lambda _request: {})
        self._operations.add("resync", self._want_key)
        self._parts = tuple(parts)
        for part in self._parts:
            part.attach(self.send)

    def start(self) -> None:
        """Connects.

        Raises:
            BrokerUnreachableError: Nobody answers; not with `LinkConfig.wait`.
            BrokerRefusedError: The broker does not take us; not with `LinkConfig.wait`.
        """
        self._client.connect(wait=self._config.wait)

    def wait_ready(self, timeout_s: float) -> bool:
        """Waits until a late joiner finds everything on the broker; returns whether that is so."""
        deadline = time.monotonic() + timeout_s
        return self._ready.wait(timeout_s) and self._client.wait_acked(max(0.0, deadline - time.monotonic()))

    def publish(self, packet: Packet) -> bool:
        """Sends a packet, without ever waiting.

        Args:
            packet: With the flag `KEY`, it is also what the broker keeps for late joiners.

        Returns:
            Whether it was handed to the network; if not, subscribers see a gap in the sequence numbers.
        """
        data = packet.encode()
        self._seq = packet.seqs()[-1]
        if packet.flags & Flags.KEY:
            self._key = Outbound(self._topics.key, data, qos=1, retain=True)
            self._client.publish(self._key)
        # Key packets go both ways: who follows the stream sees no gap.
        sent = self._client.publish(Outbound(self._topics.stream, data))
        if sent:
            self._sent += 1
        else:
            self._skipped += 1
        return sent

    def report(self, report: StateReport) -> None:
        """Publishes a state report, or keeps it as the latest one until there is a connection.

        Args:
            report: The caller keeps to one a second on change, and one a minute without.
        """
        payload = build_state(self._twin, self._session, report)
        self._state = Outbound(self._topics.state, payload, qos=1, retain=True)
        self._client.publish(self._state)

    def send(self, message: Outbound, delivery: Delivery) -> Receipt:
        """Takes a message to send, from any thread; never waits and never raises.

        Args:
            message: What to send.
            delivery: How much is to be done for it to arrive.
        """
        if not self._client.publish(message):
            return Receipt(ReceiptState.REJECTED, "there is no connection")
        return Receipt(ReceiptState.SENT if delivery is Delivery.LIVE else ReceiptState.IN_FLIGHT)

    def take_resync(self) -> bool:
        """Returns whether a key packet is wanted since this was last asked."""
        if not self._resync.is_set():
            return False
        self._resync.clear()
        return True

    def stop(self, reason: str = "stopped") -> None:
        """Says that the device goes offline on purpose, and disconnects; takes 1.5 s at most.

        Args:
            reason: Why, printable ASCII; the first 80 characters are sent.
        """
        if not self._stopping:
            self._stopping = True
            text = "".join(c if " " <= c <= "~" else "?" for c in reason[:80]) or "stopped"
            if self._client.publish(self._avail(Availability("offline", self._session, text))):
                self._client.wait_acked(_GOODBYE_S)
        self._client.close()

    def stats(self) -> LinkStats:
        """Returns the counters."""
        client = self._client.stats()
        return LinkStats(
            connected=client.connected,
            ready=self._ready.is_set(),
            protocol=client.protocol,
            reconnects=max(0, client.connects - 1),
            sent=self._sent,
            skipped=self._skipped,
            queued=client.queued,
            requests=self._gate.accepted,
            refused=self._gate.refused + client.oversize,
            errors=client.errors,
            uploads=self._upload.uploads if self._upload else 0,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("stopped" if kind is None else "failed")

    # What the network thread calls

    def on_connected(self) -> None:
        """Says again whatever the broker may have lost; that we are online comes last."""
        topics = [(self._topics.request, 1), (self._topics.avail, 1)]
        if self._upload is not None:
            topics.append((self._topics.index, 1))
            self._upload.connected()
        for part in self._parts:
            topics += part.subscriptions()
        self._client.subscribe(topics)
        self._client.publish(self._codec)
        for latest in (self._key, self._state):
            if latest is not None:
                self._client.publish(latest)
        for part in self._parts:
            part.connected()
        self._resync.set()
        self._online = False
        self._online_at_latest = time.monotonic() + _ONLINE_AT_LATEST_S
        self._said_online_at = 0.0

    def on_disconnected(self) -> None:
        """Nothing that was said counts any more."""
        self._online = False
        self._ready.clear()
        for part in self._parts:
            part.disconnected()

    def on_tick(self) -> None:
        """Goes on with the bundle, and says that we are online when it is there."""
        if self._stopping:
            return
        if self._upload is not None:
            self._upload.tick()
        uploaded = self._upload is None or self._upload.done
        now = time.monotonic()
        for part in self._parts:
            part.tick(now)
        may = uploaded or now > self._online_at_latest
        if may and not self._online and now > self._said_online_at + _REPEAT_S:
            self._say_online()
        ready = self._online and uploaded
        if ready:
            self._ready.set()
        self._client.tick_s = _IDLE_TICK_S if ready else _TICK_S

    def on_message(self, message: Inbound) -> None:
        """Takes a message; ones that we have not asked for are ignored."""
        if message.topic == self._topics.request:
            request = self._gate.admit(message)
            if request is not None:
                self._carry_out(request, message)
        elif message.topic == self._topics.avail:
            self._hear_avail(message.payload)
        elif message.topic == self._topics.index and self._upload is not None:
            self._upload.heard(message.payload)
        for part in self._parts:
            if any(topic_matches_sub(pattern, message.topic) for pattern, _ in part.subscriptions()):
                part.hear(message)

    def _carry_out(self, request: Request, message: Inbound) -> None:
        error, more = "", {}
        try:
            more = dict(self._operations.run(request))
        except MessageError as refusal:
            error = refusal.message
        topic, correlation = answer_to(message, self._topics)
        now_us = time.time_ns() // 1000
        answer = build_answer(request, error=error, session=self._session, seq=self._seq, time_us=now_us, more=more)
        self._client.publish(Outbound(topic, answer, qos=1, correlation=correlation))

    def _want_key(self, request: Request) -> Mapping[str, Any]:
        self._resync.set()
        if request.bundle and self._upload is not None:
            self._upload.requested()
        if request.bundle:
            self._client.publish(self._codec)
        return {}

    def _hear_avail(self, payload: bytes) -> None:
        """Contradicts a will of this session that the broker publishes late, after we have come back."""
        if not payload or self._stopping or not self._online:
            return
        try:
            heard = parse_avail(self._twin, payload)
        except MessageError:
            return
        if not heard.online and heard.session == self._session:
            _LOGGER.info("a late will said that %s is offline; saying that it is online", self._twin)
            self._online = False

    def _say_online(self) -> None:
        if self._client.publish(self._avail(Availability("online", self._session))):
            self._online = True
            self._said_online_at = time.monotonic()

    def _avail(self, availability: Availability) -> Outbound:
        return Outbound(self._topics.avail, build_avail(self._twin, availability), qos=1, retain=True)
