"""The reality gap: how unusual the difference between view and rendering is for this subject.

A raw error says little: a shadow moves every pixel a bit, a missing needle a few pixels much, and both look alike in
the mean. So the absolute residual is averaged over the cells of a grid, each cell is compared with what is normal for
that very cell on frames that training has not seen, and the most unusual cells make the raw score. Its place among
the scores of normal frames is the gap: 0.5 is an ordinary frame, 0.99 one that is stranger than 99 % of normal ones,
and beyond the strangest normal frame it goes on rising towards 1.

The per-cell standardization is a diagonal Mahalanobis distance, as in PaDiM (Defard et al., arXiv 2011.08785) with a
diagonal covariance, applied to residuals instead of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.bundle.manifest import GapCalibration
from twin_edge.images import Image

ROWS: Final = 16
COLUMNS: Final = 16
"""The grid of a view whose sides are multiples of 16; see `grid_of`."""
_TOP_FRACTION: Final = 1 / 16
_QUANTILES: Final = 201
_MIN_DEVIATION: Final = 0.25
_NORMAL_SHARE: Final = 0.995


@dataclass(frozen=True, slots=True)
class Gap:
    """How far reality is from the twin in one frame."""

    score: float
    """Place among normal frames, 0-1: above 0.99 is stranger than 99 % of them."""
    raw: float
    """Mean standardized residual of the most unusual cells, in standard deviations."""


class GapMeter:
    """Measures the gap; keeps its buffers, so one thread uses one meter.

    Args:
        calibration: What is normal for this twin.
        height: Rows of the view.
        width: Columns of the view.
    """

    def __init__(self, calibration: GapCalibration, height: int, width: int) -> None:
        self._mean = np.asarray(calibration.mean, np.float32)
        self._inverse = 1 / np.asarray(calibration.deviation, np.float32)
        self._grid = (calibration.columns, calibration.rows)
        self._quantiles = np.asarray(calibration.quantiles)
        self._ranks = np.linspace(0, 1, len(self._quantiles))
        self._difference: Image = np.zeros((height, width, 3), np.uint8)

    def __call__(self, view: Image, rendering: Image) -> Gap:
        """Compares a view with its rendering.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            rendering: uint8 RGB of the same shape.
        """
        cells = residual_cells(view, rendering, self._grid, self._difference)
        raw = _raw_score(cells, self._mean, self._inverse)
        return Gap(self._rank(raw), raw)

    def _rank(self, raw: float) -> float:
        highest = float(self._quantiles[-1])
        if raw <= highest:
            return float(np.interp(raw, self._quantiles, self._ranks)) * _NORMAL_SHARE
        # Nothing normal was ever this high: go on from there, so that a bigger gap still is a bigger number.
        spread = max(highest - float(self._quantiles[len(self._quantiles) // 2]), 1e-3)
        return 1 - (1 - _NORMAL_SHARE) / (1 + (raw - highest) / spread)


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Returns the grid of a view: (columns, rows), each the most up to 16 that divides the view's side.

    Args:
        height: Rows of the view, at least 1.
        width: Columns of the view, at least 1.
    """
    columns, rows = (
        max(cells for cells in range(1, most + 1) if side % cells == 0)
        for side, most in ((width, COLUMNS), (height, ROWS))
    )
    return columns, rows


def residual_cells(
    view: Image, rendering: Image, grid: tuple[int, int], buffer: Image | None = None
) -> npt.NDArray[np.float32]:
    """Returns the mean absolute residual of each cell.

    Args:
        view: uint8 RGB of shape (height, width, 3).
        rendering: uint8 RGB of the same shape.
        grid: (columns, rows) of the grid; they divide width and height.
        buffer: Where to put the difference image; a new array when None.

    Returns:
        float32 of shape (rows * columns,), 0-255.
    """
    difference = cv2.absdiff(view, rendering, dst=buffer)
    rows, columns = grid[1], grid[0]
    height, width = difference.shape[:2]
    # Sums of each cell in integers: exact, and without a float copy of the image. A row of cells first, because
    # that reduction runs over whole rows of memory.
    strips = difference.reshape(rows, height // rows, width * 3).sum(1, dtype=np.uint32)
    sums = strips.reshape(rows, columns, width // columns * 3).sum(2, dtype=np.uint32)
    means: npt.NDArray[np.float32] = (sums.reshape(-1) / (height // rows * (width // columns) * 3)).astype(np.float32)
    return means


def calibrate(
    cells: npt.NDArray[np.float32],
    trained: npt.NDArray[np.float32],
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> GapCalibration:
    """Learns what is normal from residuals of normal frames.

    Mean and deviation come from the even blocks of the unseen frames and from trained ones, which show the subject
    wherever it goes; a short unseen part alone would find every other place strange. The quantiles come from the odd
    blocks, so that the scores are those of frames that neither training nor the statistics have seen.

    Args:
        cells: Residuals of frames that training has not seen, in time order, float32 of shape (frames,
            rows * columns), from `residual_cells`.
        trained: Residuals of frames that training has seen, float32 of shape (any number, rows * columns).
        rows: Cells from top to bottom.
        columns: Cells from left to right.

    Raises:
        ValueError: There are fewer than 20 frames.
    """
    if len(cells) < 20:  # noqa: PLR2004
        raise ValueError(f"{len(cells)} frames are too few to know what is normal; 20 are the least")
    block = max(1, len(cells) // 20)
    even = (np.arange(len(cells)) // block) % 2 == 0
    known = np.concatenate([cells[even], trained])
    mean = known.mean(0)
    deviation = np.maximum(known.std(0), _MIN_DEVIATION)
    raw = [_raw_score(row, mean, 1 / deviation) for row in cells[~even]]
    quantiles = np.quantile(raw, np.linspace(0, 1, _QUANTILES))
    return GapCalibration(
        rows,
        columns,
        tuple(round(float(v), 3) for v in mean),
        tuple(round(float(v), 3) for v in deviation),
        tuple(round(float(v), 4) for v in np.maximum.accumulate(quantiles)),
    )


def _raw_score(
    cells: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], inverse: npt.NDArray[np.float32]
) -> float:
    standardized = (cells - mean) * inverse
    top = max(1, round(len(cells) * _TOP_FRACTION))
    return float(np.partition(standardized, len(cells) - top)[-top:].mean())
