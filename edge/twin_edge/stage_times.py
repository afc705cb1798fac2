"""How long each stage of a frame took, kept without allocating anything per frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_CAPACITY: Final = 4096


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the times of a stage lie."""

    p50_ms: float
    """Median, milliseconds."""
    p95_ms: float
    """95th percentile, milliseconds."""


class StageTimes:
    """The newest times of some stages, in a ring; one thread writes and reads it.

    Args:
        stages: Names of the stages.
        capacity: Frames that are kept, at least 1.
    """

    def __init__(self, stages: Sequence[str], capacity: int = _CAPACITY) -> None:
        self.stages = tuple(stages)
        self._ring: npt.NDArray[np.float32] = np.zeros((capacity, len(self.stages)), np.float32)
        self._count = 0

    @property
    def count(self) -> int:
        """Frames that were added since the start."""
        return self._count

    def next_row(self) -> npt.NDArray[np.float32]:
        """Returns the row of the next frame, to be filled with milliseconds, one for each stage.

        NaN stands for a stage that the frame did not have.
        """
        row: npt.NDArray[np.float32] = self._ring[self._count % len(self._ring)]
        self._count += 1
        return row

    def spreads(self, newest: int = _CAPACITY) -> dict[str, Spread]:
        """Returns the percentiles of each stage, by name, over the frames that had it; nothing for one that none had.

        Args:
            newest: Frames to look at, at least 1; those that the ring still has at most.
        """
        kept = min(self._count, newest, len(self._ring))
        if not kept:
            return {}
        places = np.arange(self._count - kept, self._count) % len(self._ring)
        spreads: dict[str, Spread] = {}
        for stage, column in zip(self.stages, self._ring[places].T, strict=True):
            times = column[~np.isnan(column)]
            if len(times):
                middle, high = np.percentile(times, (50, 95))
                spreads[stage] = Spread(round(float(middle), 3), round(float(high), 3))
        return spreads
