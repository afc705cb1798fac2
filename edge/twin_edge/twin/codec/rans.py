"""The entropy coder: range asymmetric numeral systems with static frequencies, in 32-bit arithmetic.

The state is a number from 2**16 up to 2**24. It begins with 16 bits of the caller's choice below a leading one, and
the decoder ends where the encoder began: so the bits that other coders waste on flushing carry the packet's check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.twin.codec.tables import ESCAPED_BITS, ESCAPED_SIGN, FADING, LARGEST, PRECISION_BITS, TOTAL, Slots

LOW: Final = 1 << 16
"""The state is never below this between symbols."""
HEAD_BYTES: Final = 3
_MASK: Final = TOTAL - 1
_SHIFT: Final = 24 - PRECISION_BITS


def encode(steps: list[tuple[int, int]], check: int) -> bytes:
    """Returns the bytes of a message.

    Args:
        steps: For each symbol, in the order of decoding, the start of its slots and their number, 1-4096.
        check: What the decoder must end with, 0-65535.
    """
    x = LOW | check
    tail = bytearray()
    for start, frequency in reversed(steps):
        limit = frequency << _SHIFT
        while x >= limit:
            tail.append(x & 0xFF)
            x >>= 8
        # The quotient goes up by the precision, and the remainder stays below it.
        x += x // frequency * (TOTAL - frequency) + start
    tail.reverse()
    return x.to_bytes(HEAD_BYTES, "big") + tail


def raw_bits(value: int, bits: int) -> tuple[int, int]:
    """Returns the step of a number from 0 up to 2**bits, every one as likely as the others; 1-12 bits."""
    shift = PRECISION_BITS - bits
    return value << shift, 1 << shift


class Decoder:
    """Reads symbols out of untrusted bytes.

    Args:
        data: What `encode` gave.

    Raises:
        MessageError: It is too short, or does not begin with a state.

    Attributes:
        x: The state, 2**16 to 2**24 - 1.
    """

    __slots__ = ("_data", "_place", "x")

    def __init__(self, data: bytes) -> None:
        self.x = int.from_bytes(data[:HEAD_BYTES], "big")
        if len(data) < HEAD_BYTES or self.x < LOW:
            raise MessageError("a payload does not begin with a state of the entropy coder")
        self._data = data
        self._place = HEAD_BYTES

    def symbol(self, symbols: bytes, starts: tuple[int, ...], frequencies: tuple[int, ...]) -> int:
        """Returns the next symbol of a table.

        Raises:
            MessageError: The bytes are at their end.
        """
        slot = self.x & _MASK
        symbol = symbols[slot]
        x = frequencies[symbol] * (self.x >> PRECISION_BITS) + slot - starts[symbol]
        if x < LOW:
            x = self._fill(x)
        self.x = x
        return symbol

    def counts(self, rows: Sequence[Sequence[Slots]], contexts: bytes, activity: int) -> tuple[list[int], int]:
        """Reads the numbers of steps of one state: the innermost loop of a subscriber, so all is written out here.

        Args:
            rows: For each value, the slots of its table in each context.
            contexts: The context of each activity.
            activity: How active the frame has been, sixteenths of a step, faded.

        Returns:
            The numbers, and the activity at their end.

        Raises:
            MessageError: The bytes are at their end.
        """
        x, data, place, end = self.x, self._data, self._place, len(self._data)
        counts = []
        for row in rows:
            slot = x & _MASK
            count, frequency, start, growth = row[contexts[activity]][slot]
            x = frequency * (x >> PRECISION_BITS) + slot - start
            while x < LOW:
                if place >= end:
                    raise MessageError("a payload is shorter than its states")
                x = x << 8 | data[place]
                place += 1
            if count is None:
                self.x, self._place = x, place
                count = self._escaped()
                x, place = self.x, self._place
            counts.append(count)
            activity += growth - (activity >> FADING)
        self.x, self._place = x, place
        return counts, activity

    def _escaped(self) -> int:
        """Returns a number of steps that has no symbol of its own."""
        raw = self.raw_bits(ESCAPED_BITS)
        size = (raw & (ESCAPED_SIGN - 1)) + LARGEST + 1
        return -size if raw & ESCAPED_SIGN else size

    def raw_bits(self, bits: int) -> int:
        """Returns a number from 0 up to 2**bits; 1-12 bits.

        Raises:
            MessageError: The bytes are at their end.
        """
        shift = PRECISION_BITS - bits
        slot = self.x & _MASK
        x = ((self.x >> PRECISION_BITS) << shift) + (slot & ((1 << shift) - 1))
        self.x = x if x >= LOW else self._fill(x)
        return slot >> shift

    def end(self, check: int) -> bool:
        """Returns whether all bytes are used up and the state is what the encoder began with."""
        return self.x == LOW | check and self._place == len(self._data)

    def _fill(self, x: int) -> int:
        while x < LOW:
            if self._place >= len(self._data):
                raise MessageError("a payload is shorter than its states")
            x = x << 8 | self._data[self._place]
            self._place += 1
        return x
