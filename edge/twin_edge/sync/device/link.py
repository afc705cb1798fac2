"""The device's side: publishes packets and what subscribers need to read them."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import topic_matches_sub

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import ConfigError, MessageError, SyncError
from twin_edge.sync.device.operations import Operations
from twin_edge.sync.device.part import LinkPart
from twin_edge.sync.device.presence import Presence
from twin_edge.sync.device.requests import RequestGate, answer_to
from twin_edge.sync.device.upload import BundleUpload
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, Receipt
from twin_edge.sync.engine.engine import LinkEngine
from twin_edge.sync.engine.stats import EngineStats
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, Outbound
from twin_edge.sync.wire.events import Event, build_event
from twin_edge.sync.wire.messages import (
    Request,
    SpoolReport,
    StateReport,
    build_answer,
    build_birth,
    build_codec,
    build_state,
)
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import Codec, Flags, Packet

_ONLINE_AT_LATEST_S: Final = 5.0
"""Subscribers are told that we are online after this time even while the bundle is still on its way."""
_GRANTED_AT_LATEST_S: Final = 5.0
"""A broker that does not answer to a subscription for so long gets to hear what we have to say nevertheless."""
_LAST_WORDS_S: Final = 0.4
_GOODBYE_S: Final = 0.5
_TICK_S: Final = 0.1
_IDLE_TICK_S: Final = 0.28
"""When nothing but packets is left to send: each tick wakes the processor, and packets are ticks already."""


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
    births: bool = True
    """Whether to say on each connect what the device is; not if one of the parts says it."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How what waits for the broker is kept; in memory only unless it names a folder."""

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
    """Packets that went into the live stream."""
    skipped: int
    """Packets that did not, because there was no connection or its buffer was full; they become history."""
    queued: int
    """Messages that the broker has not acknowledged yet, history not counted."""
    requests: int
    """Requests carried out."""
    refused: int
    """Requests that were malformed, repeated, retained or too many."""
    errors: int
    """Exceptions of handlers; each is a defect."""
    uploads: int
    """Times the bundle was sent."""
    restarts: int
    """Times that the network thread had died and was started again."""
    trouble: str
    """What is wrong with the broker, in words; empty when nothing is known to be."""
    engine: EngineStats
    """What waits, and what has become of the rest."""


