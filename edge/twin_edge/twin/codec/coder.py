"""States to payloads of codec 1 and back: prediction, quantization and entropy coding.

Both sides follow the decoded states, never the true ones, in whole numbers only; so they stay the same bit for bit.
The format is docs/codec.md.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin_edge.errors import MessageError
from twin_edge.twin.codec import rans
from twin_edge.twin.codec.modes import Modes
from twin_edge.twin.codec.profile import CLASSES, Ints, Profile, Profiles, States
from twin_edge.twin.codec.tables import ESCAPED_BITS, ESCAPED_SIGN, INTRA, LARGEST, TOTAL, CodecTables

MAX_STATES: Final = 64
"""States of one payload at most: it bounds what an untrusted payload can cost."""
MAX_OFFSET_MS: Final = 0xFFFF

_LEVEL_BITS: Final = 3
_MODE_BITS: Final = 2
_HALF_INTERVAL_BITS: Final = 8
_SAME: Final = (0, TOTAL - TOTAL // 16)
_OTHER: Final = (_SAME[1], TOTAL // 16)
_SAME_TABLE: Final = tuple(zip(_SAME, _OTHER, strict=True))
_SAME_SYMBOLS: Final = bytes(_SAME[1]) + b"\1" * _OTHER[1]
_MODE_MEMORY: Final = 0.8
_CUT_RATIO: Final = 1.3
_CUT_BITS: Final = 8.0
"""How much more a state must take with the last one known than without, before that counts as a cut."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a chain of payloads has come to: what the next one that is no key is decoded with."""

    state: States
    """The last decoded state, int8 of shape (length,)."""
    activity: int = 0
    """How much there was to code in its frame, sixteenths of a step, faded."""
    level: int = 0
    """Level of the last payload."""
    mode: int = 1
    """Mode of the last payload."""
    interval_ms: int = 0
    """Interval of the last payload that had one, milliseconds."""


