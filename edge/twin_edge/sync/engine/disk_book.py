"""Which messages are on the disk, which should be, and which should not be any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.engine.item import Item
from twin_edge.sync.engine.keeper import Need
from twin_edge.sync.engine.spool import StoredMessage

IsDue = Callable[[float], bool]
"""Tells whether what waits since a monotonic time in seconds has to go to the disk."""


class DiskBook:
    """Keeps the book; not for several threads at once.

    Attributes:
        stored: Numbers of the messages that are on the disk.
    """

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self._missing: dict[int, Item] = {}
        """Kept messages that are not on the disk, the oldest first."""
        self._writing: set[int] = set()
        self._gone: list[int] = []

    def add(self, item: Item) -> None:
        """Takes a message that is to be kept, or that is there in another form."""
        self._missing[item.serial] = item

    def remove(self, item: Item) -> None:
        """Takes note that a message is not to be kept any more."""
        self._missing.pop(item.serial, None)
        if item.stored or item.serial in self._writing:
            self._gone.append(item.serial)

    def need(self, is_due: IsDue) -> Need:
        """Returns whether something is to be written."""
        oldest = next(iter(self._missing.values()), None)
        if oldest is not None and oldest.serial not in self._writing and is_due(oldest.queued_s):
            # The latest one is what somebody waits for.
            latest = next(reversed(self._missing.values()))
            return Need.NOW if Delivery.CRITICAL in {oldest.delivery, latest.delivery} else Need.SOON
        return Need.SOON if self._gone else Need.NONE

    def collect(self, now_s: float, is_due: IsDue) -> tuple[tuple[StoredMessage, ...], tuple[int, ...]]:
        """Returns the messages to write now, and the numbers of those to remove."""
        due = []
        for item in self._missing.values():
            if not is_due(item.queued_s):
                break
            due.append(_stored(item, now_s))
        self._writing = {one.serial for one in due}
        removed, self._gone = tuple(self._gone), []
        return tuple(due), removed

    def written(self, stored: Iterable[StoredMessage], removed: Iterable[int]) -> None:
        """Takes note that what was collected is written."""
        self.stored.difference_update(removed)
        self._writing.clear()
        for one in stored:
            self.stored.add(one.serial)
            item = self._missing.pop(one.serial, None)
            if item is not None:
                item.stored = True
                item.receipt.spool()

    def restored(self, item: Item) -> None:
        """Takes note of a message that an earlier process has written."""
        self.stored.add(item.serial)

    def rewrite(self, kept: Iterable[Item]) -> None:
        """Takes note that the disk has nothing any more, and should have these messages."""
        self.stored.clear()
        self._writing.clear()
        self._gone.clear()
        self._missing = {item.serial: item for item in sorted(kept, key=lambda item: item.serial)}
        for item in self._missing.values():
            item.stored = False


def _stored(item: Item, now_s: float) -> StoredMessage:
    message = item.message
    return StoredMessage(
        item.serial,
        item.delivery.value,
        message.topic,
        message.payload,
        message.retain,
        message.correlation,
        now_s - item.queued_s,
        item.failures,
    )
