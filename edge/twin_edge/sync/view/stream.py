"""What waits to be fetched: bounded for each twin and in all, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_AT_ONCE: Final = 64
"""Items after which an asynchronous iteration lets other tasks run, even if more wait."""


class Stream(Generic[T]):
    """Hands items from the network thread to whoever fetches them.

    Items of one lane come in order. Lanes with something waiting take turns, so that a busy twin does not make the
    others wait. What is too much is dropped, the oldest of its lane first.

    Args:
        most: Items that may wait in one lane; 0 keeps none at all.
        most_in_all: Items that may wait in all lanes together.
        on_drop: Gets each item that is dropped, and the one after it in its lane, None where nothing waits there.

    Attributes:
        dropped: Items that were dropped.
        taken: Items that were fetched.
    """

    def __init__(self, most: int, most_in_all: int, on_drop: Callable[[T, T | None], None] | None = None) -> None:
        self.dropped = self.taken = 0
        self._most = most
        self._most_in_all = most_in_all
        self._on_drop = on_drop
        self._lanes: dict[Hashable, deque[T]] = {}
        self._ready: deque[deque[T]] = deque()
        """The lanes with something in them, each once, in the order of their turns."""
        self._waiting = 0
        self._changed = threading.Condition()
        self._sleepers = 0
        self._wakers: list[Callable[[], None]] = []
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return self._waiting

    @property
    def closed(self) -> bool:
        """Whether every iteration has ended."""
        return self._closed

    def put(self, lane: Hashable, items: Sequence[T]) -> None:
        """Adds items to a lane; never blocks."""
        self.put_all([(lane, items)])

    def put_all(self, groups: Iterable[tuple[Hashable, Sequence[T]]]) -> None:
        """Adds items to lanes, and wakes those who wait for any once for all; never blocks.

        Args:
            groups: Lanes, and the items for each.
        """
        if not self._most:
            return
        with self._changed:
            for lane, items in groups:
                self._append(lane, items)
            if self._sleepers and self._waiting:
                self._changed.notify(self._waiting)
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def take(self, timeout_s: float | None = None) -> T | None:
        """Waits for the next item.

        Args:
            timeout_s: Seconds; None waits for ever.

        Returns:
            The item; None when none came in time, or when the stream is closed.
        """
        with self._changed:
            if not self._waiting and not self._closed:
                self._sleepers += 1
                try:
                    self._changed.wait_for(lambda: self._waiting or self._closed, timeout_s)
                finally:
                    self._sleepers -= 1
            return self._pop()

    def within(self, timeout_s: float | None) -> Iterator[T]:
        """Goes through the items as they come.

        Args:
            timeout_s: Ends when nothing came for this many seconds; None waits for ever.
        """
        while (item := self.take(timeout_s)) is not None:
            yield item

    def __iter__(self) -> Iterator[T]:
        return self.within(None)

    async def next(self) -> T | None:
        """Waits for the next item without blocking the event loop; None when the stream is closed."""
        while True:
            with self._changed:
                if self._waiting or self._closed:
                    return self._pop()
                loop = asyncio.get_running_loop()
                woken = loop.create_future()
                wake = _waker(loop, woken)
                self._wakers.append(wake)
            try:
                await woken
            finally:
                # Where it was cancelled, nobody may be left to be woken in vain.
                with self._changed:
                    if wake in self._wakers:
                        self._wakers.remove(wake)

    async def __aiter__(self) -> AsyncIterator[T]:
        count = 0
        while (item := await self.next()) is not None:
            yield item
            count += 1
            if not count % _AT_ONCE:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Ends every iteration, what waits included."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    def _pop(self) -> T | None:
        if self._closed or not self._waiting:
            return None
        queue = self._ready.popleft()
        item = queue.popleft()
        if queue:
            self._ready.append(queue)
        self._waiting -= 1
        self.taken += 1
        return item

    def _append(self, lane: Hashable, items: Sequence[T]) -> None:
        queue = self._lanes.get(lane)
        if queue is None:
            queue = self._lanes[lane] = deque()
        for item in items:
            if len(queue) >= self._most or self._waiting >= self._most_in_all:
                self._make_room(queue, item)
            if not queue:
                self._ready.append(queue)
            queue.append(item)
            self._waiting += 1

    def _make_room(self, queue: deque[T], item: T) -> None:
        """Drops the oldest item of the lane, or, where it is empty, of the one whose turn it is."""
        victim = queue or self._ready[0]
        oldest = victim.popleft()
        self._waiting -= 1
        self.dropped += 1
        if not victim:
            self._ready.remove(victim)
        if self._on_drop is not None:
            follows = item if victim is queue else None
            self._on_drop(oldest, victim[0] if victim else follows)


def _waker(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> Callable[[], None]:
    def finish() -> None:
        if not woken.done():
            woken.set_result(None)

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish)

    return wake
