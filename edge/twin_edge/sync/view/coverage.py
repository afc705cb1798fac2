"""Which states of a twin have come, so that history never repeats what was seen live."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

_MAX_SESSIONS: Final = 8
_MAX_RANGES: Final = 256


class Coverage:
    """The sequence numbers that have come, as ranges; bounded.

    Where there are too many ranges, the two oldest become one: of what is between them, nothing is let through any
    more, because a state that is missing is better than one that comes twice. Likewise the oldest session.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, _Ranges] = {}
        self._forgotten = -1
        """Newest session of those that are not remembered any more."""

    def add(self, session: int, first: int, last: int) -> None:
        """Notes a range of states that have come.

        Args:
            session: Their session.
            first: The first number, u32.
            last: The last number, u32; below the first one where the numbers wrap around.
        """
        ranges = self._of(session)
        if ranges is None:
            return
        if last < first:
            ranges.add(first, 0xFFFF_FFFF)
            first = 0
        ranges.add(first, last)

    def has(self, session: int, seq: int) -> bool:
        """Returns whether a state has come, or is not to be let through any more."""
        if session <= self._forgotten and session not in self._sessions:
            return True
        ranges = self._sessions.get(session)
        return ranges is not None and ranges.has(seq)

    def _of(self, session: int) -> _Ranges | None:
        ranges = self._sessions.get(session)
        if ranges is None and session > self._forgotten:
            ranges = self._sessions[session] = _Ranges()
            if len(self._sessions) > _MAX_SESSIONS:
                oldest = min(self._sessions)
                del self._sessions[oldest]
                self._forgotten = max(self._forgotten, oldest)
                return self._sessions.get(session)
        return ranges


class _Ranges:
    """Ranges in order, apart from each other."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def has(self, seq: int) -> bool:
        place = bisect_right(self._firsts, seq) - 1
        return place >= 0 and seq <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        firsts, lasts = self._firsts, self._lasts
        if lasts and firsts[-1] <= first <= lasts[-1] + 1:
            # What comes live goes on where the last range ends.
            lasts[-1] = max(lasts[-1], last)
            return
        begin = bisect_right(firsts, first)
        if begin and lasts[begin - 1] >= first - 1:
            begin -= 1
            first = firsts[begin]
        end = bisect_right(firsts, last + 1)
        if end > begin:
            last = max(last, lasts[end - 1])
        firsts[begin:end] = [first]
        lasts[begin:end] = [last]
        if len(firsts) > _MAX_RANGES:
            firsts[:2] = [firsts[0]]
            lasts[:2] = [lasts[1]]
