"""The region of a frame that a twin looks at: fractions of width and height, so that it survives another resolution."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from twin_edge.errors import ConfigError

Region = tuple[float, float, float, float]
"""Left edge, top edge, width and height as shares of the frame's, 0-1."""

LEAST_SIDE: Final = 0.01
"""Least width and height of a region, a share of the frame's."""

_DIGITS: Final = 6
_SLACK: Final = 1e-6
_VALUE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?", re.ASCII)
_HELP: Final = "give x,y,width,height as pixels of the frame, or as fractions of it from 0 to 1"


def checked(values: Sequence[float]) -> Region:
    """Returns four values as a region.

    Raises:
        ValueError: They are not four, not finite, or not a region inside of the frame; the message is a clause.
    """
    if len(values) != 4 or not all(math.isfinite(value) for value in values):  # noqa: PLR2004 - x, y, width, height
        raise ValueError("a region is four numbers: x, y, width and height")
    x, y, width, height = (float(value) for value in values)
    if x < 0 or y < 0 or x + width > 1 + _SLACK or y + height > 1 + _SLACK:
        raise ValueError("a region must lie within the frame")
    if width < LEAST_SIDE or height < LEAST_SIDE:
        raise ValueError(f"a region must have at least {LEAST_SIDE:.0%} of the frame's width and of its height")
    return (x, y, width, height)


def parse_region(text: str) -> tuple[float, ...]:
    """Reads the four numbers of a `--region`.

    Returns:
        x, y, width and height; fractions when none of them is above 1, else pixels.

    Raises:
        ConfigError: The text has no four numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(_VALUE.fullmatch(part) for part in parts):  # noqa: PLR2004 - x, y, width, height
        raise ConfigError(f"'{text[:40]}' is not a region", fix=_HELP)
    return tuple(float(part) for part in parts)


def to_fractions(values: Sequence[float], size: tuple[int, int]) -> Region:
    """Returns the region that four numbers mean in frames of a size.

    Args:
        values: x, y, width and height; fractions when none of them is above 1, else pixels.
        size: (rows, columns) of the frames.

    Raises:
        ConfigError: That is no region of such frames.
    """
    rows, columns = size
    fractions = all(value <= 1 for value in values)
    scale = (1.0, 1.0, 1.0, 1.0) if fractions else (columns, rows, columns, rows)
    try:
        return checked([round(value / whole, _DIGITS) for value, whole in zip(values, scale, strict=True)])
    except ValueError as error:
        what = ",".join(f"{value:g}" for value in values)
        unit = "fractions" if fractions else "pixels"
        raise ConfigError(
            f"region {what} ({unit}) does not fit frames of {columns}x{rows} ({error})", fix=_HELP
        ) from error


def to_pixels(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Returns a region in pixels of frames of a size: left, top, width and height, each side at least 1."""
    rows, columns = size
    left, right = _span(region[0], region[2], columns)
    top, bottom = _span(region[1], region[3], rows)
    return left, top, right - left, bottom - top


def describe(region: Region | None, size: tuple[int, int] | None = None) -> str:
    """Returns a region for people; with pixels where the (rows, columns) of frames are known."""
    if region is None:
        return "the whole frame"
    text = ",".join(f"{value:g}" for value in (round(value, 4) for value in region))
    if size is None:
        return text
    left, top, width, height = to_pixels(region, size)
    return f"{width}x{height} pixels at ({left}, {top}) of {size[1]}x{size[0]} (--region {text})"


def _span(start: float, length: float, side: int) -> tuple[int, int]:
    first = min(side - 1, math.floor(start * side + 0.5))
    return first, min(side, max(first + 1, math.floor((start + length) * side + 0.5)))
