"""Fits the tables of codec 1 to the states of one subject: steps, predictors, frequencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.errors import ConversionError
from twin_edge.twin.codec.coder import Numbers, Position, choose
from twin_edge.twin.codec.order import FIRST, INTRA, KINDS, SHIFTS, turns
from twin_edge.twin.codec.profile import Profile, Profiles
from twin_edge.twin.codec.tables import (
    CONTEXTS,
    ESCAPE,
    LARGEST,
    MAX_STEP,
    STEP_ONE,
    SYMBOLS,
    TOTAL,
    WEIGHT_ONE,
    CodecTables,
    Level,
)

LOSSES_DB: Final = (0.1, 0.3, 1.0, 1.9, 2.8, 3.8, 5.0)
"""What quantization may cost at each level, dB against the states as they are; the second one is the default."""
TRADEOFF: Final = 0.07
"""Squared steps for a bit; measured: 0.05 to 0.1 are equally good, more is worse."""
_TABLES: Final = 48
_ROUNDS: Final = 5
_REFIT_ROUNDS: Final = 2
_CLUSTER_ROUNDS: Final = 8
_HOLD: Final = 0.9
"""A value whose correlation with the last one is above this is best held: the zeros are worth more than the rest."""
_TOGETHER: Final = (1, 2, 3, 8)
"""States to a packet of a live camera: between them they have every way to be predicted."""
_TOGETHER_SPARSE: Final = (1, 3)
_USUAL: Final = 3
"""Steps, losses and bits are those of packets with so many states or more: what gathering is for."""
_PRIOR: Final = 8.0
_INTRA_EVERY: Final = 4
_RARELY: Final = 1e-3
_PROBE_STATES: Final = 16
_POSE_PROBE: Final = 2
_MOST_PROBE: Final = 24
"""Wide, for int8 kernels: a small change would drown in their rounding."""
_LEAST_STATES: Final = 20

States = npt.NDArray[np.int8]
Reals = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recorded:
    """States of consecutive frames."""

    states: States
    """int8 of shape (n, length), in time order."""
    sparse: bool = False
    """Whether the frames are far further apart than those of a live camera."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """States as a device sends them."""

    states: States
    """int8 of shape (n, length), in time order."""
    together: int
    """States to a packet."""
    shift: int
    """How much further apart they are than those of a live camera, as `order` has it."""
    live: bool = False
    """Whether a live camera's states are what this is."""

    @property
    def usual(self) -> bool:
        """Whether it is sent as most are: several states to a packet."""
        return self.live and self.together >= _USUAL


def sensitivity(render: Callable[[States], Pixels], states: States, pose_values: int = 0) -> Reals:
    """Returns the mean squared error that one int8 step of each state value makes in the rendering.

    Args:
        render: Returns the rendering of a state, uint8 of shape (height, width, 3).
        states: Typical states, int8 of shape (n, length); some of them are used.
        pose_values: How many values of a state are pose; the others are probed as wide as they usually spread.

    Returns:
        float64 of shape (length,), 0-255 squared, at least 1e-6.
    """
    chosen = states[np.linspace(0, len(states) - 1, min(_PROBE_STATES, len(states))).round().astype(int)]
    total = np.zeros(states.shape[1])
    widths = np.clip(np.rint(states.std(0)), _POSE_PROBE, _MOST_PROBE).astype(int)
    widths[:pose_values] = _POSE_PROBE
    for state in chosen:
        rendering = render(state).astype(np.float32)
        for place, value in enumerate(state.tolist()):
            probe = state.copy()
            probe[place] = value + (widths[place] if value < 0 else -widths[place])
            total[place] += float(np.mean((render(probe) - rendering) ** 2))
    return np.maximum(total / (len(chosen) * widths.astype(float) ** 2), 1e-6)


