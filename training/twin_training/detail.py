"""How much of what moves a standard view shows: whether a recording deserves views of twice the size.

A few frames are looked at as they were recorded. What a view of 128 pixels cannot hold is what is left of one of 256
when it is made half as large and large again; only its changes count, where something moves, and less what noise makes
of them elsewhere. Training a large twin takes four times as long, so much has to be gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.preprocess.region import Region, to_pixels

_SIDE: Final = 128
_LEAST_FRAMES: Final = 8
_LEAST_LEVELS: Final = 6.0
_OVER_NOISE: Final = 3.0
_MARGIN: Final = 5
_MUCH_LOST: Final = 0.08
"""Share of what moves that a standard view has to lose; of the recordings in docs/collection.md, none loses a third."""
_LEAST_LOST: Final = 25.0
"""And so many levels^2 of the whole picture: no twin draws better than 34 dB then, and few reach that."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Detail:
    """What a standard view does not hold."""

    lost_share: float
    """Share of the energy of what moves that is lost, 0-1."""
    lost: float
    """Mean squared error of the picture that this makes, levels^2."""
    noise: float
    """What noise makes of the same bands where nothing moves, levels^2."""

    @property
    def deserves_large(self) -> bool:
        """Whether views of twice the size clearly pay."""
        return self.lost_share > _MUCH_LOST and self.lost > _LEAST_LOST and self.lost > self.noise

    def __str__(self) -> str:
        """Says what was found and what follows, for people."""
        size = "large" if self.deserves_large else "standard"
        held = f"views of {_SIDE}x{_SIDE} pixels hold {1 - self.lost_share:.0%} of what moves"
        return f"detail: {held}, so the size is {size}"


def look_closely(frames: Sequence[Image], region: Region | None) -> Detail | None:
    """Returns what a standard view of frames does not hold.

    Args:
        frames: A few frames spread over a recording, about as they were recorded, uint8 BGR of one shape.
        region: What of them the view shows; None for all.

    Returns:
        None where nothing can be said: there are few frames, nothing moves, or no pixels for more than that.
    """
    if len(frames) < _LEAST_FRAMES:
        return None
    squares = [_square(frame, region) for frame in frames]
    if len(squares[0]) < 2 * _SIDE:
        return None
    large = np.stack([_resized(square, 2 * _SIDE) for square in squares])
    moved, fine = large - np.median(large, axis=0), large - np.stack([_resized(_resized(one, _SIDE)) for one in large])
    fine -= np.median(fine, axis=0)
    energy, lost = np.square(moved).mean(-1), np.square(fine).mean(-1)
    moving = _where_it_moves(energy)
    if not moving.any() or moving.all():
        return None
    noise = float(lost[~moving].mean())
    beyond = max(0.0, float((lost[moving] - noise).sum()))
    total = float((energy[moving] - energy[~moving].mean()).sum())
    return Detail(beyond / max(total, 1e-9), beyond / moving.size, noise)


def _where_it_moves(energy: Floats) -> npt.NDArray[np.bool_]:
    """Returns where frames are not as they usually are, bool of shape (n, side, side)."""
    usual = float(np.median(energy.mean(0)))
    moving = (energy > max(_LEAST_LEVELS**2, _OVER_NOISE**2 * usual)).astype(np.uint8)
    brush = np.ones((_MARGIN, _MARGIN), np.uint8)
    return np.stack([cv2.dilate(mask, brush) for mask in moving]) > 0


def _square(frame: Image, region: Region | None) -> Image:
    """Returns the middle square of a region of a frame, as a view shows it."""
    rows, columns = frame.shape[:2]
    left, top, width, height = (0, 0, columns, rows) if region is None else to_pixels(region, (rows, columns))
    side = min(width, height)
    left, top = left + (width - side) // 2, top + (height - side) // 2
    return frame[top : top + side, left : left + side]


def _resized(image: Image | Floats, side: int = 2 * _SIDE) -> Floats:
    """Returns a square image in another size, float32 of shape (side, side, 3)."""
    method = cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image.astype(np.float32), (side, side), interpolation=method), np.float32)
