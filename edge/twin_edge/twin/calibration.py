"""What is normal for the gap: statistics of residuals on frames that training has not seen, and the ranks of scores.

One part of a recording differs from the next by more than its frames differ from each other: the light has drifted, the
subject sits elsewhere. So every block of frames counts alike, its scores lean on statistics that have not seen it, and
the tail, for which there are too few frames, is that of an exponential distribution. What counts as rare is asked of
each kind of score by itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.manifest import GAP_KINDS, GapCalibration
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
_LEAST_SHARPNESS: Final = 0.12
"""Logarithm by which the energy of a view's edges may be off: what half a pixel makes of a camera that was moved."""
_RARE: Final = 0.99
_APART: Final = 0.35
"""How much the score of a block by the statistics of the others counts, beside that by the statistics of all."""
_TAIL: Final = 0.95
"""The strangest twentieth of the scores is the tail."""
_MOST_EXCESS: Final = 4.0
"""Nothing in the tail counts for more than this many times its median excess."""


def calibrate(
    residuals: Floats,
    blocks: npt.NDArray[np.int64],
    trained: Floats,
    meter: ResidualMeter,
    state_limits: Floats | None = None,
    strangeness: Floats | None = None,
    *,
    ahead: float = 1.0,
) -> GapCalibration:
    """Learns what is normal from residuals of normal frames.

    Mean and deviation come from unseen frames and from trained ones, which show the subject wherever it goes: a few
    unseen blocks alone would find every other place strange. The ranks come from the unseen blocks, and the trained
    frames as one block more, all counting alike. By statistics that have seen a block its scores are a little low; by
    those of the other blocks alone one that is unlike the rest sets the limit, and on a face a disc before it stays
    below. So the one counts for most and the other for some of it (docs/adr/0013-calibration.md).

    Args:
        residuals: Residuals of frames that training has not seen, in time order, float32 of shape (frames, residuals),
            from `ResidualMeter`.
        blocks: Number of the block of each frame, ascending, of shape (frames,); blocks are made where there are fewer
            than four.
        trained: Residuals of frames that training has seen, float32 of shape (any number, residuals).
        meter: What made them.
        state_limits: From what distance on each part's state is strange, see `twin_edge.twin.known`; None without
            parts.
        strangeness: How strange the states of the frames are, in those limits, float32 of shape (frames,); None for not
            at all.
        ahead: How many times larger the squared error of frames to come is, at least 1: a person has moved on by the
            end of a recording. What is normal are frames like those that are there, and others so much worse.

    Raises:
        ValueError: There are fewer than 20 frames.
    """
    if len(residuals) < LEAST_FRAMES:
        raise ValueError(f"{len(residuals)} frames are too few to know what is normal; {LEAST_FRAMES} are the least")
    names = np.unique(blocks)
    if len(names) < _LEAST_BLOCKS:
        blocks = np.arange(len(residuals)) * _LEAST_BLOCKS // len(residuals)
        names = np.unique(blocks)
    origins = blocks
    if ahead > 1:
        residuals = np.concatenate([residuals, meter.enlarged(residuals, ahead)])
        origins, blocks = np.tile(blocks, 2), np.concatenate([blocks, blocks + names[-1] + 1])
        names = np.unique(blocks)
        strangeness = None if strangeness is None else np.tile(strangeness, 2)
    everything = np.concatenate([residuals, trained])
    whole = _plain(everything, meter)
    centers = np.median(whole.scores(whole.standardize(everything)), axis=0).astype(np.float32)
    # What training has seen counts as a block: the subject where none of the others shows it.
    scores = [whole.scores(whole.standardize(trained))] if len(trained) else []
    unseen = []
    for name in names:
        own = blocks == name
        unseen.append(whole.standardize(residuals[own]))
        # The same frames as they may become are no other block.
        others = _plain(np.concatenate([residuals[origins != origins[own][0]], trained]), meter)
        apart = others.scores(others.standardize(residuals[own]))
        scores.append((1 - _APART) * whole.scores(unseen[-1]) + _APART * apart)
    # One kind of score has a longer tail than the next: each counts by its own, or the longest alone sets the limit.
    limits = np.array(
        [tail_threshold([block[:, kind] for block in scores]) for kind in range(len(centers))], np.float32
    )
    limits[-1] = max(limits[-1], _LEAST_SHARPNESS / whole.deviation[-1])
    scales = np.maximum(limits - centers, _LEAST_SCALE)
    raw = [((block - centers) / scales).max(-1) for block in scores]
    if strangeness is not None:
        for block, name in zip(raw[-len(names) :], names, strict=True):
            np.maximum(block, strangeness[blocks == name], out=block)
    quantiles = tail_quantiles(raw)
    return GapCalibration(
        meter.rows,
        meter.columns,
        tuple(round(float(v), 2) for v in whole.mean),
        tuple(round(float(v), 3) for v in whole.deviation),
        tuple(round(float(v), 3) for v in centers),
        tuple(round(float(v), 3) for v in scales),
        tuple(round(float(v), 4) for v in quantiles),
        round(tail_threshold([block[:, :-1].max(-1) for block in unseen]), 3),
        () if state_limits is None else tuple(round(float(v), 2) for v in state_limits),
    )


def tail_threshold(blocks: list[Floats]) -> float:
    """Returns the score that one frame in a hundred to come exceeds; see `tail_quantiles`."""
    return float(np.interp(_RARE, np.linspace(0, NORMAL_SHARE, _QUANTILES), tail_quantiles(blocks)))


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


def _plain(residuals: Floats, meter: ResidualMeter) -> Norm:
    """Returns the mean and the deviation of residuals, their scores as they are."""
    mean = residuals.mean(0, dtype=np.float64).astype(np.float32)
    variance = residuals.var(0, dtype=np.float64)
    for part in meter.parts:
        variance[part] = (1 - _SHARED) * variance[part] + _SHARED * np.median(variance[part])
    deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION).astype(np.float32)
    return Norm(mean, deviation, np.zeros(GAP_KINDS, np.float32), np.ones(GAP_KINDS, np.float32), meter.parts)