def fit(
    sequences: Sequence[Recorded],
    importance: Reals,
    mse: float,
    losses_db: Sequence[float] = LOSSES_DB,
    *,
    places: int = 0,
) -> CodecTables:
    """Fits tables.

    Args:
        sequences: States of the training part; at least one sequence that is not sparse, 20 states in all.
        importance: Mean squared image error of one int8 step of each value, float of shape (length,), above 0.
        mse: Mean squared error of the twin itself, 0-255 squared: what quantization is compared with.
        losses_db: What quantization may cost at each level, rising.
        places: How many values, from the first on, say where camera, light or subject are. Another day they rest
            elsewhere, far from the mean of the recording: so they are expected to stay where they are, and are sent at
            every level, however still they were.

    Raises:
        ConversionError: There are too few states.
    """
    if sum(len(one.states) for one in sequences) < _LEAST_STATES or all(one.sparse for one in sequences):
        raise ConversionError("there are too few consecutive states to fit the codec", fix="record more of the subject")
    return _Fit(sequences, np.asarray(importance, np.float64), max(mse, 1e-3), losses_db, places).run()


def refit(sequences: Sequence[Recorded], importance: Reals, mse: float, tables: CodecTables) -> CodecTables:
    """Fits frequencies and bits to the steps that tables have.

    Args:
        sequences: As in `fit`.
        importance: As in `fit`.
        mse: As in `fit`.
        tables: Tables whose levels have the steps to keep, and their losses.
    """
    return _Fit(sequences, np.asarray(importance, np.float64), max(mse, 1e-3), LOSSES_DB).run_on(tables)


