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
    """A state that is not coded yet, see `PacketWriter.put`."""

    state: State
    seq: int
    time_us: int
    key: bool
    level: int


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a state."""

    state: State
    """The state as subscribers will have it, int8 of shape (length,)."""
    packets: tuple[Packet, ...]
    """Packets that are ready to be sent, in this order."""


class PacketWriter:
    """Turns states into packets; for one thread.

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
        self._uncoded: list[_Waiting] = []
        self._states: list[State] = []
        self._times: list[int] = []
        self._flags = Flags.NONE
        self._seq = 0
        self._spacing_us = 0
        self._cut_us = 0
        self.level = 0

    @property
    def _batch_us(self) -> float:
        return self.batch_ms * _MS

    @property
    def waiting(self) -> int:
        """States that wait for others."""
        return len(self._times) + len(self._uncoded)

    def put(self, state: State, seq: int, time_us: int, *, key: bool = False) -> tuple[Packet, ...]:
        """Takes the next state as `add` does, but codes it only when its packet ends.

        The packets are the same. Only one that ends early, because a cut begins another, is ready up to `batch_ms`
        later. Coding many states at once takes a processor that does other things in between far less time.

        Args:
            state: int8 of shape (length,); it must not be changed afterwards.
            seq: See `add`.
            time_us: See `add`.
            key: See `add`.

        Returns:
            The packets that are ready to be sent, in this order.
        """
        ends = key or self._encoder is None or self._ends(time_us)
        self._uncoded.append(_Waiting(state, seq, time_us, key, self.level))
        return self._code_waiting() if ends else ()

    def add(self, state: State, seq: int, time_us: int, *, key: bool = False) -> Written:
        """Takes the next state.

        Args:
            state: int8 of shape (length,).
            seq: Its number, u32, one more than that of the state before, modulo 2**32, unless `key`.
            time_us: When its frame was captured, microseconds since the epoch.
            key: Whether it must begin a key packet.
        """
        packets = self._code_waiting()
        written = self._add(_Waiting(state, seq, time_us, key, self.level))
        return Written(written.state, packets + written.packets)

    def flush(self) -> tuple[Packet, ...]:
        """Returns the packets of the states that wait, nothing when none does."""
        packets = self._code_waiting()
        return (*packets, self._finish()) if self._times else packets

    def _code_waiting(self) -> tuple[Packet, ...]:
        uncoded, self._uncoded = self._uncoded, []
        packets: list[Packet] = []
        for one in uncoded:
            packets += self._add(one).packets
        return tuple(packets)

    def _ends(self, time_us: int) -> bool:
        """Returns whether a state ends the packet that waits, or its own, if nothing is cut."""
        times = self._times + [one.time_us for one in self._uncoded]
        if not times:
            return not self._batch_us or self._spacing_us > self._batch_us
        passed_us, spacing_us = time_us - times[0], time_us - times[-1]
        full = len(times) + 1 >= MAX_STATES or passed_us + spacing_us > self._batch_us
        return full or not self._fits(times, time_us)

    def _add(self, one: _Waiting) -> Written:
        state, time_us, packets = one.state, one.time_us, []
        first = self._encoder is not None and self._encoder.position is None and not self._times
        flags = Flags.KEY if one.key or first else Flags.NONE
        if not flags and self._cuts(state, time_us):
            flags, self._cut_us = Flags.KEY | Flags.SCENE_CUT, time_us
        if self._times and (flags or not self._fits(self._times, time_us)):
            packets.append(self._finish())
        if self._times:
            self._spacing_us = time_us - self._times[-1]
        else:
            self._flags, self._seq = flags, one.seq
            if self._encoder is not None:
                self._encoder.level = one.level
                self._encoder.begin(key=bool(flags))
        decoded = state.copy() if self._encoder is None else self._encoder.add(state)
        self._states.append(decoded)
        self._times.append(time_us)
        full = len(self._times) >= MAX_STATES
        if full or time_us - self._times[0] + self._spacing_us > self._batch_us or not self._batch_us:
            packets.append(self._finish())
        return Written(decoded, tuple(packets))

    def _cuts(self, state: State, time_us: int) -> bool:
        encoder = self._encoder
        if encoder is None:
            return False
        apart = not 0 <= time_us - self._cut_us < _CUTS_APART_US
        return apart and encoder.is_cut(state)

    def _fits(self, times: list[int], time_us: int) -> bool:
        """Returns whether a state is where even spacing puts it after those that wait."""
        passed_us = time_us - times[0]
        if time_us < times[-1] or passed_us > MAX_OFFSET_MS * _MS:
            return False
        if self._encoder is None or len(times) == 1:
            return True
        spacing_us = (times[-1] - times[0]) / (len(times) - 1)
        off_us = abs(passed_us - spacing_us * len(times))
        return off_us <= max(_TOLERANCE_US, _TOLERANCE_SHARE * spacing_us)

    def _finish(self) -> Packet:
        times, count, encoder = self._times, len(self._times), self._encoder
        states = np.stack(self._states)
        offsets = tuple((time - times[0]) // _MS for time in times)
        payload, codec = b"", Codec.RAW
        if encoder is not None:
            codec = Codec.DELTA
            interval_ms = self._interval_ms(encoder) if count > 1 else 0
            offsets = tuple(interval_ms * row for row in range(count))
            header = PacketHeader(self._flags, codec, count, self._model, self._session, self._seq, times[0])
            payload = encoder.finish(checked_header(header), interval_ms)
        self._states, self._times = [], []
        return Packet(
            self._model, self._session, self._seq, times[0], states, offsets, self._flags, codec, payload
        )  # fmt: skip

    def _interval_ms(self, encoder: PayloadEncoder) -> int:
        """Returns the interval of the packet: that of the last one when it does as well, because it costs nothing."""
        gaps = len(self._times) - 1
        exact_ms = (self._times[-1] - self._times[0]) / gaps / _MS
        known = 0 if encoder.position is None else encoder.position.interval_ms
        same = abs(known - exact_ms) * gaps <= _SAME_MS
        return known if same else min(round(exact_ms), MAX_OFFSET_MS // gaps)
