"""Sets the codec's levels by what they cost in the picture, measured on blocks that no model has seen.

What quantization costs is estimated from small steps of single values when tables are fitted. What counts is what a
subscriber sees: held-out states are coded, decoded and rendered on the runtime, and compared with the views beside the
renderings of the same states as they are. The steps of each level are scaled until that loss is what the level is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_converters.codec_tables import LOSSES_DB, Pixels, Reals, Recorded, States, fit, refit
from twin_edge.twin.codec import CodecTables, Level, PayloadEncoder
from twin_edge.twin.codec.coder import MAX_STATES
from twin_edge.twin.codec.tables import MAX_STEP, STEP_ONE

MOST_HELD: Final = 150
"""Held-out frames that a level is measured on."""
_ROUNDS: Final = 4
_LAST_ROUNDS: Final = 2
_AIM: Final = 0.85
"""What of the allowed loss is aimed at: tables are fitted again afterwards, and the test is other frames."""
_CLOSE: Final = 0.1
_MOST_CHANGE: Final = 4.0
_LEAST_LOSS_DB: Final = 1e-3
_STRICT: Final = 2
"""Levels whose loss is a promise; at least as many are kept."""
_DISTINCT: Final = 0.97
"""A level takes at most this share of the bits of the level before it."""

Render = Callable[[States], Pixels]


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out frames."""

    views: Pixels
    """uint8 RGB of shape (n, height, width, 3)."""
    states: States
    """Their states as they are, int8 of shape (n, state length)."""
    starts: tuple[int, ...]
    """Rows at which a block begins."""
    together: int
    """States to a packet, 1-64."""
    interval_ms: int
    """Time from one state to the next, milliseconds."""


def code(tables: CodecTables, level: int, held: Held) -> tuple[States, float]:
    """Codes states as a device does, each block beginning with a key.

    Args:
        tables: Tables.
        level: Which level.
        held: What to code.

    Returns:
        The states that come out, int8 of shape (n, state length), and payload bytes a frame.
    """
    decoded, total = [], 0
    together = min(held.together, MAX_STATES)
    encoder = PayloadEncoder(tables, level)
    for first, end in zip(held.starts, (*held.starts[1:], len(held.states)), strict=True):
        for start in range(first, end, together):
            states = held.states[start : min(start + together, end)]
            interval_ms = held.interval_ms if len(states) > 1 else 0
            payload, out = encoder.encode(states, b"", interval_ms, key=start == first)
            total += len(payload)
            decoded.append(out)
    return np.concatenate(decoded), total / len(held.states)


def fit_levels(
    sequences: Sequence[Recorded],
    importance: Reals,
    mse: float,
    held: Held,
    render: Render,
    *,
    places: int = 0,
    ahead: float = 0.0,
) -> CodecTables:
    """Fits tables whose levels cost what they are for.

    Level 0 loses at most 0.1 dB on the held-out frames and level 1, the default, 0.3 dB; the others lose more, each
    for fewer bits. Levels that would take as many bits as the one before are left out, so that there may be fewer.

    Args:
        sequences: States of the training part, see `codec_tables.fit`.
        importance: Mean squared image error of one int8 step of each value.
        mse: Mean squared error of the twin itself, 0-255 squared.
        held: Frames to measure on, 150 at most.
        render: Renders states.
        places: See `codec_tables.fit`.
        ahead: By how much frames to come have a larger squared error than those: they are what a loss is of.

    Raises:
        ConversionError: There are too few states, or the runtime fails.
    """
    tables = fit(sequences, importance, mse + ahead, places=places)
    raw = _error(held.views, render(held.states))
    search = _Search(tables, held, render, raw, ahead, importance)
    search.run(_ROUNDS)
    tables = refit(sequences, importance, mse + ahead, search.tables)
    search = _Search(tables, held, render, raw, ahead, importance)
    search.tighten(_LAST_ROUNDS)
    return _distinct(search.tables)


