"""The reality gap: how unusual the difference between view and rendering is for this subject.

A raw error says little: a shadow moves every pixel a bit, a missing needle a few pixels much, and both look alike in
the mean. So what differs is measured cell by cell at two sizes, apart from light (`twin_edge.twin.residual`), each cell
is compared with what is normal for that very cell on frames that training has not seen, and the most unusual cells make
the raw score, unless the state is farther still from all that training has seen (`twin_edge.twin.known`). Its place
among the scores of normal frames is the gap: 0.5 is an ordinary frame, 0.99 one that is stranger than 99 % of normal
ones, and beyond the strangest normal frame it goes on rising towards 1.

The per-cell standardization is a diagonal Mahalanobis distance, as in PaDiM (Defard et al., arXiv 2011.08785) with a
diagonal covariance, applied to residuals instead of features. How it is calibrated: `twin_edge.twin.calibration`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import cv2
import numpy as np

from twin_edge.bundle.manifest import GapCalibration, coarse_grid
from twin_edge.images import Image
from twin_edge.twin.residual import Floats, ResidualMeter

NORMAL_SHARE: Final = 0.995
"""Rank of the last quantile of a calibration: what is beyond is stranger than anything normal frames can tell."""
_TOP: Final = (0.012, 0.02, 0.008)
"""Share of the cells that make the score: of the fine ones, of the coarse ones, and of the means of coarse ones."""


@dataclass(frozen=True)
class Gap:
    """How far reality is from the twin in one frame."""

    score: float
    """Place among normal frames, 0-1: above 0.99 is stranger than 99 % of them."""
    raw: float
    """How far the most unusual cells, or the state, are beyond what is usual for the most unusual ones: 1 is as far as
    in one frame of a hundred."""
    residuals: Floats
    """The standardized residuals, in standard deviations, less where the camera was moved (`shift_tolerance`), float32
    of shape (residuals,)."""
    to_map: Callable[[Floats], Floats] = field(default=np.asarray, repr=False)
    """Lays them out as a map."""

    @cached_property
    def cells(self) -> Floats:
        """Where: the residual of each fine cell, at the larger of both cell sizes, float32 of shape (rows, columns).

        Above `GapCalibration.cell_limit` a cell is not normal. Made when it is asked for: most frames are judged by
        their score alone.
        """
        return self.to_map(self.residuals)


class GapMeter:
    """Measures the gap; keeps its buffers, so one thread uses one meter.

    Args:
        calibration: What is normal for this twin.
        height: Rows of the view.
        width: Columns of the view.
        lit: Whether renderings are in their view's light.
    """

    def __init__(self, calibration: GapCalibration, height: int, width: int, *, lit: bool = False) -> None:
        self._residual = ResidualMeter(height, width, (calibration.columns, calibration.rows), lit=lit)
        self._norm = Norm(
            np.asarray(calibration.mean, np.float32),
            np.asarray(calibration.deviation, np.float32),
            np.asarray(calibration.centers, np.float32),
            np.asarray(calibration.scales, np.float32),
            self._residual.parts,
        )
        self._shape = (calibration.rows, calibration.columns)
        self._coarse = coarse_grid(calibration.rows, calibration.columns)
        self._quantiles = [float(one) for one in calibration.quantiles]
        self._ranks: list[float] = np.linspace(0, NORMAL_SHARE, len(self._quantiles)).tolist()

    def __call__(self, view: Image, rendering: Image, strangeness: float = -np.inf, tolerance: float = 1.0) -> Gap:
        """Compares a view with its rendering.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            rendering: uint8 RGB of the same shape.
            strangeness: How far the state is from all that training has seen, in what is rare, see
                `twin_edge.twin.known`; minus infinity where that is not known.
            tolerance: What everything is divided by before it is compared with normal frames, at least 1: see
                `twin_edge.twin.shift.shift_tolerance`.
        """
        standardized = self._norm.standardize(self._residual(view, rendering))
        raw = max(float(self._norm.raw(standardized).max()), strangeness) / tolerance
        standardized /= np.float32(tolerance)
        return Gap(self._rank(raw), raw, standardized, self._map)

    def _map(self, standardized: Floats) -> Floats:
        fine, coarse, smooth = (standardized[part] for part in self._residual.parts)
        wide = cv2.resize(
            np.maximum(coarse, smooth).reshape(self._coarse), self._shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        return np.asarray(np.maximum(fine.reshape(self._shape), wide), np.float32)

    def _rank(self, raw: float) -> float:
        quantiles, ranks = self._quantiles, self._ranks
        highest = quantiles[-1]
        if raw <= highest:
            after = bisect_right(quantiles, raw)
            if after in {0, len(quantiles)}:
                return ranks[max(0, after - 1)]
            slope = (ranks[after] - ranks[after - 1]) / (quantiles[after] - quantiles[after - 1])
            return ranks[after - 1] + slope * (raw - quantiles[after - 1])
        # Nothing normal is ever this high: go on from there, so that a bigger gap still is a bigger number.
        spread = max(highest - quantiles[len(quantiles) // 2], 1e-3)
        return 1 - (1 - NORMAL_SHARE) / (1 + (raw - highest) / spread)


class Norm:
    """What residuals are compared with.

    Args:
        mean: Mean of each residual in normal frames, float32 of shape (residuals,).
        deviation: Its standard deviation there, > 0.
        centers: What the four scores usually are, float32 of shape (4,): of fine cells, of coarse ones, of the means of
            coarse ones, and of sharpness.
        scales: How far above that one frame in a hundred is, > 0.
        parts: Where the first three stand among the residuals.

    Attributes:
        mean: As given.
        deviation: As given.
    """

    def __init__(
        self, mean: Floats, deviation: Floats, centers: Floats, scales: Floats, parts: tuple[slice, slice, slice]
    ) -> None:
        self.mean, self.deviation = mean, deviation
        self._inverse = 1 / deviation
        self._centers, self._inverse_scales = centers, 1 / scales
        self._parts = parts
        counts = [part.stop - part.start for part in parts]
        tops = [max(1, round(count * share)) for count, share in zip(counts, _TOP, strict=True)]
        self._tops = [count - top for count, top in zip(counts, tops, strict=True)]
        self._shares = np.array([1 / top for top in tops], np.float32)

    def standardize(self, residuals: Floats) -> Floats:
        """Returns residuals, float32 of shape (..., residuals), in standard deviations."""
        standardized = residuals - self.mean
        standardized *= self._inverse
        return standardized

    def scores(self, standardized: Floats) -> Floats:
        """Returns the mean of the most unusual standardized residuals of each kind, float32 of shape (..., 4)."""
        ordered = standardized.copy()
        scores = np.empty((*standardized.shape[:-1], len(_TOP) + 1), np.float32)
        for kind, (part, place) in enumerate(zip(self._parts, self._tops, strict=True)):
            cells = ordered[..., part]
            cells.partition(place, axis=-1)
            np.add.reduce(cells[..., place:], axis=-1, out=scores[..., kind])
        scores[..., :-1] *= self._shares
        # A view that is blurred is as strange as one that is too sharp.
        np.abs(standardized[..., -1], out=scores[..., -1])
        return scores

    def raw(self, standardized: Floats) -> Floats:
        """Returns the scores beside what is usual for each, float32 of shape (..., 4)."""
        return (self.scores(standardized) - self._centers) * self._inverse_scales
