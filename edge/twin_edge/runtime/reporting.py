"""When reality counts as out of sync, and when the state report is worth sending again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import numpy as np

OUT_OF_SYNC_GAP: Final = 0.99
"""A frame that is stranger than this share of normal ones speaks against the twin."""
IN_SYNC_GAP: Final = 0.95
"""Below this it speaks for it; in between it says nothing."""
_FRAMES: Final = 8
_STRANGE_FRAMES: Final = 5
_CALM_S: Final = 1.0
_RESTLESS: Final = 0.25
_LEAST_CALM: Final = 8
_GAP_AT_LATEST_S: Final = 0.2

REPORT_EVERY_S: Final = 1.0
HEARTBEAT_S: Final = 60.0
_USUAL_CHANGE: Final = 0.1
_UNUSUAL: Final = 0.9
_UNUSUAL_CHANGE: Final = 0.02

_KEPT_GAPS: Final = 64

Property = float | int | bool | str


class GapSchedule:
    """Says which frames are rendered and measured: not each of them, as long as nothing is strange.

    Due is every n-th frame, one that comes 0.2 s after the last measured one, and each one while the latest gap is
    0.95 or more or reality is out of sync. So a rare rendering costs what is noticed at most 0.2 s, and nothing of
    what then has to be decided.

    Args:
        every: Measure every n-th frame, at least 1.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.restart()

    def set_every(self, every: int) -> None:
        """Changes how often a frame is measured: every n-th, at least 1."""
        self._every = every

    def restart(self) -> None:
        """Forgets what was measured, so that the next frame is due."""
        self._skipped = 0
        self._measured_s = -np.inf
        self._calm = False

    def is_due(self, own_s: float) -> bool:
        """Returns whether to measure a frame; asked once for each, with its own time in seconds.

        That of a live camera is of a clock that may be set back, and then the frame is due.
        """
        self._skipped += 1
        late = not 0 <= own_s - self._measured_s < _GAP_AT_LATEST_S
        return not self._calm or late or self._skipped >= self._every

    def measured(self, gap: float, own_s: float, *, in_sync: bool) -> None:
        """Takes the gap of a frame, 0-1, its own time in seconds, and whether reality is where the twin is."""
        self._skipped = 0
        self._measured_s = own_s
        self._calm = in_sync and gap < IN_SYNC_GAP


class SyncJudge:
    """Decides whether reality is where the twin is, with hysteresis.

    Out of sync once 5 of the last 8 measured frames have a gap of 0.99 or more (some 0.2 s at 30 frames per second,
    5 s at one per second); in sync again after a second, of eight frames at least, in which less than a quarter had
    0.95 or more. Of normal frames one in twenty has: a second without any would be the rarer the faster the camera is.
    """

    def __init__(self) -> None:
        self._strange: deque[bool] = deque(maxlen=_FRAMES)
        self._second: deque[tuple[float, bool]] = deque()
        self._out_since_s = 0.0
        self._in_sync = True

    @property
    def in_sync(self) -> bool:
        """Whether reality is where the twin is; true until something speaks against it."""
        return self._in_sync

    def judge(self, gap: float, own_s: float) -> bool:
        """Takes the gap of a frame.

        Args:
            gap: The score, 0-1.
            own_s: The frame's own time, seconds, so that a file that is read fast comes out as one that is played. A
                clock that was set back starts the second of calm anew.

        Returns:
            Whether reality is where the twin is.
        """
        self._strange.append(gap >= OUT_OF_SYNC_GAP)
        if self._second and own_s < self._second[-1][0]:
            self._second.clear()
            self._out_since_s = own_s
        self._second.append((own_s, gap >= IN_SYNC_GAP))
        while self._second[0][0] <= own_s - _CALM_S and len(self._second) > _LEAST_CALM:
            self._second.popleft()
        if self._in_sync:
            self._in_sync = sum(self._strange) < _STRANGE_FRAMES
            self._out_since_s = own_s
        elif own_s - self._out_since_s >= _CALM_S and len(self._second) >= _LEAST_CALM and not self._is_restless():
            self._in_sync = True
            self._strange.clear()
        return self._in_sync

    def _is_restless(self) -> bool:
        return sum(high for _, high in self._second) >= _RESTLESS * len(self._second)


class RecentGap:
    """The median gap of the last second, because the gap of a single normal frame is anywhere between 0 and 1."""

    def __init__(self) -> None:
        self._gaps = np.zeros(_KEPT_GAPS)
        self._times_s = np.full(_KEPT_GAPS, -np.inf)
        self._count = 0

    def add(self, gap: float, now_s: float) -> None:
        """Takes the gap of a frame, 0-1, at a monotonic time in seconds."""
        place = self._count % _KEPT_GAPS
        self._gaps[place], self._times_s[place] = gap, now_s
        self._count += 1

    @property
    def latest(self) -> float | None:
        """The gap of the latest measured frame, 0-1; None when there was none."""
        return float(self._gaps[(self._count - 1) % _KEPT_GAPS]) if self._count else None

    def median(self, now_s: float) -> float | None:
        """Returns the median of the last second, or else the gap of the latest frame; None when there was none."""
        if not self._count:
            return None
        recent = self._gaps[self._times_s > now_s - 1.0]
        return float(np.median(recent)) if len(recent) else self.latest


class ReportSchedule:
    """Says when a report is due: at most one a second when something changed, one a minute when nothing did.

    The gap is a place among normal frames, so while all is well it wanders by itself: there a change counts from 0.1
    on, and from 0.02 on where the gap was, or is, 0.9 or more. A change of `in_sync`, of a property that is not a
    number, or of any property's number at all counts always.

    Attributes:
        every_s: Seconds between two reports at least, above 0; may be set.
    """

    def __init__(self) -> None:
        self.every_s = REPORT_EVERY_S
        self._sent_s = -np.inf
        self._gap: float | None = None
        self._in_sync: bool | None = None
        self._properties: Mapping[str, Property] = {}

    def may_send(self, now_s: float) -> bool:
        """Returns whether the last report was long enough ago, at a monotonic time in seconds."""
        return now_s - self._sent_s >= self.every_s

    def is_due(
        self,
        now_s: float,
        *,
        gap: float | None,
        in_sync: bool | None,
        properties: Mapping[str, Property],
    ) -> bool:
        """Returns whether a report with this content should be sent now; if so, it counts as sent.

        Args:
            now_s: Monotonic time, seconds.
            gap: Recent gap, 0-1; None when there is none.
            in_sync: Whether reality is where the twin is; None when that is not known.
            properties: Properties by name.
        """
        if not self.may_send(now_s):
            return False
        changed = in_sync != self._in_sync or properties != self._properties or _gap_changed(self._gap, gap)
        if not changed and now_s - self._sent_s < HEARTBEAT_S:
            return False
        self._sent_s, self._gap, self._in_sync, self._properties = now_s, gap, in_sync, dict(properties)
        return True


def _gap_changed(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is not now
    least = _UNUSUAL_CHANGE if max(before, now) >= _UNUSUAL else _USUAL_CHANGE
    return abs(now - before) > least