class PayloadEncoder:
    """Makes payloads out of states; for one thread.

    The states of a payload are given one by one, and each is quantized at once.

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
        self._levels: dict[int, Modes] = {}
        self._modes = range(1, len(tables.weights))
        self._expected = [0.0] * len(tables.weights)
        self._estimates: list[float] = []
        self._reference = b""
        self._coded: list[tuple[Profile, list[int], list[int]]] = []
        """How each state is coded, its numbers of steps, and the context of each."""
        self._decoded: list[States] = []
        self._last: Ints = tables.mean_state
        self._ended: Ints = self._last
        """The state of `position`."""
        self._foreseen: _Foreseen | None = None
        self._key = True
        self._now = Position(np.zeros(0, np.int8))
        """Level, mode and interval of this payload."""
        self._activity = 0

    @property
    def count(self) -> int:
        """States in the payload so far."""
        return len(self._decoded)

    def begin(self, *, key: bool) -> None:
        """Begins a payload; one that was not finished is forgotten.

        Args:
            key: Whether it is to be decodable without any before it; the first one must be.
        """
        before = self.position
        self._coded, self._decoded = [], []
        self._key = key
        mode = min(self._modes, key=self._expected.__getitem__)
        if key or before is None:
            if not key:
                raise ValueError("the first payload must be a key")
            self._last, self._reference = self._profiles.tables.mean_state, b""
            self._activity = 0
            self._now = Position(np.zeros(0, np.int8), 0, self.level, mode)
        else:
            self._last, self._reference = self._ended, before.state.tobytes()
            self._activity = before.activity
            self._now = Position(before.state, before.activity, self.level, mode, before.interval_ms)

    def is_cut(self, state: States) -> bool:
        """Returns whether a state has so little to do with the last one that a key is worth it."""
        if not self._decoded and self.position is None:
            return True
        self._foreseen = self._foresee(state, self.level, self._last if self._decoded else self._ended)
        alone, *others = self._estimates = self._foreseen.estimate()
        return min(others) > _CUT_RATIO * alone + _CUT_BITS

    def add(self, state: States) -> States:
        """Takes the next state of the payload.

        Args:
            state: int8 of shape (length,).

        Returns:
            What subscribers will see, int8 of shape (length,).
        """
        intra = self._key and not self._decoded
        now, mode = self._now, INTRA if intra else self._now.mode
        foreseen = self._foreseen
        if foreseen is None or not foreseen.holds(state, now.level, self._last):
            foreseen = self._foresee(state, now.level, self._last)
        profile = self._profiles(now.level, mode)
        counts, contexts, activity = profile.choose(foreseen.differences[mode], 0 if intra else self._activity >> 1)
        self._coded.append((profile, counts, contexts))
        if len(self._modes) > 1 and not intra:
            self._compare_modes(self._estimates or foreseen.estimate())
        self._estimates, self._foreseen = [], None
        self._last = foreseen.modes.reconstruct(foreseen.predicted[mode], counts)
        self._activity = 0 if intra else activity
        decoded = self._last.astype(np.int8)
        self._decoded.append(decoded)
        return decoded

    def finish(self, header: bytes, interval_ms: int = 0) -> bytes:
        """Ends the payload.

        Args:
            header: What the payload's check covers beside the states.
            interval_ms: Milliseconds between its states, 0-65535; without meaning for a single one.
        """
        before, now = self.position, self._now
        alone = self.count == 1
        interval_ms = now.interval_ms if alone else interval_ms
        head = []
        same = before is not None and (before.level, before.mode, before.interval_ms) == (
            now.level, now.mode, interval_ms,
        )  # fmt: skip
        if not self._key:
            head.append(_SAME if same else _OTHER)
        if self._key or not same:
            head += [rans.raw_bits(now.level, _LEVEL_BITS), rans.raw_bits(now.mode, _MODE_BITS)]
            if not alone:
                head += [rans.raw_bits(byte, _HALF_INTERVAL_BITS) for byte in divmod(interval_ms, 256)]
        self.position = Position(self._decoded[-1], self._activity, now.level, now.mode, interval_ms)
        self._ended = self._last
        check = _check(header, self._reference, self.position, np.stack(self._decoded))
        # All at once, and not with each frame: a processor that does other things in between is slow to begin.
        steps = [step for profile, counts, contexts in self._coded for step in _steps(profile, counts, contexts)]
        return rans.encode(head + steps, check)

    def _foresee(self, state: States, level: int, last: Ints) -> _Foreseen:
        if level not in self._levels:
            self._levels[level] = Modes(self._profiles.tables, level)
        return _Foreseen(self._levels[level], state, level, last)

    def _compare_modes(self, estimates: list[float]) -> None:
        for mode in self._modes:
            self._expected[mode] = _MODE_MEMORY * self._expected[mode] + (1 - _MODE_MEMORY) * estimates[mode]


class _Foreseen:
    """A state beside what all modes of a level expect after another one.

    Attributes:
        modes: The modes.
        predicted: What they expect of the values that are sent, int64 of shape (modes, values).
        differences: How far the state is from that.
    """

    def __init__(self, modes: Modes, state: States, level: int, last: Ints) -> None:
        self._key = (state, level, last)
        self.modes = modes
        self.predicted = modes.predict(modes.sent(last))
        self.differences: Ints = modes.sent(state) - self.predicted

    def holds(self, state: States, level: int, last: Ints) -> bool:
        """Returns whether it is about this state, level and last state: the same objects."""
        mine = self._key
        return mine[0] is state and mine[1] == level and mine[2] is last

    def estimate(self) -> list[float]:
        """Returns about how many bits the state would take, by mode."""
        return self.modes.estimate(self.differences)


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
        key = before is None
        last = self._profiles.tables.mean_state if before is None else before.state.astype(np.int64)
        activity = 0 if before is None else before.activity
        states = np.empty((count, len(last)), np.int8)
        for row in range(count):
            intra = key and row == 0
            profile = self._profiles(now.level, INTRA if intra else now.mode)
            counts, activity = coder.counts(profile.rows, CLASSES, 0 if intra else activity >> 1)
            last = profile.reconstruct(profile.predict(last), counts)
            activity = 0 if intra else activity
            states[row] = last
        reference = b"" if before is None else before.state.tobytes()
        after = Position(states[-1], activity, now.level, now.mode, now.interval_ms)
        if not coder.end(_check(header, reference, after, states)):
            raise MessageError("a payload has been changed, or follows another state")
        states.flags.writeable = False
        return states, tuple(row * now.interval_ms for row in range(count)), after

    def _head(self, coder: rans.Decoder, count: int, before: Position | None) -> Position:
        """Reads level, mode and interval."""
        tables = self._profiles.tables
        state = tables.mean_state.astype(np.int8)
        if before is not None and coder.symbol(_SAME_SYMBOLS, *_SAME_TABLE) == 0:
            if (count - 1) * before.interval_ms > MAX_OFFSET_MS:
                raise MessageError("a payload lasts longer than 65535 ms")
            return before
        level, mode = coder.raw_bits(_LEVEL_BITS), coder.raw_bits(_MODE_BITS)
        interval = 0 if before is None else before.interval_ms
        if count > 1:
            interval = coder.raw_bits(_HALF_INTERVAL_BITS) * 256 + coder.raw_bits(_HALF_INTERVAL_BITS)
        if level >= len(tables.levels) or not 1 <= mode < len(tables.weights):
            raise MessageError(f"a payload has the unknown level {level} or mode {mode}")
        if (count - 1) * interval > MAX_OFFSET_MS:
            raise MessageError("a payload lasts longer than 65535 ms")
        return Position(state, 0, level, mode, interval)


def _steps(profile: Profile, counts: list[int], contexts: list[int]) -> list[tuple[int, int]]:
    """Returns what the entropy coder takes for a state: one step for each value, and raw bits behind an escape."""
    slots = profile.slots(counts, contexts)
    if not counts or (max(counts) <= LARGEST and min(counts) >= -LARGEST):
        return slots
    steps = []
    for slot, count in zip(slots, counts, strict=True):
        steps.append(slot)
        if abs(count) > LARGEST:
            escaped = abs(count) - LARGEST - 1
            steps.append(rans.raw_bits(escaped | (ESCAPED_SIGN if count < 0 else 0), ESCAPED_BITS))
    return steps


def _check(header: bytes, reference: bytes, after: Position, states: States) -> int:
    """Returns the CRC-16 (polynomial 0x1021, beginning with 0) of all that a payload depends on and gives."""
    settings = bytes((after.level, after.mode, *divmod(after.interval_ms, 256)))
    return binascii.crc_hqx(header + reference + settings + states.tobytes(), 0)
