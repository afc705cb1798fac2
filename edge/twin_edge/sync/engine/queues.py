"""What waits, by class: who comes next, what a newer message replaces, and what has waited for too long."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

from twin_edge.sync.engine.delivery import Delivery, ReceiptState
from twin_edge.sync.engine.item import Item


class Queues:
    """The messages that are not handed over yet; not for several threads at once.

    Packets of the live stream and of the history are not here.

    Attributes:
        critical_bytes: What the critical messages take, bytes.
        state_bytes: What the latest messages of each topic take, bytes.
        expired: Critical messages that have waited for too long.
    """

    def __init__(self) -> None:
        self._greetings: deque[Item] = deque()
        self._critical: deque[Item] = deque()
        self._states: OrderedDict[str, Item] = OrderedDict()
        self._bulk: deque[Item] = deque()
        self._live: OrderedDict[str, Item] = OrderedDict()
        self.critical_bytes = self.state_bytes = 0
        self.expired = 0

    def put(self, item: Item) -> Item | None:
        """Takes a message at the end of its class.

        Returns:
            The message of the same topic that it replaces, if there is one.
        """
        old = None
        if item.delivery is Delivery.CRITICAL:
            self._critical.append(item)
            self.critical_bytes += item.size
            return None
        if item.delivery is Delivery.LIVE:
            old = self._live.pop(item.message.topic, None)
            self._live[item.message.topic] = item
        else:
            if item.message.retain:
                # A value that waits must not come after this one, which is newer.
                old = self._forget_state(item.message.topic)
            if item.delivery is Delivery.GREETING:
                self._greetings.append(item)
            elif item.delivery is Delivery.BULK:
                self._bulk.append(item)
            else:
                old = old or self._forget_state(item.message.topic)
                self._states[item.message.topic] = item
                self.state_bytes += item.size
        if old is not None:
            old.receipt.advance(ReceiptState.SUPERSEDED)
        return old

    def take_back(self, item: Item) -> bool:
        """Takes a message that was handed over, and is not with the broker, to the front of its class.

        Called for several, the last one first, the order stays as it was.

        Returns:
            Whether it waits again; not if a newer one of its topic does.
        """
        if item.delivery is Delivery.CRITICAL:
            self._critical.appendleft(item)
            self.critical_bytes += item.size
        elif item.message.topic in self._states:
            item.receipt.advance(ReceiptState.SUPERSEDED)
            return False
        else:
            self._states[item.message.topic] = item
            self._states.move_to_end(item.message.topic, last=False)
            self.state_bytes += item.size
        item.waits_again()
        return True

    def next_of(self, *deliveries: Delivery) -> Item | None:
        """Removes and returns the next message of the first of these classes that has one."""
        for delivery in deliveries:
            if delivery is Delivery.CRITICAL and self._critical:
                item = self._critical.popleft()
                self.critical_bytes -= item.size
                return item
            if delivery is Delivery.STATE and self._states:
                _, item = self._states.popitem(last=False)
                self.state_bytes -= item.size
                return item
            if delivery is Delivery.LIVE and self._live:
                return self._live.popitem(last=False)[1]
            queue = {Delivery.GREETING: self._greetings, Delivery.BULK: self._bulk}.get(delivery)
            if queue:
                return queue.popleft()
        return None

    def has(self, *deliveries: Delivery) -> bool:
        """Returns whether one of these classes has a message."""
        queues = {
            Delivery.GREETING: self._greetings,
            Delivery.CRITICAL: self._critical,
            Delivery.STATE: self._states,
            Delivery.BULK: self._bulk,
            Delivery.LIVE: self._live,
        }
        return any(queues[delivery] for delivery in deliveries)

    def kept(self) -> Iterator[Item]:
        """Goes through the messages that outlast a connection, the oldest of each class first."""
        yield from self._critical
        yield from self._states.values()

    @property
    def passing(self) -> int:
        """Number of messages that do not outlast a connection."""
        return len(self._greetings) + len(self._bulk) + len(self._live)

    @property
    def depth(self) -> int:
        """Number of messages that outlast a connection."""
        return len(self._critical) + len(self._states)

    def end_connection(self) -> None:
        """Forgets what does not outlast a connection."""
        for item in (*self._greetings, *self._bulk, *self._live.values()):
            item.receipt.advance(ReceiptState.EXPIRED, "the connection has ended")
        self._greetings.clear()
        self._bulk.clear()
        self._live.clear()

    def expire(self, before_s: float) -> list[Item]:
        """Removes and returns the critical messages that wait since before a monotonic time in seconds."""
        if not self._critical or self._critical[0].queued_s >= before_s:
            return []
        old = [item for item in self._critical if item.queued_s < before_s]
        self._critical = deque(item for item in self._critical if item.queued_s >= before_s)
        self.critical_bytes -= sum(item.size for item in old)
        self.expired += len(old)
        for item in old:
            item.receipt.advance(ReceiptState.EXPIRED, "it has waited for too long")
        return old

    def restore(self, items: Iterable[Item]) -> None:
        """Takes messages that an earlier process has left, the oldest first."""
        for item in items:
            self.put(item)

    def _forget_state(self, topic: str) -> Item | None:
        old = self._states.pop(topic, None)
        if old is not None:
            self.state_bytes -= old.size
        return old
