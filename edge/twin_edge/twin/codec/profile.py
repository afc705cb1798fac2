"""Prediction, quantization and contexts: what encoder and decoder of codec 1 do alike."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from twin_edge.twin.codec.order import SCALE_BITS, Turn
from twin_edge.twin.codec.tables import (
    ACTIVITY_ONE,
    ESCAPE,
    ESCAPED_BITS,
    FADING,
    LARGEST,
    MAX_STEP,
    CodecTables,
    Slots,
)

ROUND: Final = 8
WEIGHT_BITS: Final = 4
_THRESHOLDS: Final = (8, 24, 48, 96)
"""Where the classes of activity begin, sixteenths of a step."""
CLASSES: Final = bytes(sum(a >= limit for limit in _THRESHOLDS) for a in range(2048))
"""The context, 0-4, of how much there was to code in the frame so far, sixteenths of a step, faded."""
_RATIO_ONE: Final = 16
"""Choices are made by how many sixteenths of a step a difference has."""
_LARGEST_CHOICE: Final = LARGEST + 3
"""Beyond so many steps the nearest number is chosen."""
_FARTHEST: Final = (_LARGEST_CHOICE + 1) * _RATIO_ONE
_GROWTHS: Final = tuple(
    ACTIVITY_ONE * min(abs(count), LARGEST) for count in (*range(_LARGEST_CHOICE + 2), *range(-_LARGEST_CHOICE - 1, 0))
)
"""What a chosen number of steps adds to the activity, at that index, below zero too."""

States = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
_Entry = TypeVar("_Entry")


class Choices:
    """Which number of steps to send for a difference: small error for few bits.

    Args:
        tables: All tables.
    """

    def __init__(self, tables: CodecTables) -> None:
        self._tables = tables
        self._made: dict[float, list[array[int]]] = {}

    def __call__(self, tradeoff: float) -> list[array[int]]:
        """Returns numbers of steps by table, for each ratio from 0 to the farthest and then from the other end to -1.

        Args:
            tradeoff: What a bit is worth, squared steps.
        """
        if tradeoff not in self._made:
            self._made[tradeoff] = [array("b", counts.tobytes()) for counts in self._choose(tradeoff)]
        return self._made[tradeoff]

    def _choose(self, tradeoff: float) -> npt.NDArray[np.int8]:
        ratios = np.concatenate([np.arange(_FARTHEST + 1), np.arange(-_FARTHEST, 0)]) / _RATIO_ONE
        costs = np.array(self._tables.costs)
        costs[:, ESCAPE] += ESCAPED_BITS
        costs *= tradeoff

        def value(counts: Ints) -> npt.NDArray[np.float64]:
            symbols = np.where(np.abs(counts) <= LARGEST, counts + LARGEST, ESCAPE)
            weighed: npt.NDArray[np.float64] = np.square(ratios - counts) + costs[:, symbols]
            return weighed

        signs = np.sign(ratios).astype(np.int64)
        nearest = signs * (np.abs(ratios) + 0.5).astype(np.int64)
        chosen: Ints = np.zeros((len(costs), len(ratios)), np.int64)
        best = value(chosen[0])
        # Never further from zero than the nearest; the nearer to zero, when two are equally good.
        for candidates in (np.where(nearest, nearest - signs, 0), nearest):
            values = value(candidates)
            better = values < best
            chosen, best = np.where(better, candidates, chosen), np.where(better, values, best)
        return chosen.astype(np.int8)


class Profile:
    """One level of the tables and one kind of prediction, laid out for coding.

    Args:
        tables: All tables.
        level: Which level, from 0.
        kind: Which kind, from 0.
        scale: How large the steps are, sixteenths of those of the level, at least 1.
        choices: The encoder's choices with these tables.
    """

    def __init__(self, tables: CodecTables, level: int, kind: int, scale: int, choices: Choices) -> None:
        chosen = tables.levels[level]
        self.tables = tables
        self._tradeoff = chosen.tradeoff
        self._made_choices = choices
        self.sent = [j for j, step in enumerate(chosen.steps) if step]
        steps = np.array(chosen.steps, np.int64)
        # Both are sixteenths.
        scaled = (steps * scale + (1 << (2 * SCALE_BITS - 1))) >> (2 * SCALE_BITS)
        self.steps = np.where(steps > 0, np.clip(scaled, 1, MAX_STEP), 0)
        self.weights = np.where(steps > 0, np.array(tables.weights[kind], np.int64), 0)
        means = tables.mean_state
        self._offsets: Ints = (means << WEIGHT_BITS) - self.weights * means + ROUND
        self._sent_steps = self.steps[self.sent]
        self._half_steps = self._sent_steps >> 1
        self.sharpness = np.divide(2.0, self.steps, where=self.steps > 0, out=np.zeros(len(steps)))
        """One over half a step, 0 for what is not sent, float64 of shape (length,)."""
        self._all_sent = len(self.sent) == tables.length
        self.indices = [[row[j] for j in self.sent] for row in chosen.tables[kind]]

    @cached_property
    def rows(self) -> list[list[Slots]]:
        """What decoding needs of each value that is sent, by context."""
        return self._by_value(self.tables.slots)

    def predict(self, last: Ints) -> Ints:
        """Returns what is expected after a state, int64 of shape (length,)."""
        # mean + ((weight * (last - mean) + round) >> bits), with all that does not hang on the state in one number.
        predicted: Ints = self.weights * last
        predicted += self._offsets
        predicted >>= WEIGHT_BITS
        return predicted

    def reconstruct(self, predicted: Ints, counts: Sequence[int]) -> Ints:
        """Returns the decoded state for numbers of steps, one for each value that is sent; takes `predicted` over."""
        if any(counts):
            changes = np.array(counts, np.int64)
            changes *= self._sent_steps
            if self._all_sent:
                predicted += changes
            else:
                predicted[self.sent] += changes
            np.maximum(predicted, -128, out=predicted)
            np.minimum(predicted, 127, out=predicted)
        return predicted

    def choose(self, differences: Ints, activity: int) -> tuple[list[int], list[int], int]:
        """Chooses the number of steps for each value that is sent: small error for few bits.

        Args:
            differences: How far a state is from what is expected, int64 of shape (length,).
            activity: How much there was to code in the state before, sixteenths of a step.

        Returns:
            The numbers of steps, the context of each, and the activity at the end.
        """
        counts, contexts, classes = [], [], CLASSES
        if not self._all_sent:
            differences = differences[self.sent]
        ratios = (differences * _RATIO_ONE + self._half_steps) // self._sent_steps
        sixteenths = ratios.tolist()
        far = sixteenths and (max(sixteenths) > _FARTHEST or min(sixteenths) < -_FARTHEST)
        if far:
            sixteenths = [max(-_FARTHEST, min(_FARTHEST, ratio)) for ratio in sixteenths]
        growths = _GROWTHS
        # The innermost loop of a device; `rans.Decoder.counts` is that of a subscriber, and keeps the same activity.
        for ratio, choices_in in zip(sixteenths, self._choices, strict=True):
            context = classes[activity]
            count = choices_in[context][ratio]
            contexts.append(context)
            counts.append(count)
            activity += growths[count] - (activity >> FADING)
        if far:
            # They count as the largest to the activity either way.
            nearest = np.rint(differences / self._sent_steps).astype(int).tolist()
            counts = [n if abs(n) > _LARGEST_CHOICE else count for n, count in zip(nearest, counts, strict=True)]
        return counts, contexts, activity

    def slots(self, counts: Sequence[int], contexts: Sequence[int]) -> list[tuple[int, int]]:
        """Returns start and number of the slots of each value's symbol, or of the escape for `LARGEST + 1`."""
        chosen = zip(self._slots, contexts, counts, strict=True)
        return [slots_in[context][count] for slots_in, context, count in chosen]

    @cached_property
    def _choices(self) -> list[list[array[int]]]:
        """The number of steps for each ratio, as `Choices` has it, by value and context."""
        made = self._made_choices(self._tradeoff)
        return [[made[row[place]] for row in self.indices] for place in range(len(self.sent))]

    @cached_property
    def _slots(self) -> list[list[tuple[tuple[int, int], ...]]]:
        """Start and number of the slots of each number of steps, by value and context."""
        return self._by_value(self.tables.spans)

    def _by_value(self, by_table: Sequence[_Entry]) -> list[list[_Entry]]:
        return [[by_table[row[place]] for row in self.indices] for place in range(len(self.sent))]


class Profiles:
    """All levels and kinds of the tables, laid out when they are first used.

    Args:
        tables: The tables of the bundle.
    """

    def __init__(self, tables: CodecTables) -> None:
        self.tables = tables
        self._made: dict[tuple[int, int, int], Profile] = {}
        self._choices = Choices(tables)

    def __call__(self, level: int, turn: Turn, shift: int) -> Profile:
        """Returns what codes a state whose turn it is, in a payload of this level and shift."""
        wanted = level, turn.kind(shift), turn.scale
        if wanted not in self._made:
            self._made[wanted] = Profile(self.tables, *wanted, self._choices)
        return self._made[wanted]
