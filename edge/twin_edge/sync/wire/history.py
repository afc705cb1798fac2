"""What comes on `up/hist`: many packets in one message.

```
u8 version = 1, then for each packet: its length, its bytes
```

A length is a variable byte integer as in MQTT (1.5.5 of its version 5): seven bits a byte, the lowest first, the high
bit set in all but the last byte, four bytes at most. So a packet of less than 128 bytes costs one byte more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.twin.packet import HEADER_BYTES, Flags

VERSION: Final = 1
MAX_HISTORY_BYTES: Final = 512 * 1024
"""Longest message that is read; devices of this release send 32 KiB at most, unless a single packet is longer."""
_MAX_PACKET_BYTES: Final = (1 << 21) - 1
"""What three bytes of length can say."""
_MAX_LENGTH_BYTES: Final = 4
_FLAGS_AT: Final = 1


def frame(packet: bytes) -> bytes:
    """Returns a packet with its length before it, flagged as historical.

    Raises:
        ValueError: It is shorter than a header, or longer than 2 MiB.
    """
    if not HEADER_BYTES <= len(packet) <= _MAX_PACKET_BYTES:
        raise ValueError(f"{len(packet)} bytes are no packet")
    rest, length = len(packet), bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    flags = packet[_FLAGS_AT] | Flags.HISTORICAL
    return bytes(length) + packet[:_FLAGS_AT] + bytes((flags,)) + packet[_FLAGS_AT + 1 :]


def build_history(frames: Iterable[bytes]) -> bytes:
    """Returns the payload of `up/hist`.

    Args:
        frames: Packets as `frame` gives them, the oldest first; at least one.
    """
    return bytes((VERSION,)) + b"".join(frames)


def parse_history(data: bytes) -> tuple[bytes, ...]:
    """Reads an untrusted `up/hist`: takes the packets apart, and looks at nothing but their lengths.

    Returns:
        The packets in the order in which they were made, each at least as long as a header; read each with a
        `PacketReader`, in this order, and count the ones that it refuses.

    Raises:
        MessageError: It is too long or too short, has another version, or the lengths do not fit.
    """
    if not 1 < len(data) <= MAX_HISTORY_BYTES:
        raise MessageError(f"a history of {len(data)} bytes is refused")
    if data[0] != VERSION:
        raise MessageError(f"a history has version {data[0]}, this release reads {VERSION}")
    packets, at = [], 1
    while at < len(data):
        length, at = _read_length(data, at)
        if not HEADER_BYTES <= length <= len(data) - at:
            raise MessageError(f"a history has a packet of {length} bytes, {len(data) - at} bytes from its end")
        packets.append(data[at : at + length])
        at += length
    return tuple(packets)


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    length = 0
    for place in range(_MAX_LENGTH_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return length, at
    raise MessageError("a history has a length without an end")
