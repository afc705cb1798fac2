"""Packets in chunks: as they came, but with headers of a few bytes, because most follow from the packet before.

A chunk is a row of records. The first byte of each is

- 0: a packet in full; its length as a varint, then its bytes.
- 1 to 255: a packet that follows the one before it, with that many states: same version, codec, model and session, the
  flags of the chunk's first packet without `KEY`, and the number that comes next. Its time as a varint: how far it is
  from where the last two packets put it, zigzag, microseconds. Then the length of its payload as a varint, and the
  payload.

A varint has seven bits a byte, the lowest first, the high bit set in all but the last.
"""

from __future__ import annotations

from typing import Final

from twin_edge.errors import MessageError
from twin_edge.twin.packet import HEADER_BYTES, MAX_TIME_US, Flags, PacketHeader

MAX_CHUNK_BYTES: Final = 1024 * 1024
"""Longest chunk that is read."""
CHUNK_BYTES: Final = 64 * 1024
"""A chunk is closed when it is as long as this; only a longer packet makes a longer one."""
MAX_PACKETS: Final = 65_536
_U32: Final = 0xFFFF_FFFF
_VARINT_BYTES: Final = 9
_FULL: Final = b"\0"


class ChunkBuilder:
    """Puts packets of one chain into a chunk.

    Attributes:
        packets: Packets in it.
        states: States in them.
        key: Whether it can be read without a chunk before it.
        start_us: Earliest time of a packet in it, microseconds since the epoch.
        end_us: Latest time of a state in it.
    """

    def __init__(self) -> None:
        self.packets = self.states = 0
        self.key = False
        self.start_us = self.end_us = 0
        self._data = bytearray()
        self._before: PacketHeader | None = None
        self._flags = Flags.NONE
        self._spacing_us = 0

    def __len__(self) -> int:
        return len(self._data)

    def add(self, packet: bytes, end_us: int, *, alone: bool) -> None:
        """Adds a packet.

        Args:
            packet: All of its bytes, which have been read before.
            end_us: Time of its last state, microseconds since the epoch.
            alone: Whether it can be read without any packet before it.
        """
        header = PacketHeader.decode(packet)
        before = self._before
        if before is None:
            self._flags = header.flags & ~Flags.KEY
            self.key = alone
            self.start_us, self.end_us = header.time_us, end_us
        if before is not None and self._follows(header, before):
            self._data.append(header.count)
            self._data += varint(_zigzag(header.time_us - before.time_us - self._spacing_us))
            self._data += varint(len(packet) - HEADER_BYTES)
            self._data += packet[HEADER_BYTES:]
        else:
            self._data += _FULL + varint(len(packet)) + packet
        self._spacing_us = 0 if before is None else header.time_us - before.time_us
        self._before = header
        self.start_us, self.end_us = min(self.start_us, header.time_us), max(self.end_us, end_us)
        self.packets += 1
        self.states += header.count

    def data(self) -> bytes:
        """Returns the chunk."""
        return bytes(self._data)

    def _follows(self, header: PacketHeader, before: PacketHeader) -> bool:
        return header == _next(before, self._flags, header.count, header.time_us)


def read_chunk(data: bytes) -> list[bytes]:
    """Returns the packets of an untrusted chunk, each at least as long as a header.

    Raises:
        MessageError: It is too long, empty, or does not fit.
    """
    if not 0 < len(data) <= MAX_CHUNK_BYTES:
        raise MessageError(f"a chunk of {len(data)} bytes")
    packets: list[bytes] = []
    before: PacketHeader | None = None
    flags, spacing_us, at = Flags.NONE, 0, 0
    while at < len(data):
        if len(packets) >= MAX_PACKETS:
            raise MessageError("a chunk with too many packets")
        count, at = data[at], at + 1
        head = b""
        time_us = 0
        if count:
            if before is None:
                raise MessageError("a chunk begins with a packet that follows another one")
            off_us, at = _read_varint(data, at)
            time_us = before.time_us + spacing_us + _unzigzag(off_us)
            if not 0 <= time_us <= MAX_TIME_US:
                raise MessageError("a chunk with a time that cannot be")
            head = _next(before, flags, count, time_us).encode()
        length, at = _read_varint(data, at)
        if length > len(data) - at:
            raise MessageError("a chunk that ends within a packet")
        packet = head + data[at : at + length]
        at += length
        header = PacketHeader.decode(packet)
        if before is None:
            flags = header.flags & ~Flags.KEY
        spacing_us = 0 if before is None else header.time_us - before.time_us
        before = header
        packets.append(packet)
    return packets


def varint(value: int) -> bytes:
    """Returns a whole number, 0 or more, with seven bits a byte."""
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _next(before: PacketHeader, flags: Flags, count: int, time_us: int) -> PacketHeader:
    seq = (before.seq + before.count) & _U32
    return PacketHeader(flags, before.codec, count, before.model, before.session, seq, time_us)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return value, at
    raise MessageError("a chunk with a number without an end")


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unzigzag(value: int) -> int:
    return value >> 1 if not value & 1 else -(value >> 1) - 1
