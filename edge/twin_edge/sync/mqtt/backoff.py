"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

STABLE_S: Final = 30.0
"""A connection that held for this long ends the growing: one that breaks at once must not be tried at full speed."""
_LEAST_SHARE: Final = 0.1
_BUSY_STEPS: Final = 4
"""A broker that says it has too much to do is tried again as if this many attempts had failed."""
_MAX_STEPS: Final = 16


class BackOff:
    """Exponential, with full jitter: a hundred devices that lost the same broker do not come back at once.

    Args:
        least_s: Longest wait after the first failure, seconds, above 0.
        most_s: Longest wait at all, seconds.
        draw: Gives numbers from 0 to 1, evenly.
    """

    def __init__(self, least_s: float, most_s: float, draw: Callable[[], float] = random.random) -> None:
        self._least_s = least_s
        self._most_s = max(least_s, most_s)
        self._draw = draw
        self.failures = 0

    def next_s(self, held_s: float = 0.0, *, busy: bool = False, hopeless: bool = False) -> float:
        """Returns the seconds to wait now.

        Args:
            held_s: How long the connection lasted that has ended, 0 when there was none.
            busy: The broker asked to be left alone for a while.
            hopeless: Without somebody's doing the answer will be the same: wrong password, not allowed.
        """
        if held_s >= STABLE_S:
            self.failures = 0
        if busy:
            self.failures = max(self.failures, _BUSY_STEPS)
        ceiling_s = min(self._least_s * (1 << min(self.failures, _MAX_STEPS)), self._most_s)
        self.failures += 1
        if hopeless:
            # The slow lane: between half of the longest wait and all of it.
            return self._most_s * (1 + self._draw()) / 2
        return max(_LEAST_SHARE * self._least_s, self._draw() * ceiling_s)
