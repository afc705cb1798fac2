"""Prediction, quantization and contexts: what encoder and decoder of codec 1 do alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.codec.tables import ESCAPE, LARGEST, CodecTables

ESCAPED_BITS: Final = 9
"""Raw bits after an escape: the sign, and eight for the size."""

_ROUND: Final = 8
_WEIGHT_BITS: Final = 4
_ACTIVITY_ONE: Final = 16
_FADING: Final = 3
_THRESHOLDS: Final = (8, 24, 48, 96)
"""Where the classes of activity begin, sixteenths of a step."""
_CLASSES: Final = bytes(sum(a >= limit for limit in _THRESHOLDS) for a in range(2048))

States = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]


def context_of(activity: int) -> int:
    """Returns the context, 0-4, for how much there was to code in the frame so far, sixteenths of a step, faded."""
    return _CLASSES[activity]


def more_active(activity: int, count: int) -> int:
    """Returns the activity after a value that took a number of steps: 0-2047."""
    return activity + min(abs(count), LARGEST) * _ACTIVITY_ONE - (activity >> _FADING)


class Profile:
    """One level and mode of the tables, laid out for coding.

    Args:
        tables: All tables.
        level: Which level, from 0.
        mode: Which mode, from 0.
    """

    def __init__(self, tables: CodecTables, level: int, mode: int) -> None:
        chosen = tables.levels[level]
        self.tables = tables
        self.tradeoff = chosen.tradeoff
        self.sent = [j for j, step in enumerate(chosen.steps) if step]
        self.steps = np.array(chosen.steps, np.int64)
        self.weights = np.where(self.steps > 0, np.array(tables.weights[mode], np.int64), 0)
        self.indices = [[row[j] for j in self.sent] for row in chosen.tables[mode]]

    @cached_property
    def divisors(self) -> npt.NDArray[np.float64]:
        """The steps of the values that are sent, float64."""
        return self.steps[self.sent].astype(np.float64)

    def predict(self, last: Ints) -> Ints:
        """Returns what is expected after a state, int64 of shape (length,)."""
        means = self.tables.mean_state
        predicted: Ints = means + ((self.weights * (last - means) + _ROUND) >> _WEIGHT_BITS)
        return predicted

    def reconstruct(self, predicted: Ints, counts: Sequence[int]) -> Ints:
        """Returns the decoded state for numbers of steps, one for each value that is sent."""
        state = predicted.copy()
        state[self.sent] += self.steps[self.sent] * np.array(counts, np.int64)
        return np.clip(state, -128, 127)

    def quantize(self, state: Ints, predicted: Ints, activity: int) -> tuple[list[int], list[int], int]:
        """Chooses the number of steps for each value that is sent: small error for few bits.

        Returns:
            The numbers of steps, the context of each, and the activity at the end.
        """
        ratios = ((state - predicted)[self.sent] / self.divisors).tolist()
        costs, indices, tradeoff = self.tables.costs, self.indices, self.tradeoff
        counts, contexts = [], []
        for place, ratio in enumerate(ratios):
            context = context_of(activity)
            count = 0
            if not -0.5 < ratio < 0.5:  # noqa: PLR2004 - half a step
                cost = costs[indices[context][place]]
                size = abs(ratio)
                sign = 1 if ratio > 0 else -1
                nearest = int(size + 0.5)
                best = size * size + tradeoff * cost[LARGEST]
                for candidate in (nearest - 1, nearest) if nearest > 1 else (nearest,):
                    bits = cost[LARGEST + sign * candidate] if candidate <= LARGEST else cost[ESCAPE] + ESCAPED_BITS
                    value = (size - candidate) ** 2 + tradeoff * bits
                    if value < best:
                        best, count = value, sign * candidate
            counts.append(count)
            contexts.append(context)
            activity = more_active(activity, count)
        return counts, contexts, activity

    def estimate(self, state: Ints, predicted: Ints) -> float:
        """Returns about how many bits a state would take."""
        return float(np.log2(1 + 2 * np.abs((state - predicted)[self.sent]) / self.divisors).sum())


class Profiles:
    """All levels and modes of the tables, laid out when they are first used.

    Args:
        tables: The tables of the bundle.
    """

    def __init__(self, tables: CodecTables) -> None:
        self.tables = tables
        self._made: dict[tuple[int, int], Profile] = {}

    def __call__(self, level: int, mode: int) -> Profile:
        """Returns one of them."""
        if (level, mode) not in self._made:
            self._made[level, mode] = Profile(self.tables, level, mode)
        return self._made[level, mode]