class DeviceLink:
    """Publishes one twin, from `start` to `stop`, or as a context manager.

    Nothing but `start` waits for the network, and nothing but `start` raises for it. `publish`, `report` and
    `take_resync` are for one thread, `send`, `event` and `stats` are for any.

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
        self._presence = Presence(twin_id, session, self.send, self._rival)
        self._client = MqttClient(config.broker, twin_id.device, self, user=twin_id.device, will=self._presence.will)
        self._engine = LinkEngine(config.engine, self._topics, self._client)
        self._birth = Outbound(self._topics.birth, build_birth(twin_id, session, bundle, config.codec), qos=1)
        self._codec = Outbound(self._topics.codec, build_codec(bundle, config.codec), qos=1, retain=True)
        self._upload: BundleUpload | None = None
        if config.uploads_bundle:
            self._upload = BundleUpload(self.send, self._topics, bundle, self._forget_index)
        self._gate = RequestGate(config.requests_per_s)
        self._parts = tuple(parts)
        self._key: Outbound | None = None
        self._state: Outbound | None = None
        self._resync = threading.Event()
        self._ready = threading.Event()
        self._stopping = self._greeted = False
        self._online_at_latest = self._greet_at_latest = 0.0
        self._seq = self._sent = self._skipped = self._events = 0
        self._numbering = threading.Lock()
        self._operations = operations or Operations()
        self._operations.add("ping", lambda _request: {})
        self._operations.add("resync", self._want_key)
        for part in self._parts:
            part.attach(self.send)

    def start(self) -> None:
        """Takes up what earlier runs have left unsent, and connects.

        Raises:
            BrokerUnreachableError: Nobody answers; not with `LinkConfig.wait`.
            BrokerRefusedError: The broker does not take us; not with `LinkConfig.wait`.
        """
        self._engine.start()
        try:
            self._client.connect(wait=self._config.wait)
        except SyncError:
            self._engine.close()
            raise

    def wait_ready(self, timeout_s: float) -> bool:
        """Waits until a late joiner finds everything on the broker; returns whether that is so."""
        deadline = time.monotonic() + timeout_s
        return self._ready.wait(timeout_s) and self._engine.wait_idle(max(0.0, deadline - time.monotonic()))

    @property
    def failure(self) -> SyncError | None:
        """Why the link has given up for good, such as another device of the same name; None as long as it has not."""
        return self._client.failure

    def publish(self, packet: Packet) -> bool:
        """Sends a packet, without ever waiting.

        Args:
            packet: With the flag `KEY`, it is also what the broker keeps for late joiners.

        Returns:
            Whether it goes live; if not, it is sent as history when the broker is back.
        """
        self._seq = packet.seqs()[-1]
        if packet.flags & Flags.KEY:
            self._key = Outbound(self._topics.key, packet.encode(), qos=1, retain=True)
            if self._engine.connected:
                self.send(self._key, Delivery.STATE)
        # Key packets go both ways: who follows the stream sees no gap.
        live = self._engine.put_packet(packet)
        if live:
            self._sent += 1
        else:
            self._skipped += 1
        return live

    @property
    def stands_alone(self) -> bool:
        """Whether each packet should be a key packet, because what comes before it does not go live."""
        return self._engine.wants_key

    def report(self, report: StateReport) -> Receipt:
        """Publishes a state report; the latest one waits for the broker when it is away.

        Args:
            report: The caller keeps to one a second on change, and one a minute without.
        """
        waiting = self._engine.stats()
        spool = SpoolReport(waiting.depth, waiting.bytes, waiting.oldest_s)
        payload = build_state(self._twin, self._session, report, spool)
        self._state = Outbound(self._topics.state, payload, qos=1, retain=True)
        return self.send(self._state, Delivery.STATE)

    def event(self, event: Event) -> Receipt:
        """Publishes that something happened; kept until the broker has it, over restarts if there is a spool.

        Raises:
            ValueError: It is not well-formed.
        """
        with self._numbering:
            self._events += 1
            number = self._events
        return self.send(Outbound(self._topics.event, build_event(self._session, number, event), 1), Delivery.CRITICAL)

    def send(self, message: Outbound, delivery: Delivery) -> Receipt:
        """Takes a message to send, from any thread; never waits and never raises.

        Args:
            message: What to send; its QoS is that of its class.
            delivery: How much is to be done for it to arrive.
        """
        return self._engine.put(message, delivery)

    def take_resync(self) -> bool:
        """Returns whether a key packet is wanted since this was last asked."""
        if not self._resync.is_set():
            return False
        self._resync.clear()
        return True

    def stop(self, reason: str = "stopped") -> None:
        """Says that the device goes offline on purpose, and disconnects; what the broker does not have is kept.

        It takes 1.5 s at most, and what the disk needs for what is to be kept.

        Args:
            reason: Why, printable ASCII; the first 80 characters are sent.
        """
        if not self._stopping:
            self._stopping = True
            self._engine.wait_idle(_LAST_WORDS_S)
            self._presence.say_offline(reason).wait(_GOODBYE_S)
        self._client.close()
        self._engine.close()

    def stats(self) -> LinkStats:
        """Returns the counters."""
        client, engine = self._client.stats(), self._engine.stats()
        return LinkStats(
            connected=client.connected,
            ready=self._ready.is_set(),
            protocol=client.protocol,
            reconnects=max(0, client.connects - 1),
            sent=self._sent,
            skipped=self._skipped,
            queued=engine.depth - engine.history_packets,
            requests=self._gate.accepted,
            refused=self._gate.refused + client.oversize,
            errors=client.errors,
            uploads=self._upload.uploads if self._upload else 0,
            restarts=client.restarts,
            trouble=client.trouble,
            engine=engine,
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
        """Subscribes; what there is to say follows when the broker has answered."""
        now = time.monotonic()
        self._engine.began()
        self._greeted = False
        self._greet_at_latest = now + _GRANTED_AT_LATEST_S
        self._online_at_latest = now + _ONLINE_AT_LATEST_S
        topics = [(self._topics.request, 1), (self._topics.avail, 1)]
        if self._upload is not None:
            topics.append((self._topics.index, 1))
        for part in self._parts:
            topics += part.subscriptions()
        self._client.subscribe(topics, lambda _granted: self._greet())

    def on_disconnected(self) -> None:
        """Nothing that was said counts any more."""
        self._ready.clear()
        self._presence.ended()
        for part in self._parts:
            self._client.guard("part", part.disconnected)
        self._engine.ended(on_purpose=self._stopping)

    def on_tick(self) -> None:
        """Goes on with the bundle, says that we are online when it is there, and sends whatever there is to send."""
        now = time.monotonic()
        if not self._greeted and now > self._greet_at_latest:
            self._greet()
        if self._greeted and not self._stopping:
            self._go_on(now)
        self._engine.pump()

    def on_message(self, message: Inbound) -> None:
        """Takes a message; ones that we have not asked for are ignored."""
        if message.topic == self._topics.request:
            request = self._gate.admit(message)
            if request is not None:
                self._carry_out(request, message)
        elif message.topic == self._topics.avail:
            self._presence.hear(message)
        elif message.topic == self._topics.index and self._upload is not None:
            self._upload.hear(message.payload)
        for part in self._parts:
            if any(topic_matches_sub(pattern, message.topic) for pattern, _ in part.subscriptions()):
                self._client.guard("part", functools.partial(part.hear, message))

    def _greet(self) -> None:
        """Says again whatever the broker may have lost; that we are online comes last."""
        if self._greeted:
            return
        self._greeted = True
        birth = self._birth if self._config.births else None
        for message in (birth, self._codec, self._key, self._state):
            if message is not None:
                self.send(message, Delivery.GREETING)
        for part in self._parts:
            self._client.guard("part", part.connected)
        if self._upload is not None:
            self._upload.connected()
        self._resync.set()

    def _go_on(self, now: float) -> None:
        for part in self._parts:
            self._client.guard("part", functools.partial(part.tick, now))
        if self._upload is not None:
            self._upload.tick(now)
        uploaded = self._upload is None or self._upload.done
        if uploaded or now > self._online_at_latest:
            self._presence.say_online()
            self._engine.open()
        ready = self._presence.online and uploaded
        if ready:
            self._ready.set()
        self._client.tick_s = _IDLE_TICK_S if ready else _TICK_S

    def _forget_index(self) -> None:
        self._client.unsubscribe([self._topics.index])

    def _rival(self) -> None:
        self._client.note_rival()

    def _carry_out(self, request: Request, message: Inbound) -> None:
        error = ""
        more: dict[str, Any] = {}
        try:
            more = dict(self._operations.run(request))
        except MessageError as refusal:
            error = refusal.message
        topic, correlation = answer_to(message, self._topics)
        now_us = time.time_ns() // 1000
        answer = build_answer(request, error=error, session=self._session, seq=self._seq, time_us=now_us, more=more)
        self.send(Outbound(topic, answer, qos=1, correlation=correlation), Delivery.CRITICAL)

    def _want_key(self, request: Request) -> Mapping[str, Any]:
        self._resync.set()
        if request.bundle and self._upload is not None:
            self._upload.requested()
        if request.bundle:
            self.send(self._codec, Delivery.STATE)
        return {}
