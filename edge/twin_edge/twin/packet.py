"""Packets: states on the wire, little-endian, 24 bytes of header and the payload."""

from __future__ import annotations

import enum
import itertools
import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.errors import MessageError

VERSION: Final = 1
_HEADER: Final = struct.Struct("<BBBBIIIQ")
_OFFSET: Final = struct.Struct("<H")
HEADER_BYTES: Final = _HEADER.size
MAX_STATES: Final = 255
_U32: Final = 0xFFFF_FFFF
_MAX_OFFSET_MS: Final = 0xFFFF
MAX_TIME_US: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: the latest time that a `datetime` can hold."""


class Flags(enum.IntFlag):
    """What is special about a packet."""

    NONE = 0
    KEY = 1
    """Decodable without any packet before it."""
    HISTORICAL = 2
    """Sent after an outage: old news."""
    CLOCK_UNSYNCED = 4
    """The device does not trust its own clock."""
    SCENE_CUT = 8
    """The subject changed abruptly."""


class Codec(enum.IntEnum):
    """How states stand in the payload."""

    RAW = 0
    """For each state: u16 milliseconds since the first state, then the int8 values."""
    DELTA = 1
    """Predicted, quantized and entropy-coded with the tables of the bundle, see docs/codec.md."""


_FLAGS: Final = tuple(map(Flags, range(2 * Flags.SCENE_CUT)))
"""All there are, by their bits."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One or more consecutive states."""

    model: int
    """First four bytes of the bundle's digest, as a little-endian u32."""
    session: int
    """Number of the device's process start, u32."""
    seq: int
    """Sequence number of the first state, u32; later states follow it, modulo 2**32."""
    time_us: int
    """Capture time of the first state, microseconds since the epoch."""
    states: npt.NDArray[np.int8]
    """The states, int8 of shape (count, state length), 1-255 of them."""
    offsets_ms: tuple[int, ...] = (0,)
    """Milliseconds from the first state to each state, 0-65535, the first 0, never falling."""
    flags: Flags = field(default=Flags.NONE)
    """What is special about it."""
    codec: Codec = Codec.RAW
    """How the states stand in the payload."""
    payload: bytes = b""
    """The payload; not needed for the codec `RAW`, which is made from the states."""

    @property
    def payload_bytes(self) -> int:
        """Length of the payload on the wire, bytes."""
        count, length = self.states.shape
        return len(self.payload) if self.codec != Codec.RAW else count * (_OFFSET.size + length)

    @property
    def header(self) -> PacketHeader:
        """The header that it goes on the wire with."""
        count, codec = len(self.states), int(self.codec)
        return PacketHeader(self.flags, codec, count, self.model, self.session, self.seq, self.time_us)

    def encode(self) -> bytes:
        """Returns the packet as it goes on the wire.

        Raises:
            ValueError: A field does not fit its place.
        """
        states = self.states
        if states.dtype != np.int8 or states.ndim != 2 or not 1 <= len(states) <= MAX_STATES:  # noqa: PLR2004
            raise ValueError(f"states of type {states.dtype} and shape {states.shape} do not make a packet")
        if len(self.offsets_ms) != len(states) or not _ascend_from_zero(self.offsets_ms):
            raise ValueError("one offset for each state is needed, from 0 to 65535 ms, never falling")
        header = self.header.encode()
        if self.codec != Codec.RAW:
            return header + self.payload
        body = [_OFFSET.pack(offset) + state.tobytes() for offset, state in zip(self.offsets_ms, states, strict=True)]
        return b"".join([header, *body])

    @classmethod
    def decode(cls, data: bytes, *, state_length: int) -> Packet:
        """Reads an untrusted packet of the codec `RAW`; others take a `PacketReader`.

        Args:
            data: The payload of one MQTT message.
            state_length: Bytes of one state, by the bundle.

        Raises:
            MessageError: Version, flags, codec, count, length, time or offsets do not fit.
        """
        header = PacketHeader.decode(data)
        if header.codec != Codec.RAW:
            raise MessageError(f"a packet has the codec {header.codec}, which cannot be read without tables")
        size = _OFFSET.size + state_length
        if len(data) != HEADER_BYTES + header.count * size:
            raise MessageError(f"a packet of {header.count} states has {len(data)} bytes")
        records = np.frombuffer(data, np.uint8, offset=HEADER_BYTES).reshape(header.count, size)
        offsets = tuple(int(n) for n in records[:, : _OFFSET.size].copy().view("<u2")[:, 0])
        if not _ascend_from_zero(offsets):
            raise MessageError("the times of a packet do not ascend from its first state")
        states = records[:, _OFFSET.size :].copy().view(np.int8)
        states.flags.writeable = False
        payload = data[HEADER_BYTES:]
        return cls(
            header.model, header.session, header.seq, header.time_us, states, offsets, header.flags, payload=payload
        )

    def seqs(self) -> list[int]:
        """Returns the sequence number of each state."""
        return [(self.seq + i) & _U32 for i in range(len(self.states))]


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """The first 24 bytes of a packet: enough to know whether it concerns us."""

    flags: Flags
    codec: int
    count: int
    model: int
    session: int
    seq: int
    time_us: int

    def encode(self, *, flags: Flags | None = None) -> bytes:
        """Returns the 24 bytes.

        Args:
            flags: Other flags than its own.

        Raises:
            ValueError: A field does not fit its place.
        """
        if not 0 <= self.time_us <= MAX_TIME_US:
            raise ValueError(f"the time {self.time_us} is not before the year 10000")
        flags = self.flags if flags is None else flags
        fields = (self.codec, self.count, self.model, self.session, self.seq, self.time_us)
        try:
            return _HEADER.pack(VERSION, flags, *fields)
        except struct.error as error:
            raise ValueError(str(error)) from error

    @classmethod
    def decode(cls, data: bytes) -> PacketHeader:
        """Reads the header of an untrusted packet.

        Raises:
            MessageError: It is too short, or version, flags, count or time do not fit.
        """
        if len(data) < HEADER_BYTES:
            raise MessageError(f"a packet has {len(data)} bytes, its header alone has {HEADER_BYTES}")
        version, flags, codec, count, model, session, seq, time_us = _HEADER.unpack_from(data)
        if version != VERSION:
            raise MessageError(f"a packet has version {version}, this release reads {VERSION}")
        if flags >= len(_FLAGS):
            raise MessageError(f"a packet has unknown flags {flags:#x}")
        if count < 1:
            raise MessageError("a packet without states")
        if time_us > MAX_TIME_US:
            raise MessageError("a packet from after the year 9999")
        return cls(_FLAGS[flags], codec, count, model, session, seq, time_us)


def seq_distance(later: int, earlier: int) -> int:
    """Returns how far `later` is after `earlier` in u32 sequence numbers, negative when it comes before."""
    distance = (later - earlier) & _U32
    return distance if distance <= _U32 >> 1 else distance - _U32 - 1


def _ascend_from_zero(offsets: tuple[int, ...]) -> bool:
    return offsets[0] == 0 and offsets[-1] <= _MAX_OFFSET_MS and all(a <= b for a, b in itertools.pairwise(offsets))
