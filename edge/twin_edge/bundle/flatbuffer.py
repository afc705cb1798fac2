"""Reading a flatbuffer that a stranger may have made: every offset is checked before anything is read there.

A table begins with the distance to its vtable, which says how large the table is and where in it each field lies; a
vector begins with its length (https://flatbuffers.dev/internals). Nothing here recurses, and the bytes that all reads
together look at are bounded: tables and vectors that overlap cannot make more of a file than it is.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_HEADER_BYTES: Final = 8
_LEAST_BUDGET: Final = 1 << 16
_TABLE_HEADER: Final = 4
_VTABLE_HEADER: Final = 4
_MOST_FIELDS: Final = 64
"""Most fields of a table: more than any schema that twins use has, and few enough to be looked at one by one."""
_MOST_TEXT: Final = 1 << 16
_WIDTHS: Final[dict[str, int]] = {"<b": 1, "<B": 1, "<H": 2, "<i": 4, "<I": 4, "<Q": 8, "<f": 4}


class Flatbuffer:
    """The bytes of a flatbuffer.

    Args:
        content: All of them, untrusted.
        identifier: The four bytes that must follow the offset of the root.
        most: Most bytes.

    Raises:
        ValueError: There is no such identifier, or there are more bytes. Every other method raises it too, when
            something lies outside.
    """

    def __init__(self, content: bytes, identifier: bytes, most: int) -> None:
        if len(content) > most:
            raise ValueError(f"it has more than {most} bytes")
        if len(content) < _HEADER_BYTES or content[4:8] != identifier:
            raise ValueError(f"it does not begin as one ({identifier.decode()})")
        self._content = content
        self._left = max(_LEAST_BUDGET, 2 * len(content))

    def root(self) -> Table:
        """Returns the table that everything hangs on."""
        return Table(self, self.number("<I", 0))

    def number(self, layout: str, at: int) -> int:
        """Returns a whole number.

        Args:
            layout: As in `struct`, one of `<b`, `<B`, `<H`, `<i`, `<I` and `<Q`.
            at: Where it lies.
        """
        self.require(at, _WIDTHS[layout])
        value: int = struct.unpack_from(layout, self._content, at)[0]
        return value

    def real(self, at: int) -> float:
        """Returns the float32 that lies at `at`."""
        self.require(at, _WIDTHS["<f"])
        value: float = struct.unpack_from("<f", self._content, at)[0]
        return value

    def require(self, at: int, size: int) -> None:
        """Asks for bytes that are there, and takes them off what may still be read."""
        if at < 0 or size < 0 or at + size > len(self._content):
            raise ValueError("an offset leads out of the file")
        self._left -= size
        if self._left < 0:
            raise ValueError("its tables and vectors overlap")

    def follow(self, at: int) -> int:
        """Returns where the offset that lies at `at` leads to."""
        offset = self.number("<I", at)
        if offset == 0:
            raise ValueError("an offset leads to itself")
        return at + offset

    def vector(self, at: int, dtype: Any, most: int) -> npt.NDArray[Any]:
        """Returns a vector of numbers where it lies, read-only.

        Args:
            at: Where its length stands.
            dtype: Type of a number.
            most: Most numbers.
        """
        kind = np.dtype(dtype)
        count = self.count(at, most)
        self.require(at + 4, count * kind.itemsize)
        return np.frombuffer(self._content, kind, count, at + 4)

    def count(self, at: int, most: int) -> int:
        """Returns how long a vector is, at most `most`."""
        count = self.number("<I", at)
        if count > most:
            raise ValueError(f"a vector has {count} entries, {most} at most are expected")
        return count


class Table:
    """A table of a flatbuffer.

    Args:
        of: The flatbuffer.
        at: Where the table lies.

    Raises:
        ValueError: It, or its vtable, does not lie inside.
    """

    def __init__(self, of: Flatbuffer, at: int) -> None:
        self._of, self._at = of, at
        vtable = at - of.number("<i", at)
        size, self._size = of.number("<H", vtable), of.number("<H", vtable + 2)
        if size < _VTABLE_HEADER or size % 2 or self._size < _TABLE_HEADER:
            raise ValueError("a table has no readable layout")
        if size > _VTABLE_HEADER + 2 * _MOST_FIELDS:
            raise ValueError(f"a table has more than {_MOST_FIELDS} fields")
        of.require(at, self._size)
        of.require(vtable, size)
        self._vtable, self._fields = vtable, (size - _VTABLE_HEADER) // 2

    def only(self, known: int) -> Table:
        """Refuses fields beyond the first `known`: those of a newer schema, which say what nobody here knows."""
        if any(self._offset(slot) for slot in range(known, self._fields)):
            raise ValueError("it is of a newer format")
        return self

    def without(self, *slots: int) -> Table:
        """Refuses fields that are there."""
        if any(self._offset(slot) for slot in slots):
            raise ValueError("it uses what no twin uses")
        return self

    def whole(self, slot: int, layout: str, default: int = 0) -> int:
        """Returns the whole number in a field; see `Flatbuffer.number`."""
        at = self._place(slot, _WIDTHS[layout])
        return default if at is None else self._of.number(layout, at)

    def real(self, slot: int, most: float) -> None:
        """Asks for a float32 in a field that is no larger than `most`, either way, and no NaN; or for none at all."""
        at = self._place(slot, _WIDTHS["<f"])
        if at is not None and not abs(self._of.real(at)) <= most:
            raise ValueError("a real number is out of range")

    def table(self, slot: int) -> Table | None:
        """Returns the table that a field leads to; None without the field."""
        at = self._place(slot, 4)
        return None if at is None else Table(self._of, self._of.follow(at))

    def numbers(self, slot: int, dtype: Any, most: int) -> npt.NDArray[Any]:
        """Returns the vector that a field leads to, empty without the field; see `Flatbuffer.vector`."""
        at = self._place(slot, 4)
        return np.empty(0, dtype) if at is None else self._of.vector(self._of.follow(at), dtype, most)

    def check_text(self, slot: int) -> Table:
        """Asks for text that ends where it says, if there is any: who reads it may look for its end."""
        at = self._place(slot, 4)
        if at is not None:
            text = self._of.follow(at)
            end = text + 4 + self._of.count(text, _MOST_TEXT)
            self._of.require(text + 4, end - text - 4)
            if self._of.number("<B", end):
                raise ValueError("a text has no end")
        return self

    def tables(self, slot: int, most: int) -> list[Table]:
        """Returns the tables of the vector that a field leads to, at most `most`; none without the field."""
        at = self._place(slot, 4)
        if at is None:
            return []
        vector = self._of.follow(at)
        count = self._of.count(vector, most)
        return [Table(self._of, self._of.follow(vector + 4 + 4 * i)) for i in range(count)]

    def _place(self, slot: int, width: int) -> int | None:
        offset = self._offset(slot)
        if not offset:
            return None
        if offset < _TABLE_HEADER or offset + width > self._size:
            raise ValueError("a field lies outside of its table")
        return self._at + offset

    def _offset(self, slot: int) -> int:
        return self._of.number("<H", self._vtable + _VTABLE_HEADER + 2 * slot) if slot < self._fields else 0
