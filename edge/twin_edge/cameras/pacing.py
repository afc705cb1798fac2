"""When the next frame is due."""

from __future__ import annotations

import math

DEFAULT_FPS = 30.0
_EARLY_SHARE = 0.25
"""Cameras are not clocks: a frame may come early by this share of the interval and still be taken."""


class Pacer:
    """A schedule of frames against a monotonic clock.

    Args:
        fps: Frames per second, more than 0; infinity means that every frame is due at once.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1.0 / fps
        self._due_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next frame is due, 0 when it is; counts that frame as taken.

        A schedule that has fallen behind by more than an interval starts anew instead of rushing to catch up.
        """
        if self._due_s is None or now_s - self._due_s > self._interval_s:
            self._due_s = now_s
        wait_s = max(0.0, self._due_s - now_s)
        self._due_s += self._interval_s
        return wait_s

    def admits(self, now_s: float) -> bool:
        """True when a frame that came now is to be taken, False when it came too early."""
        if self._due_s is not None and now_s < self._due_s - _EARLY_SHARE * self._interval_s:
            return False
        self.wait_s(now_s)
        return True


def pacer_for(limit_fps: float | None, source_fps: float | None, *, live: bool) -> Pacer:
    """The schedule for a source.

    Args:
        limit_fps: What was asked for, None for the source's own rate.
        source_fps: What the source says, None when it does not.
        live: True for a source that keeps time by itself.
    """
    if limit_fps is not None:
        return Pacer(limit_fps)
    return Pacer(math.inf if live else source_fps or DEFAULT_FPS)
