"""States to payloads of codec 1 and back: prediction, quantization and entropy coding.

Both sides follow the decoded states, never the true ones, in whole numbers only; so they stay the same bit for bit.
The format is docs/codec.md.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.errors import MessageError
from twin_edge.twin.codec import rans
from twin_edge.twin.codec.order import FIRST, NEXT, SHIFTS, Turn, turns
from twin_edge.twin.codec.profile import CLASSES, Ints, Profile, Profiles, States
from twin_edge.twin.codec.tables import ESCAPED_BITS, ESCAPED_SIGN, LARGEST, PRECISION_BITS, TOTAL, CodecTables

MAX_STATES: Final = 64
"""States of one payload at most: it bounds what an untrusted payload can cost."""
MAX_OFFSET_MS: Final = 0xFFFF

_LEVEL_BITS: Final = 3
_SHIFT_BITS: Final = 2
_HALF_INTERVAL_BITS: Final = 8
_SAME: Final = (0, TOTAL - TOTAL // 16)
_OTHER: Final = (_SAME[1], TOTAL // 16)
_SAME_TABLE: Final = tuple(zip(_SAME, _OTHER, strict=True))
_SAME_SYMBOLS: Final = bytes(_SAME[1]) + b"\1" * _OTHER[1]
_ESCAPED: Final = LARGEST + 1
"""Where tables by numbers of steps have the escape."""
_CUT_RATIO: Final = 1.3
_CUT_BITS: Final = 8.0
"""How much more a state must take with the one before than without, before that counts as a cut."""
_TRIED_EVERY: Final = 8
"""Every so many payloads another shift is tried, which takes as long as coding one."""
_TRIED_MEMORY: Final = 0.8
_WORTH_BITS: Final = 32.0
"""What another shift must have saved before it is taken: saying so takes as many bits."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a chain of payloads has come to: what the next one that is no key is decoded with."""

    state: States
    """The last decoded state, int8 of shape (length,)."""
    activity: int = 0
    """How much there was to code in the state that was coded last, sixteenths of a step, faded."""
    level: int = 0
    """Level of the last payload."""
    shift: int = 0
    """Shift of the last payload, 0-3: how much further apart its states are than usual."""
    interval_ms: int = 0
    """Interval of the last payload that had one, milliseconds."""


