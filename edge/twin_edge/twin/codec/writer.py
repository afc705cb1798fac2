"""Packets of a device: states are gathered for a moment and go out together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.codec.coder import MAX_OFFSET_MS, MAX_STATES, PayloadEncoder
from twin_edge.twin.codec.reader import checked_header
from twin_edge.twin.codec.tables import CodecTables
from twin_edge.twin.packet import Codec, Flags, Packet, PacketHeader

_MS: Final = 1000
_TOLERANCE_US: Final = 10_000
"""How far a state may be from where even spacing puts it; more only when the spacing is wide."""
_TOLERANCE_SHARE: Final = 0.25
_SAME_MS: Final = 4.0
"""How far the last state of a packet may be off for want of saying its interval."""
_CUTS_APART_US: Final = 1_000_000

State = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A state that is not coded yet."""

    state: State
    seq: int
    time_us: int
    key: bool
    level: int


class PacketWriter:
    """Turns states into packets; for one thread.

    A packet is coded when it is complete: what comes later helps to predict what came before, and coding many states at
    once takes a processor that does other things in between far less time.

    Args:
        model: First four bytes of the bundle's digest, as in a packet.
        session: Number of this process start.
        tables: Tables of the bundle for the codec `DELTA`; the codec `RAW` when None.
        batch_ms: How long a state may wait for others, milliseconds, 0-10000.

    Attributes:
        level: Level of the packets that begin from now on, 0 or more; without meaning for the codec `RAW`.
        batch_ms: How long a state may wait for others, milliseconds, 0-10000.
    """

    def __init__(self, model: int, session: int, tables: CodecTables | None, *, batch_ms: float = 0.0) -> None:
        self._model = model
        self._session = session
        self.batch_ms = batch_ms
        self._encoder = None if tables is None else PayloadEncoder(tables)
        self._waiting: list[_Waiting] = []
        self._spacing_us = 0
        self._last_us: int | None = None
        self._cut_us = 0
        self.level = 0

    @property
    def waiting(self) -> int:
        """States that wait for others."""
        return len(self._waiting)

    def put(self, state: State, seq: int, time_us: int, *, key: bool = False) -> tuple[Packet, ...]:
        """Takes the next state.

        Args:
            state: int8 of shape (length,); it must not be changed afterwards.
            seq: Its number, u32, one more than that of the state before, modulo 2**32, unless `key`.
            time_us: When its frame was captured, microseconds since the epoch.
            key: Whether it must begin a key packet.

        Returns:
            The packets that are ready to be sent, in this order.
        """
        ended = () if not self._waiting or (not key and self._fits(time_us)) else self.flush()
        # From the last state, whether it waits or not: one that comes late is alone, and the next are gathered again.
        self._spacing_us = 0 if self._last_us is None else max(0, time_us - self._last_us)
        self._last_us = time_us
        self._waiting.append(_Waiting(state, seq, time_us, key, self.level))
        return ended + self.flush() if self._is_full(time_us) else ended

    def flush(self) -> tuple[Packet, ...]:
        """Returns the packets of the states that wait, nothing when none does."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return ()
        states = np.array([one.state for one in waiting])
        begins = self._begins(waiting, states)
        ends = [*(row for row, _ in begins[1:]), len(waiting)]
        return tuple(
            self._packet(waiting[row:end], states[row:end], flags)
            for (row, flags), end in zip(begins, ends, strict=True)
        )

    def _is_full(self, time_us: int) -> bool:
        """Returns whether the packet is complete, because the next state would come too late for it."""
        batch_us = self.batch_ms * _MS
        passed_us = time_us - self._waiting[0].time_us
        return not batch_us or len(self._waiting) >= MAX_STATES or passed_us + self._spacing_us > batch_us

    def _fits(self, time_us: int) -> bool:
        """Returns whether a state is where even spacing puts it after those that wait."""
        waiting = self._waiting
        passed_us = time_us - waiting[0].time_us
        if time_us < waiting[-1].time_us or passed_us > MAX_OFFSET_MS * _MS:
            return False
        if self._encoder is None or len(waiting) == 1:
            return True
        spacing_us = (waiting[-1].time_us - waiting[0].time_us) / (len(waiting) - 1)
        off_us = abs(passed_us - spacing_us * len(waiting))
        return off_us <= max(_TOLERANCE_US, _TOLERANCE_SHARE * spacing_us)

    def _begins(self, waiting: list[_Waiting], states: npt.NDArray[np.int8]) -> list[tuple[int, Flags]]:
        """Returns which of the states begin a packet, the first one always, and with which flags."""
        encoder = self._encoder
        if encoder is None:
            return [(0, Flags.KEY if waiting[0].key else Flags.NONE)]
        encoder.level = waiting[0].level
        begins = [(0, Flags.KEY if waiting[0].key or encoder.position is None else Flags.NONE)]
        for row, cut in enumerate(encoder.cuts(states)):
            time_us = waiting[row].time_us
            if cut and not (row == 0 and begins[0][1]) and not 0 <= time_us - self._cut_us < _CUTS_APART_US:
                self._cut_us = time_us
                begin = row, Flags.KEY | Flags.SCENE_CUT
                begins = [begin] if row == 0 else [*begins, begin]
        return begins

    def _packet(self, waiting: list[_Waiting], states: npt.NDArray[np.int8], flags: Flags) -> Packet:
        first, encoder = waiting[0], self._encoder
        times = [one.time_us for one in waiting]
        offsets = tuple((time_us - first.time_us) // _MS for time_us in times)
        payload, codec = b"", Codec.RAW
        if encoder is not None:
            codec, encoder.level = Codec.DELTA, first.level
            interval_ms = self._interval_ms(encoder, times) if len(times) > 1 else 0
            offsets = tuple(interval_ms * row for row in range(len(times)))
            header = PacketHeader(flags, codec, len(times), self._model, self._session, first.seq, first.time_us)
            key = bool(flags & Flags.KEY)
            payload, states = encoder.encode(states, checked_header(header), interval_ms, key=key)
        return Packet(
            self._model, self._session, first.seq, first.time_us, states, offsets, flags, codec, payload
        )  # fmt: skip

    @staticmethod
    def _interval_ms(encoder: PayloadEncoder, times: list[int]) -> int:
        """Returns the interval of the packet: that of the last one when it does as well, because it costs nothing."""
        gaps = len(times) - 1
        exact_ms = (times[-1] - times[0]) / gaps / _MS
        known = 0 if encoder.position is None else encoder.position.interval_ms
        same = abs(known - exact_ms) * gaps <= _SAME_MS
        return known if same else min(round(exact_ms), MAX_OFFSET_MS // gaps)
