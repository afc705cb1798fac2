"""What a setting of a device may be, and how its values are written."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.wire.reading import Scalar

_NUMBER: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_DIGITS: Final = 6
"""Digits after the point that a number keeps."""
_TRUTHS: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class Kind(enum.Enum):
    """What values a setting takes."""

    SWITCH = "switch"
    """On or off, `bool`."""
    WHOLE = "whole"
    """Whole numbers, `int`."""
    NUMBER = "number"
    """Numbers, `float`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set from afar."""

    key: str
    """Last level of its topics: small letters, digits and dashes, 1-32."""
    title: str
    """What people read, such as `Frame rate`."""
    kind: Kind = Kind.SWITCH
    """What values it takes."""
    low: float = 0.0
    """Smallest value, of numbers."""
    high: float = 1.0
    """Largest value, of numbers."""
    step: float = 1.0
    """What a click on an arrow adds, of numbers, above 0."""
    unit: str = ""
    """Unit of the number, none when empty."""
    configures: bool = True
    """Whether it is for those who set the device up, and not for everyday use."""

    def read(self, value: Scalar) -> Scalar:
        """Returns a wish as a value of this setting.

        Args:
            value: A text as people and Home Assistant write it, or a value of JSON.

        Raises:
            MessageError: It is none, or out of range.
        """
        if self.kind is Kind.SWITCH:
            truth = value if isinstance(value, bool) else _TRUTHS.get(str(value).lower())
            if truth is None:
                raise MessageError(f"{self.key} cannot be {value!r:.40}", fix="give ON or OFF")
            return truth
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        # Not a number itself fails every comparison.
        usable = isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        if not usable or (self.kind is Kind.WHOLE and value != int(value)):
            what = "whole number" if self.kind is Kind.WHOLE else "number"
            raise MessageError(
                f"{self.key} cannot be {value!r:.40}", fix=f"give a {what} from {self.low:g} to {self.high:g}"
            )
        return int(value) if self.kind is Kind.WHOLE else round(float(value), _DIGITS)

    def text(self, value: Scalar) -> str:
        """Returns a value as it is reported, such as `ON` or `12.5`."""
        if self.kind is Kind.SWITCH:
            return "ON" if value else "OFF"
        return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
