"""The link engine: takes messages from any thread, and brings them to the broker in spite of everything.

paho has at most as many messages as the broker acknowledges at a time; all others are here. The caller's thread does
nothing but put a message into bounded memory; the network thread hands over and takes back; a third one writes what
has waited for too long to the disk, see `keeper`.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from twin_edge.sync.engine.backlog import Backlog
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.engine.history import Batch
from twin_edge.sync.engine.item import Item
from twin_edge.sync.engine.keeper import Keeper, Need
from twin_edge.sync.engine.pulse import HistoryPace, Pulse
from twin_edge.sync.engine.spool import Spool, SpoolError
from twin_edge.sync.engine.stats import EngineStats
from twin_edge.sync.engine.suspects import AT_ONCE_S
from twin_edge.sync.mqtt.transport import Outbound, Outcome, Settle
from twin_edge.sync.wire.topics import Topics
from twin_edge.twin.packet import Packet

_MAX_TOPIC: Final = 65_535
_QUOTA: Final = 0x97
"""The broker has had enough for now."""
_QUOTA_PAUSE_S: Final = 5.0
_HISTORY_OVERHEAD: Final = 256
"""Room for topic and header beside a piece of history."""
_IDLE_POLL_S: Final = 0.01
_STALE_S: Final = 1.0
"""Packets that wait for the socket for longer than this become history: what goes live is to be live."""

_SENT: Final = (ReceiptState.SENT, "")
_NOT_SENT: Final = (ReceiptState.EXPIRED, "the connection has ended")

_LOGGER = logging.getLogger(__name__)


class Transport(Protocol):
    """What the engine needs of an `MqttClient`."""

    wants_room: bool
    """Whether to tick as soon as the network takes more."""

    @property
    def room(self) -> int:
        """Messages of QoS 1 that the broker takes now."""

    @property
    def flows(self) -> bool:
        """Whether the network takes a message now without piling it up."""

    @property
    def max_packet_bytes(self) -> int:
        """Longest packet that the broker takes, 0 for no stated limit."""

    def send(self, message: Outbound, settle: Settle | None = None) -> bool:
        """Hands a message to the network at once; returns whether it was taken."""

    def abandon(self, why: str) -> None:
        """Ends the connection, because it seems dead, and begins another."""

    def wake(self) -> None:
        """Has the network thread tick soon; from any thread."""

    def revive(self) -> None:
        """Starts the network thread again if it has died."""


class LinkEngine:
    """Keeps, sends, takes back and sends again.

    `put`, `put_packet`, `stats` and `wait_idle` are for any thread; `began`, `open`, `pump` and `ended` for the
    network thread; `start` comes first and `close` last.

    Args:
        config: The bounds.
        topics: Of the twin.
        transport: Takes to the broker what is handed over.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: EngineConfig,
        topics: Topics,
        transport: Transport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._topics = topics
        self._transport = transport
        self._clock = clock
        self._backlog = Backlog(config, clock)
        self._spool = Spool(config) if config.folder is not None else None
        self._keeper = Keeper(self._spool, self._backlog, clock) if self._spool is not None else None
        self._pulse = Pulse()
        self._pace = HistoryPace()
        self._batch: Batch | None = None
        self._batch_s = 0.0
        self._opened = False
        self._closed = False
        self._not_before_s = 0.0
        self._stale_since_s: float | None = None
        self._dead_links = 0

    # For any thread

    def start(self) -> None:
        """Takes up what an earlier process has left on the disk, and starts to keep it."""
        if self._spool is None or self._keeper is None:
            return
        if self._spool.exists:
            try:
                messages, parts = self._spool.load()
            except SpoolError as error:
                _LOGGER.warning("%s; the link begins without what was on the disk", error)
            else:
                self._backlog.restore(messages, parts)
                if messages or parts:
                    waiting = self._backlog.stats()
                    _LOGGER.info("%d messages and packets of earlier runs wait for the broker", waiting.depth)
        self._keeper.start()

    def put(self, message: Outbound, delivery: Delivery) -> Receipt:
        """Takes a message; never waits and never raises.

        Args:
            message: What to send; its QoS is that of its class.
            delivery: Its class.
        """
        refusal = self._refusal(message)
        if refusal:
            return Receipt(ReceiptState.REJECTED, refusal)
        receipt = self._backlog.put(message, delivery)
        if self._backlog.connected:
            self._transport.wake()
        else:
            self._nudge(self._backlog.disk_need())
        return receipt

    def put_packet(self, packet: Packet) -> bool:
        """Takes a packet of the live stream; never waits.

        Returns:
            Whether it goes live. If not, it is history, which the broker gets later.

        Raises:
            ValueError: A field of it does not fit its place.
        """
        live = self._backlog.put_packet(packet)
        if live:
            self._transport.wake()
        else:
            self._nudge(self._backlog.disk_need())
        self._transport.revive()
        return live

    @property
    def wants_key(self) -> bool:
        """Whether the stream is broken, so that only a packet that can be read by itself goes on with it."""
        return self._backlog.stream_broken

    @property
    def connected(self) -> bool:
        """Whether the broker has us, as far as we have heard."""
        return self._backlog.connected

    def stats(self) -> EngineStats:
        """Returns the counters."""
        keeper = self._keeper
        return dataclasses.replace(
            self._backlog.stats(),
            dead_links=self._dead_links,
            disk_errors=keeper.errors if keeper else 0,
            degraded=keeper.degraded if keeper else False,
        )

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until the broker has everything but the history; returns whether it has."""
        deadline_s = time.monotonic() + timeout_s
        while not self._backlog.idle:
            if time.monotonic() > deadline_s or not self.connected:
                return False
            time.sleep(_IDLE_POLL_S)
        return True

    def close(self) -> None:
        """Leaves what waits on the disk, for the next process; the connection has ended. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._backlog.closing = True
        if self._keeper is not None:
            self._keeper.close()

    # For the network thread

    def began(self) -> None:
        """There is a connection; greetings may be sent, and the live stream."""
        now_s = self._clock()
        self._pulse.began(now_s)
        self._pace.began(now_s)
        self._opened = False
        self._stale_since_s = None
        self._backlog.began()

    def open(self) -> None:
        """All greetings are put: everything else may follow them."""
        self._opened = True

    def ended(self, *, on_purpose: bool = False) -> None:
        """The connection has ended.

        Args:
            on_purpose: Whether we ended it; else what was acknowledged a moment ago is sent again, see `settling`.
        """
        self._opened = False
        self._give_batch_back()
        self._backlog.ended(on_purpose=on_purpose)
        self._nudge(self._backlog.disk_need())

    def pump(self) -> None:
        """Hands over what the broker and the network take; called on each tick of a connection."""
        now_s = self._clock()
        self._nudge(self._backlog.tick())
        if self._pulse.is_dead(now_s):
            self._dead_links += 1
            self._transport.abandon("no acknowledgement came in time")
            return
        while self._transport.flows and self._send_next(now_s):
            pass
        self._transport.wants_room = self._backlog.has_more
        self._mind_stale_packets(now_s)

    def _send_next(self, now_s: float) -> bool:
        """Hands over one message; returns whether there was one."""
        paused = now_s < self._not_before_s
        room = self._transport.room
        opened = self._opened and not paused
        packet = self._backlog.next_packet(room=opened and room > 0)
        if packet is not None:
            return self._transport.send(Outbound(self._topics.stream, packet))
        item = self._backlog.next(room, opened=opened)
        if item is not None:
            return self._hand_over(item, now_s)
        if not room or paused:
            return False
        if self._pulse.wants_canary(now_s):
            return self._send_watched(Outbound(self._topics.canary, b"", 1), now_s, lambda _outcome: None)
        if self._opened and room > 1 and self._batch is None and self._pace.may_send(now_s):
            return self._send_batch(now_s)
        return False

    def _hand_over(self, item: Item, now_s: float) -> bool:
        limit = self._transport.max_packet_bytes
        if limit and item.size > limit:
            self._backlog.refused(item, f"its {item.size} bytes are more than the {limit} that the broker takes")
            return True
        if not item.message.qos:
            sent = self._transport.send(item.message)
            item.receipt.advance(*(_SENT if sent else _NOT_SENT))
            return sent
        self._backlog.sent(item)
        try:
            sent = self._send_watched(item.message, now_s, lambda outcome: self._settled(item, outcome))
        except ValueError as error:
            self._backlog.refused(item, f"it cannot be sent ({error})")
            return True
        if not sent:
            self._backlog.put_back(item)
        return sent

    def _send_watched(self, message: Outbound, now_s: float, settled: Settle) -> bool:
        """Hands over a message of QoS 1, of which the acknowledgement says that the link lives and how fast it is."""
        handed_packets = self._backlog.handed_packets

        def settle(outcome: Outcome) -> None:
            self._pulse.acknowledged(message.size, now_s, self._clock())
            # Whatever the broker made of the message, it has all that came before.
            self._backlog.confirm(handed_packets)
            settled(outcome)

        sent = self._transport.send(message, settle)
        if sent:
            self._pulse.sent(message.size, now_s)
        return sent

    def _settled(self, item: Item, outcome: Outcome) -> None:
        if outcome.accepted:
            self._backlog.acknowledged(item)
        elif outcome.code == _QUOTA and item.delivery in {Delivery.CRITICAL, Delivery.STATE}:
            self._not_before_s = self._clock() + _QUOTA_PAUSE_S
            self._backlog.put_back(item)
        else:
            _LOGGER.warning("the broker refused a message on %s (%s)", item.message.topic, outcome.text.lower())
            self._backlog.refused(item, f"the broker refused it ({outcome.text.lower()})")

    def _send_batch(self, now_s: float) -> bool:
        limit = self._transport.max_packet_bytes
        most = min(self._pace.batch_bytes, limit - _HISTORY_OVERHEAD) if limit else self._pace.batch_bytes
        batch = self._backlog.next_batch(max(most, 1))
        if batch is None:
            return False
        message = Outbound(self._topics.history, batch.payload, 1)
        if limit and message.size > limit:
            self._backlog.drop_batch(batch)
            return True
        self._batch, self._batch_s = batch, now_s

        def settled(outcome: Outcome) -> None:
            self._batch = None
            if outcome.accepted:
                self._backlog.batch_done(batch, arrived=True)
                self._pace.acknowledged(message.size, now_s, self._clock())
            else:
                _LOGGER.warning("the broker refused a piece of history (%s)", outcome.text.lower())
                self._backlog.drop_batch(batch)

        sent = self._send_watched(message, now_s, settled)
        if not sent:
            self._batch = None
            self._backlog.batch_done(batch, arrived=False)
        return sent

    def _give_batch_back(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        at_once = self._clock() - self._batch_s <= AT_ONCE_S
        if at_once and self._pace.blame(len(batch.payload), single=batch.packets == 1):
            self._backlog.drop_batch(batch)
        else:
            self._backlog.batch_done(batch, arrived=False)

    def _mind_stale_packets(self, now_s: float) -> None:
        if not self._backlog.waiting_packets:
            self._stale_since_s = None
        elif self._stale_since_s is None:
            self._stale_since_s = now_s
        elif now_s - self._stale_since_s > _STALE_S:
            self._backlog.spill()

    def _refusal(self, message: Outbound) -> str:
        """Returns why a message cannot be sent whatever the broker; empty when it can."""
        topic = message.topic
        try:
            length = len(topic.encode())
        except UnicodeEncodeError:
            length = 0
        if not 0 < length <= _MAX_TOPIC or set(topic) & set("+#\0"):
            return f"{topic!r:.80} is no topic to publish to"
        if message.size > self._config.max_message_bytes:
            return f"its {message.size} bytes are more than the {self._config.max_message_bytes} that are sent"
        return ""

    def _nudge(self, need: Need) -> None:
        if self._keeper is not None:
            self._keeper.nudge(need)