class _Fit:
    def __init__(
        self,
        sequences: Sequence[Recorded],
        importance: Reals,
        mse: float,
        losses_db: Sequence[float],
        places: int = 0,
    ) -> None:
        self._importance = importance
        self._places = places
        self._mse = mse
        length = sequences[0].states.shape[1]
        means = np.clip(np.rint(np.concatenate([one.states for one in sequences]).mean(0)), -128, 127)
        self._streams = list(_streams(sequences))
        # Errors that are equally large in the picture for every value: the best there is at a given rate.
        self._targets = [mse * (10 ** (loss / 10) - 1) for loss in losses_db]
        self._usual = [float(np.sqrt(12 * target / length)) for target in self._targets]
        self._sizes = list(self._usual)
        any_table = ((tuple([_TABLES // 2] * length),) * CONTEXTS,) * KINDS
        self._tables = CodecTables(
            tuple(int(n) for n in means),
            tuple(tuple(int(n) for n in row) for row in _weights(self._streams, means, places)),
            tuple(_whole(row) for row in _laplace_family()),
            tuple(Level(self._steps(size), TRADEOFF, 0.0, 0.0, any_table) for size in self._sizes),
        )

    def run(self) -> CodecTables:
        """Codes everything, fits steps and frequencies to what came out, and again until both agree."""
        for turn in range(_ROUNDS):
            # The steps are found with the usual packets alone.
            streams = self._streams if turn >= _ROUNDS - 2 else [one for one in self._streams if one.usual]
            results = [self._code(level, streams) for level in range(len(self._sizes))]
            levels = [self._adjust(level, *results[level], turn=turn) for level in range(len(results))]
            frequencies, indices = _cluster(np.stack([counts for counts, _, _ in results]))
            self._tables = CodecTables(
                self._tables.means,
                self._tables.weights,
                frequencies,
                tuple(replace(level, tables=index) for level, index in zip(levels, indices, strict=True)),
            )
        return self._tables

    def run_on(self, tables: CodecTables) -> CodecTables:
        """Fits frequencies to the steps of tables; keeps steps and losses."""
        self._tables = tables
        for _ in range(_REFIT_ROUNDS):
            results = [self._code(level, self._streams) for level in range(len(self._tables.levels))]
            frequencies, indices = _cluster(np.stack([counts for counts, _, _ in results]))
            self._tables = replace(
                self._tables,
                frequencies=frequencies,
                levels=tuple(
                    replace(level, tables=index, bits=round(bits, 2))
                    for level, index, (_, _, bits) in zip(self._tables.levels, indices, results, strict=True)
                ),
            )
        return self._tables

    def _adjust(self, number: int, counts: Reals, error: float, bits: float, *, turn: int) -> Level:
        level = self._tables.levels[number]
        steps = level.steps
        if turn < _ROUNDS - 2:
            wanted = self._sizes[number] * np.sqrt(self._targets[number] / max(error, 1e-9))
            # A subject that hardly moves here would make steps without end, and it may move elsewhere.
            self._sizes[number] = float(np.clip(wanted, self._usual[number] / 4, self._usual[number] * 4))
            steps = self._steps(self._sizes[number])
        elif turn == _ROUNDS - 2 and number:
            # The finest level sends every value: what rests here may move elsewhere.
            used = counts.sum((0, 1))
            moves = 1 - used[:, LARGEST] / np.maximum(used.sum(1), 1)
            moves[: self._places] = 1
            steps = tuple(step if share > _RARELY else 0 for step, share in zip(steps, moves.tolist(), strict=True))
        loss = 10 * np.log10(1 + error / self._mse)
        return replace(level, steps=steps, bits=round(bits, 2), loss_db=round(float(loss), 3))

    def _steps(self, size: float) -> tuple[int, ...]:
        steps = np.clip(np.rint(STEP_ONE * size / np.sqrt(self._importance)), 1, MAX_STEP * STEP_ONE)
        return tuple(int(n) for n in steps)

    def _code(self, level: int, streams: Sequence[_Stream]) -> tuple[Reals, float, float]:
        """Codes streams.

        Returns:
            How often each symbol was used, by kind, context and value; mean squared image error and mean bits of a
            state that is sent as usual.
        """
        profiles = Profiles(self._tables)
        shape = KINDS, CONTEXTS, self._tables.length, SYMBOLS
        usual, others = np.zeros(shape), np.zeros(shape)
        error, coded = 0.0, 0
        for stream in streams:
            _count_alone(others[INTRA], profiles(level, FIRST, 0), stream.states[::_INTRA_EVERY])
            position: Position | None = None
            for start in range(0, len(stream.states) - stream.together + 1, stream.together):
                states = stream.states[start : start + stream.together]
                chosen = choose(profiles, states, position, level, stream.shift)
                # The first ones are a key, and not what most packets are like.
                is_usual = stream.usual and position is not None
                for one in chosen.numbers:
                    _count((usual if is_usual else others)[one.turn.kind(stream.shift)], one)
                if is_usual:
                    error += float(((states.astype(float) - chosen.decoded) ** 2 @ self._importance).sum())
                    coded += len(states)
                position = Position(chosen.decoded[-1], chosen.activity)
        costs = np.array(self._tables.costs)[np.array(self._tables.levels[level].tables)]
        return usual + others, error / max(coded, 1), float((usual * costs).sum()) / max(coded, 1)


def _streams(sequences: Sequence[Recorded]) -> Iterator[_Stream]:
    """Yields the sequences as devices may send them: with many states to a packet or few, thinned out or not."""
    for one in sequences:
        if one.sparse:
            yield from (_Stream(one.states, together, SHIFTS - 1) for together in _TOGETHER_SPARSE)
            continue
        yield from (_Stream(one.states, together, 0, live=True) for together in _TOGETHER)
        for shift in range(1, SHIFTS):
            thin = one.states[:: 1 << shift]
            yield from (_Stream(thin, together, shift) for together in _TOGETHER_SPARSE)


def _weights(streams: Sequence[_Stream], means: Reals, places: int) -> npt.NDArray[np.int64]:
    """Returns how much of the known distance to the mean is still there, by kind and value, sixteenths."""
    known_known, known_now = (np.zeros((KINDS, len(means))) for _ in range(2))
    for stream in streams:
        states = stream.states - means
        starts = np.arange(0, len(states) - stream.together, stream.together)
        for turn in turns(stream.together, key=False):
            # The state before the packet is the first of each run here.
            known = states[starts + turn.before + 1]
            if turn.after is not None:
                known = (known + states[starts + turn.after + 1]) / 2
            kind = turn.kind(stream.shift)
            known_known[kind] += (known * known).sum(0)
            known_now[kind] += (known * states[starts + turn.place + 1]).sum(0)
    # Where nothing is known, holding what was there is the best guess.
    share = np.where(known_known > 0, known_now / np.maximum(known_known, 1), 1)
    whole = np.clip(np.rint(share * WEIGHT_ONE), 0, WEIGHT_ONE).astype(np.int64)
    weights: npt.NDArray[np.int64] = np.where(share > _HOLD, WEIGHT_ONE, whole)
    weights[:, :places] = WEIGHT_ONE
    weights[INTRA] = 0
    return weights


def _count_alone(counts: Reals, profile: Profile, states: States) -> None:
    """Counts the symbols of states that nothing is known of, an array of shape (contexts, length, symbols)."""
    for state in states.astype(np.int64):
        steps, contexts, _ = profile.choose(state - profile.predict(state), 0)
        _count(counts, Numbers(FIRST, profile, steps, contexts))


def _count(counts: Reals, numbers: Numbers) -> None:
    """Counts the symbols of a state, an array of shape (contexts, length, symbols)."""
    if numbers.counts:
        symbols = np.array(numbers.counts) + LARGEST
        symbols[(symbols < 0) | (symbols > 2 * LARGEST)] = ESCAPE
        # Every value is counted once, so that plain indexing does.
        counts[numbers.contexts, numbers.profile.sent, symbols] += 1


def _laplace_family() -> Reals:
    """Returns probabilities of the symbols, from nearly always zero to nearly even, of shape (tables, symbols)."""
    sizes = np.abs(np.arange(ESCAPE) - LARGEST)
    rows = np.exp(-sizes[np.newaxis] / np.geomspace(0.15, 12, _TABLES)[:, np.newaxis])
    rows /= rows.sum(1, keepdims=True)
    return np.concatenate([0.999 * rows, np.full((_TABLES, 1), 0.001)], axis=1)


def _whole(probabilities: Reals) -> tuple[int, ...]:
    """Returns frequencies of 1 or more that add up as the coder wants."""
    whole = 1 + np.floor(probabilities * (TOTAL - SYMBOLS)).astype(int)
    whole[whole.argmax()] += TOTAL - whole.sum()
    return tuple(int(n) for n in whole)


def _cluster(counts: Reals) -> tuple[tuple[tuple[int, ...], ...], list[tuple[tuple[tuple[int, ...], ...], ...]]]:
    """Finds the few tables that code many histograms best.

    Args:
        counts: How often each symbol was used, of shape (levels, kinds, contexts, length, symbols).

    Returns:
        The frequencies of the tables, and the number of the table by level, kind, context and value.
    """
    # A histogram of few symbols leans on those of the other values in its place.
    shared = counts.sum(3, keepdims=True) + 1e-3
    flat = (counts + _PRIOR * shared / shared.sum(-1, keepdims=True)).reshape(-1, SYMBOLS)
    family = _laplace_family()
    for _ in range(_CLUSTER_ROUNDS):
        nearest = (flat @ -np.log2(family).T).argmin(1)
        for number in range(_TABLES):
            members = flat[nearest == number]
            if len(members):
                total = members.sum(0) + family[number]
                family[number] = total / total.sum()
    frequencies = tuple(_whole(row) for row in family)
    nearest = (flat @ -np.log2(np.array(frequencies) / TOTAL).T).argmin(1)
    # Tables that nobody uses do not travel.
    kept = sorted(set(nearest.tolist()))
    places = {number: place for place, number in enumerate(kept)}
    named = np.array([places[number] for number in nearest.tolist()]).reshape(counts.shape[:-1])
    return tuple(frequencies[number] for number in kept), [_nested(level) for level in named]


def _nested(level: npt.NDArray[np.int64]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    return tuple(tuple(tuple(int(n) for n in row) for row in kind) for kind in level)
