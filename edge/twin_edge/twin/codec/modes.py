"""What the encoder of codec 1 knows of a state before it codes it: all modes of one level, side by side."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from twin_edge.twin.codec.profile import ROUND, WEIGHT_BITS, Ints, States
from twin_edge.twin.codec.tables import CodecTables

_State = TypeVar("_State", States, Ints)


class Modes:
    """Predicts with all modes of one level at once: a few operations on small arrays, whose number is what costs.

    Args:
        tables: All tables.
        level: Which level, from 0.
    """

    def __init__(self, tables: CodecTables, level: int) -> None:
        steps = np.array(tables.levels[level].steps, np.int64)
        self._sent = np.flatnonzero(steps)
        self._all = len(self._sent) == tables.length
        self._means = tables.mean_state
        self._steps = steps[self._sent]
        self._weights = np.array(tables.weights, np.int64)[:, self._sent]
        means = self._means[self._sent]
        # mean + ((weight * (last - mean) + round) >> bits), with all that does not hang on the state in one number.
        self._offsets = (means << WEIGHT_BITS) - self._weights * means + ROUND
        self._half_steps: npt.NDArray[np.float64] = self._steps / 2

    def sent(self, state: _State) -> _State:
        """Returns the values of a state that are sent."""
        return state if self._all else state[self._sent]

    def predict(self, last: Ints) -> Ints:
        """Returns what each mode expects after a state.

        Args:
            last: The values of the state that are sent, see `sent`.

        Returns:
            int64 of shape (modes, values that are sent).
        """
        predicted: Ints = self._weights * last
        predicted += self._offsets
        predicted >>= WEIGHT_BITS
        return predicted

    def estimate(self, differences: Ints) -> list[float]:
        """Returns about how many bits a state would take with each mode.

        Args:
            differences: How far the state is from what each mode expects, int64 of shape (modes, values that are sent).
        """
        sizes = np.abs(differences) / self._half_steps
        sizes += 1.0
        bits: list[float] = np.log2(sizes, out=sizes).sum(1).tolist()
        return bits

    def reconstruct(self, predicted: Ints, counts: list[int]) -> Ints:
        """Returns the decoded state, int64 of shape (length,), see `Profile.reconstruct`.

        Args:
            predicted: What one mode expects, of the values that are sent.
            counts: Numbers of steps of these values.
        """
        values = predicted
        if any(counts):
            values = np.array(counts, np.int64)
            values *= self._steps
            values += predicted
            np.maximum(values, -128, out=values)
            np.minimum(values, 127, out=values)
        if self._all:
            return values
        state = self._means.copy()
        state[self._sent] = values
        return state
