"""What states cost when the differences of each value are coded one by one: without contexts, order 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

_LARGEST_DELTA: Final = 255
_PRIOR_WEIGHT: Final = 40.0
_LEAST_SPREAD: Final = 0.15
_FLOOR: Final = 1e-4
_RAW_BITS: Final = 8

States = npt.NDArray[np.int8]
"""States of consecutive views, int8 of shape (n, values)."""


def entropy_bytes(sequences: Sequence[States]) -> float:
    """Returns the bytes a frame by the empirical order-0 entropy of each value's differences.

    Args:
        sequences: States in time order; differences do not reach from one sequence into the next.
    """
    bits = 0.0
    for column in _deltas(sequences).T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        bits -= float((share * np.log2(share)).sum())
    return bits / 8


def coded_bytes(known: Sequence[States], sequences: Sequence[States]) -> float:
    """Returns the bytes a frame that an arithmetic coder needs with static tables.

    Args:
        known: States of the training part, in time order, from which the tables are learned.
        sequences: States to code; the first one of each is sent raw.
    """
    learned, deltas = _deltas(known), _deltas(sequences)
    symbols = np.arange(-_LARGEST_DELTA, _LARGEST_DELTA + 1)
    bits = float(_RAW_BITS * deltas.shape[1] * len(sequences))
    for before, now in zip(learned.T, deltas.T, strict=True):
        counts = np.bincount(before + _LARGEST_DELTA, minlength=len(symbols)).astype(np.float64)
        spread = max(_LEAST_SPREAD, float(np.abs(before).mean()) if len(before) else 1.0)
        # What training has not shown may still come: a two-sided exponential stands in for it.
        prior = np.exp(-np.abs(symbols) / spread) + _FLOOR
        table = counts + _PRIOR_WEIGHT * prior / prior.sum()
        bits -= float(np.log2(table[now + _LARGEST_DELTA] / table.sum()).sum())
    return bits / 8 / sum(map(len, sequences))


def _deltas(sequences: Sequence[States]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.diff(states.astype(np.int64), axis=0) for states in sequences])
