"""Reading values out of an untrusted JSON tree, each with its type, its range and a path for the error."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from twin_edge.errors import ManifestError


@dataclass(frozen=True, slots=True)
class Item:
    """A value and where it stands.

    Every method raises `ManifestError`, naming the path, when the value is not what it asks for.
    """

    path: str
    """Where it stands, such as `gap.rows`."""
    value: Any
    """The JSON value."""

    def __getitem__(self, key: str) -> Item:
        return Item(f"{self.path}.{key}" if self.path else key, self.value[key])

    def only(self, *keys: str) -> Item:
        """Asks for an object with exactly these keys."""
        if not isinstance(self.value, dict) or set(self.value) != set(keys):
            raise self._error(f"must have exactly the keys {', '.join(keys)}")
        return self

    def items(self, *, most: int) -> Iterator[tuple[str, Item]]:
        """Asks for an object of 1 to `most` entries, and goes through them."""
        if not isinstance(self.value, dict) or not 1 <= len(self.value) <= most:
            raise self._error(f"must be an object of 1 to {most} entries")
        for key in self.value:
            yield key, self[key]

    def list(self, *, least: int = 0, most: int) -> list[Item]:
        """Asks for an array of `least` to `most` values."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            raise self._error(f"must be an array of {least} to {most} values")
        return [Item(f"{self.path}[{i}]", value) for i, value in enumerate(self.value)]

    def text(self, *, pattern: re.Pattern[str]) -> str:
        """Asks for a string that matches as a whole."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self._error(f"must be text of the form {pattern.pattern}")
        return self.value

    def whole(self, *, low: int, high: int) -> int:
        """Asks for a whole number in a range, ends included."""
        if type(self.value) is not int or not low <= self.value <= high:
            raise self._error(f"must be a whole number from {low} to {high}")
        return self.value

    def number(self, *, low: float, high: float) -> float:
        """Asks for a finite number in a range, ends included."""
        value = self.value
        if type(value) not in {int, float} or not low <= value <= high or not math.isfinite(value):
            raise self._error(f"must be a number from {low:g} to {high:g}")
        return float(value)

    def _error(self, wanted: str) -> ManifestError:
        return ManifestError(f"'{self.path or 'manifest'}' {wanted}")
