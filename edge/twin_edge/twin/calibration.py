"""What is normal for the gap: statistics of residuals on frames that training has not seen, and the ranks of scores.

One part of a recording differs from the next by more than its frames differ from each other: the light has drifted, the
subject sits elsewhere. So scores are those of each block of frames under statistics that have not seen it, the distance
between the blocks is widened to what a block to come may have, and the tail, for which there are too few frames, is
that of an exponential distribution.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.manifest import GapCalibration
from twin_edge.twin.gap import NORMAL_SHARE, Norm
from twin_edge.twin.residual import Floats, ResidualMeter

LEAST_FRAMES: Final = 20
"""Fewest frames that a calibration needs."""
_LEAST_BLOCKS: Final = 4
_QUANTILES: Final = 200
_LEAST_DEVIATION: Final = 0.02
_SHARED: Final = 0.5
"""How far a cell's variance leans on that of the others: it is known from few frames that are independent."""
_LEAST_SCALE: Final = 0.1
_OFTEN: Final = 0.9
_TAIL: Final = 0.95
"""The strangest twentieth of the scores is the tail."""
_MOST_EXCESS: Final = 4.0
"""Nothing in the tail counts for more than this many times its median excess."""


def calibrate(
    residuals: Floats, blocks: npt.NDArray[np.int64], trained: Floats, meter: ResidualMeter
) -> GapCalibration:
    """Learns what is normal from residuals of normal frames.

    Mean and deviation come from unseen frames and from trained ones, which show the subject wherever it goes: a few
    unseen blocks alone would find every other place strange. The ranks come from the unseen frames, every block
    counting alike. Ranks of each block with the statistics of the others alone were tried: one block that is unlike the
    rest then sets the limit, and on a face a disc before it stays below (docs/adr/0013-calibration.md).

    Args:
        residuals: Residuals of frames that training has not seen, in time order, float32 of shape (frames, residuals),
            from `ResidualMeter`.
        blocks: Number of the block of each frame, ascending, of shape (frames,); blocks are made where there are fewer
            than four.
        trained: Residuals of frames that training has seen, float32 of shape (any number, residuals).
        meter: What made them.

    Raises:
        ValueError: There are fewer than 20 frames.
    """
    if len(residuals) < LEAST_FRAMES:
        raise ValueError(f"{len(residuals)} frames are too few to know what is normal; {LEAST_FRAMES} are the least")
    names = np.unique(blocks)
    if len(names) < _LEAST_BLOCKS:
        blocks = np.arange(len(residuals)) * _LEAST_BLOCKS // len(residuals)
        names = np.unique(blocks)
    whole = _learn(np.concatenate([residuals, trained]), meter)
    raw, loudest = [], []
    for name in names:
        standardized = whole.norm.standardize(residuals[blocks == name])
        raw.append(whole.norm.raw(standardized).max(-1))
        loudest.append(standardized[:, :-1].max(-1))
    quantiles = tail_quantiles(raw)
    return GapCalibration(
        meter.rows,
        meter.columns,
        tuple(round(float(v), 2) for v in whole.mean),
        tuple(round(float(v), 3) for v in whole.deviation),
        tuple(round(float(v), 3) for v in whole.centers),
        tuple(round(float(v), 3) for v in whole.scales),
        tuple(round(float(v), 4) for v in quantiles),
        round(float(np.interp(0.99, np.linspace(0, NORMAL_SHARE, _QUANTILES), tail_quantiles(loudest))), 3),
    )


def tail_quantiles(blocks: list[Floats]) -> npt.NDArray[np.float64]:
    """Returns what scores of frames to come will be, at 200 evenly spaced ranks from 0 to 0.995.

    Args:
        blocks: Scores of the frames of each block, two blocks or more.

    Returns:
        float64 of shape (200,), ascending.
    """
    # Blocks count alike, however many frames each of them has.
    values = np.concatenate(blocks).astype(np.float64)
    weights = np.concatenate([np.full(len(scores), 1 / len(scores)) for scores in blocks])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    places = (np.cumsum(weights) - weights / 2) / weights.sum()
    ranks = np.linspace(0, NORMAL_SHARE, _QUANTILES)
    quantiles = np.interp(ranks, places, values)
    start = float(np.interp(_TAIL, places, values))
    above = values > start
    if above.any():
        excess = values[above] - start
        most = _MOST_EXCESS * max(float(np.median(excess)), 1e-6)
        scale = max(float(np.average(np.minimum(excess, most), weights=weights[above])), 1e-6)
        tail = ranks >= _TAIL
        quantiles[tail] = start + scale * np.log((1 - _TAIL) / (1 - ranks[tail]))
    return np.maximum.accumulate(quantiles)


class _Learned:
    """Statistics of residuals."""

    def __init__(self, mean: Floats, deviation: Floats, centers: Floats, scales: Floats, norm: Norm) -> None:
        self.mean, self.deviation, self.centers, self.scales, self.norm = mean, deviation, centers, scales, norm


def _learn(residuals: Floats, meter: ResidualMeter) -> _Learned:
    mean = residuals.mean(0, dtype=np.float64).astype(np.float32)
    variance = residuals.var(0, dtype=np.float64)
    for part in meter.parts:
        variance[part] = (1 - _SHARED) * variance[part] + _SHARED * np.median(variance[part])
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION).astype(np.float32)
    ones = np.ones(4, np.float32)
    norm = Norm(mean, deviation, 0 * ones, ones, meter.parts)
    scores = norm.scores(norm.standardize(residuals))
    centers = np.median(scores, axis=0).astype(np.float32)
    scales = np.maximum(np.quantile(scores, _OFTEN, axis=0) - centers, _LEAST_SCALE).astype(np.float32)
    return _Learned(mean, deviation, centers, scales, Norm(mean, deviation, centers, scales, meter.parts))
