"""How often something may happen."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Lets through so many a second in the long run, and as many at once.

    Args:
        per_second: How many, above 0.
        clock: Monotonic seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._clock = clock
        self._burst = max(per_second, 1.0)
        self._tokens = self._burst
        self._at = clock()

    def take(self) -> bool:
        """Returns whether one more may pass now; if so, it counts as passed."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
