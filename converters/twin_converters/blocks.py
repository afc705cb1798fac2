"""What validation blocks say about themselves: which of them show the subject as the twin knows it.

A block in which tracking has lost the subject, or which shows what the recording shows nowhere else, says nothing about
what is normal. It is named to the user, and nothing is fitted to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.calibration import LEAST_FRAMES

_MOST_Z: Final = 3.5
_DEVIATIONS: Final = 1.4826
"""Standard deviations of a normal distribution to a median absolute deviation."""
_LEAST_RATIO: Final = 3.0
"""A block whose error is less than three times the usual one is never an outlier: parts of a recording differ."""
_LEAST_KEPT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Outlier:
    """A validation block that calibration leaves out."""

    block: int
    """Its number."""
    ratio: float
    """Median squared error of its frames, as a multiple of the other blocks' median."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Validation frames by block."""

    starts: tuple[int, ...]
    """Row at which each block begins, ascending, the first one 0."""
    frames: int
    """Rows of all blocks."""
    names: tuple[str, ...]
    """What each block is, for people."""
    outliers: tuple[Outlier, ...] = ()
    """Blocks that say nothing about what is normal."""

    def ranges(self) -> list[tuple[int, int]]:
        """Returns first row and row after the last one of each block."""
        return list(zip(self.starts, (*self.starts[1:], self.frames), strict=True))

    def labels(self) -> npt.NDArray[np.int64]:
        """Returns the number of the block of each row, int64 of shape (frames,)."""
        return np.searchsorted(self.starts, np.arange(self.frames), side="right") - 1

    def kept(self) -> npt.NDArray[np.bool_]:
        """Returns which rows may be fitted to, bool of shape (frames,)."""
        return ~np.isin(self.labels(), [outlier.block for outlier in self.outliers])

    def warnings(self) -> tuple[str, ...]:
        """Returns a line for each block that is left out."""
        return tuple(
            f"the validation block {self.names[one.block]} is unlike the others: its squared error is {one.ratio:.1f} "
            "times the usual one, because the subject is lost there or the block shows something else; nothing is "
            "calibrated on it: cut it out of the recording, or record more of what it shows"
            for one in self.outliers
        )


def judged(
    errors: npt.NDArray[np.float64], starts: Sequence[int], names: Sequence[str], *, most_z: float = _MOST_Z
) -> Blocks:
    """Finds the blocks that say nothing about what is normal, by a robust z-score of the logarithm of their error.

    Args:
        errors: Squared error of each validation frame, above or equal 0, of shape (frames,).
        starts: Row at which each block begins.
        names: What each block is, for people.
        most_z: Robust z-score above which a block is an outlier. Where that would leave fewer than half of the blocks,
            there is no telling which are usual, and all are kept; so they are where calibration would have too few
            frames.
    """
    blocks = Blocks(tuple(starts), len(errors), tuple(names))
    medians = np.log([max(float(np.median(errors[first:end])), 1e-6) for first, end in blocks.ranges()])
    apart = medians - np.median(medians)
    spread = max(_DEVIATIONS * float(np.median(np.abs(apart))), 1e-9)
    strange = np.flatnonzero((apart > most_z * spread) & (apart > np.log(_LEAST_RATIO)))
    left = len(errors) - sum(end - first for number, (first, end) in enumerate(blocks.ranges()) if number in strange)
    if len(medians) - len(strange) < _LEAST_KEPT * len(medians) or left < LEAST_FRAMES:
        return blocks
    outliers = tuple(Outlier(int(block), float(np.exp(apart[block]))) for block in strange)
    return Blocks(blocks.starts, blocks.frames, blocks.names, outliers)