class _Search:
    def __init__(
        self, tables: CodecTables, held: Held, render: Render, raw: float, ahead: float, importance: Reals
    ) -> None:
        self.tables = tables
        self._held, self._render, self._raw, self._ahead = held, render, raw, ahead
        self._importance = importance
        self._scales: list[list[float]] = [[1.0] for _ in tables.levels]
        self._losses: list[list[float]] = [[] for _ in tables.levels]
        self._begun = tables.levels

    def run(self, rounds: int) -> None:
        """Scales the steps of each level until its loss is close to what the level is for."""
        for turn in range(rounds):
            self._measure()
            if turn == rounds - 1 or all(
                abs(losses[-1] / wanted - 1) < _CLOSE
                for losses, wanted in zip(self._losses, self._wanted(), strict=True)
            ):
                break
            for number, wanted in enumerate(self._wanted()):
                self._scale(number, self._next(number, wanted))
        self._take_best()

    def tighten(self, rounds: int) -> None:
        """Makes the levels whose loss is a promise finer, as long as they lose more."""
        self._measure()
        for _ in range(rounds):
            missed = [number for number in range(_STRICT) if self._losses[number][-1] > LOSSES_DB[number]]
            if not missed:
                break
            for number in missed:
                ratio = _AIM * LOSSES_DB[number] / self._losses[number][-1]
                self._scale(number, self._scales[number][-1] * ratio)
            self._measure()

    def _wanted(self) -> list[float]:
        return [_AIM * loss for loss in LOSSES_DB[: len(self.tables.levels)]]

    def _measure(self) -> None:
        coded = [code(self.tables, number, self._held)[0] for number in range(len(self.tables.levels))]
        renderings = self._render(np.concatenate(coded))
        levels = []
        for number, (level, drawn) in enumerate(zip(self.tables.levels, np.split(renderings, len(coded)), strict=True)):
            error = _error(self._held.views, drawn)
            loss = 10 * float(np.log10((error + self._ahead) / (self._raw + self._ahead)))
            self._losses[number].append(max(loss, _LEAST_LOSS_DB))
            levels.append(replace(level, loss_db=round(min(max(loss, 0.0), 100.0), 3)))
        self.tables = replace(self.tables, levels=tuple(levels))

    def _next(self, number: int, wanted: float) -> float:
        """Returns the scale at which a level should lose as wanted: by the last two, else as if by its square."""
        scales, losses = self._scales[number], self._losses[number]
        slope = 2.0
        if len(scales) > 1 and abs(np.log(scales[-1] / scales[-2])) > _LEAST_LOSS_DB:
            slope = float(np.clip(np.log(losses[-1] / losses[-2]) / np.log(scales[-1] / scales[-2]), 0.7, 4.0))
        change = (wanted / losses[-1]) ** (1 / slope)
        return scales[-1] * float(np.clip(change, 1 / _MOST_CHANGE, _MOST_CHANGE))

    def _scale(self, number: int, scale: float) -> None:
        begun, level = self._begun[number], self.tables.levels[number]
        steps = np.array(begun.steps, np.float64)
        if self._losses[number][-1] > LOSSES_DB[number]:
            # What rested where tables were fitted moves here: it has to be sent after all.
            steps[steps == 0] = self._size(steps) / np.sqrt(self._importance[steps == 0])
        self._begun = (*self._begun[:number], replace(begun, steps=_whole(steps)), *self._begun[number + 1 :])
        sent = np.where(steps > 0, np.clip(np.rint(steps * scale), 1, MAX_STEP * STEP_ONE), 0)
        self._scales[number].append(scale)
        self.tables = replace(
            self.tables,
            levels=(
                *self.tables.levels[:number],
                replace(level, steps=_whole(sent)),
                *self.tables.levels[number + 1 :],
            ),
        )

    def _size(self, steps: npt.NDArray[np.float64]) -> float:
        sent = steps > 0
        return float(np.median(steps[sent] * np.sqrt(self._importance[sent]))) if sent.any() else float(STEP_ONE)

    def _take_best(self) -> None:
        """Goes back to the scale of each level that came closest."""
        levels: list[Level] = []
        for number, (wanted, level) in enumerate(zip(self._wanted(), self.tables.levels, strict=True)):
            losses = np.array(self._losses[number])
            nearest = int(np.argmin(np.abs(np.log(losses / wanted))))
            steps = np.array(self._begun[number].steps, np.float64) * self._scales[number][nearest]
            sent = np.where(steps > 0, np.clip(np.rint(steps), 1, MAX_STEP * STEP_ONE), 0)
            levels.append(replace(level, steps=_whole(sent), loss_db=round(float(losses[nearest]), 3)))
        self.tables = replace(self.tables, levels=tuple(levels))


def _whole(steps: Reals) -> tuple[int, ...]:
    return tuple(int(n) for n in np.clip(np.rint(steps), 0, MAX_STEP * STEP_ONE))


def _distinct(tables: CodecTables) -> CodecTables:
    """Leaves out the levels that take as many bits as the one before, or lose no more; not the first two."""
    kept = list(tables.levels[:_STRICT])
    for level in tables.levels[_STRICT:]:
        if level.bits <= _DISTINCT * kept[-1].bits and level.loss_db > kept[-1].loss_db:
            kept.append(level)
    return replace(tables, levels=tuple(kept))


def _error(views: Pixels, renderings: Pixels) -> float:
    """Returns the mean squared error over all frames, at least a thousandth.

    The blocks together: where one of them is easy to draw, a loss of 0.3 dB is none that anybody sees, and to keep to
    it would cost bytes in every other frame.
    """
    each = [np.square(a.astype(np.float32) - b).mean() for a, b in zip(views, renderings, strict=True)]
    return max(float(np.mean(each)), 1e-3)
