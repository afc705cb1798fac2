"""Everything that waits, in one place and under one lock: messages, packets, what is in flight, what is set aside."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final

from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.engine.disk_book import DiskBook
from twin_edge.sync.engine.history import Batch, DiskChanges, History
from twin_edge.sync.engine.item import Item
from twin_edge.sync.engine.keeper import Need
from twin_edge.sync.engine.queues import Queues
from twin_edge.sync.engine.settling import Settling
from twin_edge.sync.engine.spool import SpoolChanges, StoredMessage
from twin_edge.sync.engine.stats import EngineStats
from twin_edge.sync.engine.stream import LiveStream, StreamPacket
from twin_edge.sync.engine.suspects import RETRY_S, Aside, Suspects, retry_at
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.twin.packet import Packet

UNACKED_S: Final = 2.0
"""What is not acknowledged after this time goes to the disk, connection or not."""
_KEPT: Final = frozenset({Delivery.CRITICAL, Delivery.STATE})
_ACKNOWLEDGED: Final = tuple(delivery for delivery in Delivery if delivery is not Delivery.LIVE)
_CAUTIOUS_S: Final = 60.0
"""A connection that holds for so long ends all suspicion."""
_MAX_ASIDE: Final = 256
"""Messages that are set aside at a time; the oldest ones are forgotten."""
_MAX_PASSING: Final = 512
"""Messages that do not outlast a connection may be as many as this at a time."""


class Backlog:
    """What the network has not taken for good; for any thread.

    Args:
        config: The bounds.
        clock: Monotonic seconds.
    """

    def __init__(self, config: EngineConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._serials = itertools.count(1)
        self._queues = Queues()
        self._history = History()
        self._stream = LiveStream()
        self._suspects = Suspects()
        self._settling = Settling()
        self._flying: dict[int, Item] = {}
        self._aside: list[Aside] = []
        self._kept_bytes = 0
        self._book = DiskBook()
        self._history_dirty_s = 0.0
        self._live_was_last = False
        self._began_s = 0.0
        self.connected = False
        self.closing = False
        self._acknowledged = self._backfilled = self._quarantined = self._rejected = 0

    # What others send

    def put(self, message: Outbound, delivery: Delivery) -> Receipt:
        """Takes a message that has been found to be well-formed."""
        wanted_qos = 0 if delivery is Delivery.LIVE else 1
        if message.qos != wanted_qos:
            message = dataclasses.replace(message, qos=wanted_qos)
        with self._lock:
            item = Item(next(self._serials), message, delivery, self._clock(), Receipt())
            refusal = self._refusal(item)
            if refusal:
                self._rejected += 1
                item.receipt.advance(ReceiptState.REJECTED, refusal)
                return item.receipt
            if delivery in _KEPT:
                self._keep(item)
            self._release(self._queues.put(item))
        return item.receipt

    def put_packet(self, packet: Packet) -> bool:
        """Takes a packet of the live stream; returns whether it goes live, or else becomes history."""
        data = packet.encode()
        with self._lock:
            lost = self._stream.put(packet, data, connected=self.connected)
            self._remember(lost)
            return not self._stream.broken

    def spill(self) -> None:
        """Makes history of the packets that wait for the socket, because they get old."""
        with self._lock:
            self._remember(self._stream.spill())

    # What the network thread takes

    def next(self, room: int, *, opened: bool) -> Item | None:
        """Removes and returns the message that is to be sent next; None when there is none that may be.

        Args:
            room: Messages of QoS 1 that the broker takes.
            opened: Whether more than greetings may be sent.
        """
        with self._lock:
            if self._suspects.cautious and self._flying:
                room = 0
            if room and self._queues.has(Delivery.GREETING):
                return self._queues.next_of(Delivery.GREETING)
            kept = opened and room > 0 and self._queues.has(*_KEPT)
            # In turns: neither a long queue of events nor a fast stream is to hold up the other.
            if not kept or not self._live_was_last:
                item = self._queues.next_of(Delivery.LIVE)
                self._live_was_last = item is not None
                if item is not None:
                    return item
            self._live_was_last = False
            if kept:
                return self._queues.next_of(Delivery.CRITICAL, Delivery.STATE)
            return self._queues.next_of(Delivery.BULK) if room else None

    def next_packet(self, *, room: bool) -> bytes | None:
        """Removes and returns the next packet of the live stream, in turns with kept messages; None without one.

        Args:
            room: Whether kept messages could be sent instead.
        """
        with self._lock:
            if self._live_was_last and room and self._queues.has(*_KEPT):
                return None
            data = self._stream.take()
            self._live_was_last = data is not None
            return data

    def next_batch(self, max_bytes: int) -> Batch | None:
        """Returns the next piece of history, None when there is none."""
        with self._lock:
            return self._history.take(max_bytes)

    @property
    def has_more(self) -> bool:
        """Whether something waits that goes as soon as the network takes it."""
        return self._stream.waiting > 0 or self._queues.has(*Delivery)

    @property
    def handed_packets(self) -> int:
        """Packets of the live stream that were handed over, as `LiveStream.confirm` wants to know it."""
        return self._stream.handed

    @property
    def waiting_packets(self) -> int:
        """Packets of the live stream that wait for the socket."""
        return self._stream.waiting

    @property
    def stream_broken(self) -> bool:
        """Whether the next packet must be one that can be read by itself to go live."""
        return self._stream.broken

    # What becomes of it

    def sent(self, item: Item) -> None:
        """A message of QoS 1 was handed over."""
        with self._lock:
            item.sent_s = self._clock()
            self._flying[item.serial] = item
        item.receipt.advance(ReceiptState.IN_FLIGHT)

    def confirm(self, handed_packets: int) -> None:
        """The broker has all packets of the live stream before a number, see `handed_packets`."""
        with self._lock:
            self._stream.confirm(handed_packets)

    def acknowledged(self, item: Item) -> None:
        """The broker has a message."""
        with self._lock:
            self._flying.pop(item.serial, None)
            self._suspects.cleared(item)
            self._release(item)
            self._acknowledged += 1
            if item.delivery is Delivery.CRITICAL:
                self._settling.add(item, self._clock())
        item.receipt.advance(ReceiptState.ACKNOWLEDGED)

    def refused(self, item: Item, reason: str) -> None:
        """A message will not be sent any more, or the broker does not take it."""
        with self._lock:
            self._flying.pop(item.serial, None)
            self._suspects.cleared(item)
            self._rejected += 1
            if item.delivery is Delivery.CRITICAL:
                self._set_aside(item, reason, None)
            else:
                self._release(item)
                item.receipt.advance(ReceiptState.REJECTED, reason)

    def put_back(self, item: Item) -> None:
        """A message could not be handed over, or is to be sent once more."""
        with self._lock:
            self._flying.pop(item.serial, None)
            self._take_back(item)

    def batch_done(self, batch: Batch, *, arrived: bool) -> None:
        """A piece of history has arrived, or its connection has ended before."""
        with self._lock:
            if arrived:
                self._history.done(batch)
                self._backfilled += batch.states
            else:
                self._history.take_back(batch)

    def drop_batch(self, batch: Batch) -> None:
        """The broker does not take a piece of history."""
        with self._lock:
            self._history.done(batch)
            self._history.dropped += batch.states

    def began(self) -> None:
        """There is a connection."""
        with self._lock:
            self.connected = True
            self._began_s = self._clock()

    def ended(self, *, on_purpose: bool = False) -> None:
        """The connection has ended: what was on its way waits again.

        Args:
            on_purpose: Whether we ended it; else the broker may have died, with what it acknowledged last.
        """
        now_s = self._clock()
        with self._lock:
            self.connected = False
            flying = list(self._flying.values())
            self._flying.clear()
            guilty = {item.serial for item in self._suspects.ended(flying, now_s)}
            for item in reversed(flying):
                if item.serial in guilty:
                    reason = "the broker ended the connection whenever it came"
                    self._set_aside(item, reason, retry_at(item, now_s))
                else:
                    self._take_back(item)
            doubted = self._settling.take(now_s)
            for item in reversed([] if on_purpose else doubted):
                self._doubt(item)
            self._queues.end_connection()
            self._remember(self._stream.interrupt())

    def tick(self) -> Need:
        """Tries again what was set aside for long enough, and lets expire what has waited for too long.

        Returns:
            Whether something is to be written to the disk.
        """
        now_s = self._clock()
        with self._lock:
            self._settling.believe(now_s)
            for aside in [one for one in self._aside if one.retry_s is not None and one.retry_s <= now_s]:
                self._aside.remove(aside)
                self._release(self._queues.put(aside.item))
            for item in self._queues.expire(now_s - self._config.ttl_s):
                self._release(item)
            for aside in [one for one in self._aside if one.item.queued_s < now_s - self._config.ttl_s]:
                self._aside.remove(aside)
                self._release(aside.item)
            # Suspects may have been superseded meanwhile, so that nothing clears them any more.
            if self._suspects.cautious and (self._is_idle() or now_s - self._began_s > _CAUTIOUS_S):
                self._suspects.relax()
            return self._disk_need()

    # What the disk should have, see `keeper.Ledger`

    def disk_need(self) -> Need:
        """Returns whether something is to be written to the disk."""
        with self._lock:
            return self._disk_need()

    def collect(self) -> SpoolChanges:
        """Returns what is to be written now."""
        now_s = self._clock()
        with self._lock:
            stored, removed = self._book.collect(now_s, self._is_due)
            history = self._history.disk_changes() if self._history_is_due() else DiskChanges()
            left = len(self._book.stored.difference(removed)) + len(stored)
            return SpoolChanges(
                stored,
                removed,
                history.parts,
                history.dropped,
                durable=any(one.kind == Delivery.CRITICAL.value for one in stored),
                empties=not left and not self._history.packets,
            )

    def written(self, changes: SpoolChanges) -> None:
        """Takes note of what is on the disk."""
        with self._lock:
            self._book.written(changes.stored, changes.removed)

    def rewrite(self) -> None:
        """Takes note that the disk has nothing any more."""
        with self._lock:
            self._history.forget_disk()
            aside = [one.item for one in self._aside]
            kept = [*self._queues.kept(), *self._flying.values(), *aside]
            self._book.rewrite(item for item in kept if item.delivery in _KEPT)

    def restore(self, messages: list[StoredMessage], parts: list[tuple[int, int, bytes]]) -> None:
        """Takes what an earlier process has left, before anything else is put."""
        now_s = self._clock()
        with self._lock:
            for one in messages:
                message = Outbound(one.topic, one.payload, 1, one.retain, one.correlation)
                delivery = Delivery(one.kind)
                receipt = Receipt(ReceiptState.SPOOLED)
                item = Item(one.serial, message, delivery, now_s - one.waited_s, receipt, stored=True)
                self._kept_bytes += item.size
                self._book.restored(item)
                if one.failures > 0:
                    item.failures = min(one.failures, len(RETRY_S))
                    self._aside.append(Aside(item, "set aside by an earlier process", now_s + RETRY_S[0]))
                else:
                    self._release(self._queues.put(item))
            self._serials = itertools.count(max((one.serial for one in messages), default=0) + 1)
            self._history.restore(parts)
            self._make_room()

    def stats(self) -> EngineStats:
        """Returns the counters that are kept here."""
        now_s = self._clock()
        with self._lock:
            kept = [item for item in self._flying.values() if item.delivery in _KEPT]
            ages = [now_s - item.queued_s for item in itertools.chain(kept, itertools.islice(self._queues.kept(), 1))]
            oldest_us = self._history.oldest_us
            if oldest_us is not None:
                ages.append(max(0.0, time.time() - oldest_us / 1e6))
            return EngineStats(
                depth=self._queues.depth + len(kept) + len(self._aside) + self._history.packets,
                bytes=self._kept_bytes + self._history.bytes,
                oldest_s=round(max(ages, default=0.0), 1),
                spooled=len(self._book.stored),
                history_packets=self._history.packets,
                history_states=self._history.states,
                acknowledged=self._acknowledged,
                backfilled=self._backfilled,
                quarantined=self._quarantined,
                rejected=self._rejected,
                expired=self._queues.expired,
                decimated=self._history.decimated,
                dropped=self._history.dropped,
            )

    @property
    def idle(self) -> bool:
        """Whether nothing but history waits, and nothing is in flight."""
        with self._lock:
            return self._is_idle()

    # With the lock held

    def _is_idle(self) -> bool:
        return not self._flying and not self._queues.has(*_ACKNOWLEDGED)

    def _refusal(self, item: Item) -> str:
        """Returns why a message is not taken, empty when it is."""
        if item.delivery in _KEPT:
            full = self._kept_bytes + item.size > self._config.payload_bytes
            return "the spool is full" if full else ""
        if not self.connected:
            return "there is no connection"
        if self._suspects.is_barred(item, item.queued_s):
            return "the broker ended the connection whenever it came"
        return "too much waits already" if self._queues.passing >= _MAX_PASSING else ""

    def _keep(self, item: Item) -> None:
        self._kept_bytes += item.size
        self._book.add(item)
        self._make_room()

    def _release(self, item: Item | None) -> None:
        """Forgets a message that needs nothing any more."""
        if item is None or item.delivery not in _KEPT:
            return
        self._kept_bytes -= item.size
        self._book.remove(item)

    def _take_back(self, item: Item) -> None:
        if item.delivery in _KEPT:
            if not self._queues.take_back(item):
                self._release(item)
        else:
            item.receipt.advance(ReceiptState.EXPIRED, "the connection has ended")

    def _doubt(self, item: Item) -> None:
        """Has a message that was acknowledged a moment ago sent again, as one that the disk does not know."""
        item.serial, item.stored = next(self._serials), False
        self._kept_bytes += item.size
        self._book.add(item)
        self._queues.take_back(item)

    def _set_aside(self, item: Item, reason: str, retry_s: float | None) -> None:
        self._quarantined += 1
        if item.delivery in _KEPT:
            self._aside.append(Aside(item, reason, retry_s))
            # So that a later process knows of it, and does not begin with it.
            self._book.add(item)
            if len(self._aside) > _MAX_ASIDE:
                self._release(self._aside.pop(0).item)
        else:
            self._suspects.bar(item, self._clock())
        item.receipt.advance(ReceiptState.REJECTED, reason)

    def _remember(self, packets: list[StreamPacket]) -> None:
        if not packets:
            return
        if not self._history.dirty:
            self._history_dirty_s = self._clock()
        for packet in packets:
            self._history.add(packet.data, packet.states)
        self._make_room()

    def _make_room(self) -> None:
        self._history.shrink(max(0, self._config.payload_bytes - self._kept_bytes))

    def _is_due(self, since_s: float) -> bool:
        """Returns whether what waits since a monotonic time in seconds has to go to the disk."""
        return self.closing or not self.connected or self._clock() - since_s > UNACKED_S

    def _history_is_due(self) -> bool:
        return self._history.dirty and (self._history.on_disk or self._is_due(self._history_dirty_s))

    def _disk_need(self) -> Need:
        need = self._book.need(self._is_due)
        return Need.SOON if need is Need.NONE and self._history_is_due() else need
