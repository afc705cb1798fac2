"""Acknowledged, and not yet believed: a broker that dies right after an acknowledgement has lost what it took.

A broker acknowledges a message when it has it in memory. Killed before it has written it to its disk, or passed it on,
it loses it with a good conscience. So what is critical counts as delivered only when the connection has outlived the
acknowledgement for a moment; else it is sent again, and receivers tell by its id that they know it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from twin_edge.sync.engine.item import Item

BELIEVED_S: Final = 1.0
"""How long a connection must outlive an acknowledgement; less than what has messages written to the disk."""
_MOST: Final = 256
"""Messages that are doubted at a time; the oldest ones are believed."""


class Settling:
    """The critical messages that were acknowledged a moment ago, the oldest first; not for several threads at once."""

    def __init__(self) -> None:
        self._items: deque[tuple[float, Item]] = deque(maxlen=_MOST)

    def add(self, item: Item, now_s: float) -> None:
        """Takes a message that was acknowledged at a monotonic time in seconds."""
        self._items.append((now_s, item))

    def believe(self, now_s: float) -> None:
        """Forgets those whose acknowledgement the connection has outlived."""
        while self._items and self._items[0][0] < now_s - BELIEVED_S:
            self._items.popleft()

    def take(self, now_s: float) -> list[Item]:
        """Removes and returns those that are to be sent again, because the connection has ended; the oldest first."""
        self.believe(now_s)
        doubted = [item for _, item in self._items]
        self._items.clear()
        return doubted