class PayloadEncoder:
    """Makes payloads out of states; for one thread.

    Args:
        tables: The tables of the bundle.
        level: The level to begin with, from 0.

    Attributes:
        level: Level of the next payload.
        position: Where the chain has come to, None before the first payload.
    """

    def __init__(self, tables: CodecTables, level: int = 0) -> None:
        self.level = level
        self.position: Position | None = None
        self._profiles = Profiles(tables)
        self._shift = 0
        self._payloads = 0
        self._saved = [0.0] * SHIFTS
        """Bits that each shift has saved where it was tried, faded."""

    def cuts(self, states: States) -> list[bool]:
        """Returns which of the next states have so little to do with the one before that a key is worth it.

        Args:
            states: int8 of shape (n, length), in time order.
        """
        if self.position is None:
            return [True] + (self._compare(states[:-1], states[1:]) if len(states) > 1 else [])
        return self._compare(np.concatenate([self.position.state[np.newaxis], states[:-1]]), states)

    def encode(self, states: States, header: bytes, interval_ms: int = 0, *, key: bool) -> tuple[bytes, States]:
        """Makes the next payload.

        Args:
            states: int8 of shape (n, length), in time order; 1 to 64 of them.
            header: What the payload's check covers beside the states.
            interval_ms: Milliseconds between the states, 0-65535; without meaning for a single one.
            key: Whether it is to be decodable without any before it; the first one must be.

        Returns:
            The payload; what subscribers will see, int8 of shape (n, length), read-only.
        """
        before = self.position
        if before is None and not key:
            raise ValueError("the first payload must be a key")
        if key:
            before = None
        coded = self._code(states, before, self._shift)
        self._payloads += 1
        if self._payloads % _TRIED_EVERY == 0:
            coded = self._try_another(states, before, coded)
        interval_ms = (0 if before is None else before.interval_ms) if len(states) == 1 else interval_ms
        decoded = coded.decoded
        self.position = Position(decoded[-1], coded.activity, self.level, self._shift, interval_ms)
        check = _check(header, before, self.position, decoded)
        return rans.encode(_head(before, self.position, len(states)) + coded.steps, check), decoded

    def _code(self, states: States, before: Position | None, shift: int) -> _Coded:
        chosen = choose(self._profiles, states, before, self.level, shift)
        # All at once, and not with each state: a processor that does other things in between is slow to begin.
        steps = [step for one in chosen.numbers for step in _steps(one)]
        return _Coded(steps, chosen.decoded, chosen.activity)

    def _try_another(self, states: States, before: Position | None, coded: _Coded) -> _Coded:
        """Tries a shift next to the one in use, and takes it if it has saved enough."""
        up = self._shift == 0 or (self._shift < SHIFTS - 1 and self._payloads // _TRIED_EVERY % 2 == 0)
        other = self._shift + (1 if up else -1)
        tried = self._code(states, before, other)
        self._saved[other] = _TRIED_MEMORY * self._saved[other] + coded.bits - tried.bits
        if self._saved[other] < _WORTH_BITS:
            return coded
        self._shift, self._saved = other, [0.0] * SHIFTS
        return tried

    def _compare(self, known: States, states: States) -> list[bool]:
        """Returns which states would take far fewer bits without the known one than with it."""
        after, alone = (self._profiles(self.level, turn, self._shift) for turn in (NEXT, FIRST))
        wanted = states.astype(np.int64)
        with_it = _estimate(wanted - after.predict(known.astype(np.int64)), after)
        without = _estimate(wanted - alone.predict(known.astype(np.int64)), alone)
        cut: list[bool] = (with_it > _CUT_RATIO * without + _CUT_BITS).tolist()
        return cut


@dataclass(frozen=True)
class _Coded:
    """States as they would go into a payload."""

    steps: list[tuple[int, int]]
    """What the entropy coder takes."""
    decoded: States
    """What subscribers would see, int8 of shape (n, length)."""
    activity: int
    """Activity at the end."""

    @cached_property
    def bits(self) -> float:
        """Bits that the steps take."""
        return PRECISION_BITS * len(self.steps) - sum(math.log2(frequency) for _, frequency in self.steps)


class PayloadDecoder:
    """Reads untrusted payloads; it remembers nothing between them.

    Args:
        tables: The tables of the bundle.
    """

    def __init__(self, tables: CodecTables) -> None:
        self._profiles = Profiles(tables)

    def decode(
        self, payload: bytes, count: int, header: bytes, before: Position | None
    ) -> tuple[States, tuple[int, ...], Position]:
        """Decodes a payload.

        Args:
            payload: The bytes.
            count: States in it, at least 1.
            header: What its check covers beside the states.
            before: Where the payload before it came to; None for a key.

        Returns:
            The states, int8 of shape (count, length), read-only; milliseconds from the first state to each; where the
            chain has come to.

        Raises:
            MessageError: It does not fit, has been changed, or does not follow what was before.
        """
        if count > MAX_STATES:
            raise MessageError(f"a payload with {count} states")
        coder = rans.Decoder(payload)
        now = self._head(coder, count, before)

        def read(_turn: Turn, profile: Profile, _predicted: Ints, activity: int) -> tuple[list[int], int]:
            return coder.counts(profile.rows, CLASSES, activity)

        states, activity = _follow(self._profiles, count, before, now.level, now.shift, read)
        after = Position(states[-1], activity, now.level, now.shift, now.interval_ms)
        if not coder.end(_check(header, before, after, states)):
            raise MessageError("a payload has been changed, or follows another state")
        return states, tuple(row * now.interval_ms for row in range(count)), after

    def _head(self, coder: rans.Decoder, count: int, before: Position | None) -> Position:
        """Reads level, shift and interval."""
        tables = self._profiles.tables
        state = tables.mean_state.astype(np.int8)
        if before is not None and coder.symbol(_SAME_SYMBOLS, *_SAME_TABLE) == 0:
            if (count - 1) * before.interval_ms > MAX_OFFSET_MS:
                raise MessageError("a payload lasts longer than 65535 ms")
            return before
        level, shift = coder.raw_bits(_LEVEL_BITS), coder.raw_bits(_SHIFT_BITS)
        interval = 0 if before is None else before.interval_ms
        if count > 1:
            interval = coder.raw_bits(_HALF_INTERVAL_BITS) * 256 + coder.raw_bits(_HALF_INTERVAL_BITS)
        if level >= len(tables.levels):
            raise MessageError(f"a payload has the unknown level {level}")
        if (count - 1) * interval > MAX_OFFSET_MS:
            raise MessageError("a payload lasts longer than 65535 ms")
        return Position(state, 0, level, shift, interval)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of steps of one state."""

    turn: Turn
    """Which state it is."""
    profile: Profile
    """What it is coded with."""
    counts: list[int]
    """How many steps each value that is sent is from what is expected."""
    contexts: list[int]
    """The context of each."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The encoder's choice for the states of a payload."""

    numbers: list[Numbers]
    """Numbers of steps, in the order of coding."""
    decoded: States
    """What subscribers will see, int8 of shape (n, length), read-only."""
    activity: int
    """Activity at the end."""


def choose(profiles: Profiles, states: States, before: Position | None, level: int, shift: int) -> Chosen:
    """Chooses numbers of steps: small error for few bits.

    Args:
        profiles: The tables.
        states: States of a payload, int8 of shape (n, length).
        before: Where the chain has come to; None for a key.
        level: Level of the payload.
        shift: Its shift.
    """
    true = states.astype(np.int64)
    numbers: list[Numbers] = []

    def counts_of(turn: Turn, profile: Profile, predicted: Ints, activity: int) -> tuple[list[int], int]:
        counts, contexts, activity = profile.choose(true[turn.place] - predicted, activity)
        numbers.append(Numbers(turn, profile, counts, contexts))
        return counts, activity

    decoded, activity = _follow(profiles, len(states), before, level, shift, counts_of)
    return Chosen(numbers, decoded, activity)


def _follow(
    profiles: Profiles,
    count: int,
    before: Position | None,
    level: int,
    shift: int,
    counts_of: Callable[[Turn, Profile, Ints, int], tuple[list[int], int]],
) -> tuple[States, int]:
    """Goes through the states of a payload in the order of coding: what encoder and decoder do alike.

    Args:
        profiles: The tables.
        count: States of the payload.
        before: Where the chain has come to; None for a key.
        level: Level of the payload.
        shift: Its shift.
        counts_of: Given a turn, its profile, what is predicted and the activity, returns the numbers of steps and the
            activity after them.

    Returns:
        The decoded states, int8 of shape (count, length), read-only, and the activity at the end.
    """
    mean = profiles.tables.mean_state
    known = {-1: mean if before is None else before.state.astype(np.int64)}
    activity = 0 if before is None else before.activity
    for turn in turns(count, key=before is None):
        profile = profiles(level, turn, shift)
        if turn.is_intra:
            reference, activity = mean, 0
        else:
            reference = known[turn.before]
            if turn.after is not None:
                reference = (reference + known[turn.after] + 1) >> 1
        predicted = profile.predict(reference)
        counts, activity = counts_of(turn, profile, predicted, activity >> 1)
        if turn.is_intra:
            activity = 0
        known[turn.place] = profile.reconstruct(predicted, counts)
    states = np.empty((count, len(mean)), np.int8)
    for place in range(count):
        states[place] = known[place]
    states.flags.writeable = False
    return states, activity


def _head(before: Position | None, now: Position, count: int) -> list[tuple[int, int]]:
    """Returns what the entropy coder takes for level, shift and interval."""
    same = before is not None and (before.level, before.shift, before.interval_ms) == (
        now.level, now.shift, now.interval_ms,
    )  # fmt: skip
    head = [] if before is None else [_SAME if same else _OTHER]
    if not same:
        head += [rans.raw_bits(now.level, _LEVEL_BITS), rans.raw_bits(now.shift, _SHIFT_BITS)]
        if count > 1:
            head += [rans.raw_bits(byte, _HALF_INTERVAL_BITS) for byte in divmod(now.interval_ms, 256)]
    return head


def _estimate(differences: Ints, profile: Profile) -> npt.NDArray[np.float64]:
    """Returns about how many bits differences from what is expected would take, by row."""
    sizes = np.abs(differences) * profile.sharpness
    sizes += 1.0
    return np.asarray(np.log2(sizes, out=sizes).sum(1), np.float64)


def _steps(numbers: Numbers) -> list[tuple[int, int]]:
    """Returns what the entropy coder takes for a state: one step for each value, and raw bits behind an escape."""
    counts, profile = numbers.counts, numbers.profile
    if not counts or (max(counts) <= LARGEST and min(counts) >= -LARGEST):
        return profile.slots(counts, numbers.contexts)
    steps = []
    known = [count if abs(count) <= LARGEST else _ESCAPED for count in counts]
    for slot, count in zip(profile.slots(known, numbers.contexts), counts, strict=True):
        steps.append(slot)
        if abs(count) > LARGEST:
            escaped = abs(count) - LARGEST - 1
            steps.append(rans.raw_bits(escaped | (ESCAPED_SIGN if count < 0 else 0), ESCAPED_BITS))
    return steps


def _check(header: bytes, before: Position | None, after: Position, states: States) -> int:
    """Returns the CRC-16 (polynomial 0x1021, beginning with 0) of all that a payload depends on and gives."""
    reference = b"" if before is None else before.state.tobytes()
    settings = bytes((after.level, after.shift, *divmod(after.interval_ms, 256)))
    return binascii.crc_hqx(header + reference + settings + states.tobytes(), 0)
