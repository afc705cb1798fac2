"""Shift: how far the camera of a fixed scene has been moved since the plate was learned, by a few pixels.

Where nothing moves, the view is the plate, moved: the gradients of both are correlated at the start, over every whole
pixel within reach; later the remainder is found by least squares (Lucas and Kanade, IJCAI 1981), now and then, and
followed slowly, since a camera that shakes comes back by itself. Moving a picture is done in whole numbers, and so is
the same everywhere.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.scene import SHIFT_VALUES

STEPS_IN_PIXEL: Final = 8
"""int8 steps of a pixel: shifts reach to almost 16 pixels either way."""

_REACH: Final = 8
_WEIGHT_BITS: Final = 7
_DARKEST: Final = 8.0
_EVERY: Final = 10
_AGREED: Final = 3
_LEAST: Final = 2
"""Steps by which the camera has to be off before it counts as moved."""
_CLIP: Final = 0.15
"""Log-luma by which a pixel may be off and still be the plate, moved."""
_FLAT: Final = 1e-3

Shift = npt.NDArray[np.int8]
"""Shift in 1/8 pixels, int8 of shape (2,)."""
_Floats = npt.NDArray[np.float32]


def _kernels() -> npt.NDArray[np.int32]:
    """Returns cubic convolution kernels (Keys 1981, a = -1/2) by eighths of a pixel, in 1/128, of shape (8, 4)."""
    rows = []
    for step in range(STEPS_IN_PIXEL):
        t = step / STEPS_IN_PIXEL
        row = np.rint(
            [
                64 * (-(t**3) + 2 * t**2 - t),
                64 * (3 * t**3 - 5 * t**2 + 2),
                64 * (-3 * t**3 + 4 * t**2 + t),
                64 * (t**3 - t**2),
            ]
        ).astype(np.int32)
        row[1 if step < STEPS_IN_PIXEL // 2 else 2] += (1 << _WEIGHT_BITS) - row.sum()
        rows.append(row)
    return np.array(rows)


_KERNELS: Final = _kernels()


def shifted(picture: Image, shift: Shift) -> Image:
    """Returns a picture moved to the right and down; what comes in is continued from the edge.

    Args:
        picture: uint8 RGB of shape (height, width, 3).
        shift: 1/8 pixels, int8 of shape (2,).

    Returns:
        uint8 RGB of the same shape; the picture itself when nothing moves.
    """
    across, down = (int(value) for value in shift)
    return _along(_along(picture, across, 1), down, 0)


def _along(picture: Image, steps: int, axis: int) -> Image:
    if not steps:
        return picture
    whole, part = divmod(-steps, STEPS_IN_PIXEL)
    size = picture.shape[axis]
    total: npt.NDArray[np.int32] = np.zeros(picture.shape, np.int32)
    for tap, weight in enumerate(_KERNELS[part].tolist()):
        if weight:
            rows = np.clip(np.arange(size) + whole + tap - 1, 0, size - 1)
            total += np.take(picture, rows, axis=axis).astype(np.int32) * weight
    total += 1 << (_WEIGHT_BITS - 1)
    total >>= _WEIGHT_BITS
    return np.clip(total, 0, 255).astype(np.uint8)


class ShiftMeter:
    """Follows the shift of the camera; one thread uses one.

    Args:
        plate: The scene, uint8 RGB of shape (height, width, 3).
        moving: Where things move, bool of shape (height, width): these places are left out.
    """

    def __init__(self, plate: Image, moving: npt.NDArray[np.bool_]) -> None:
        self._plate = _log_luma(plate)
        self._gradients = _gradients(self._plate)
        self._still = _inner(~moving)
        across, down = (gradient * self._still for gradient in self._gradients)
        sums = np.array([[(across**2).sum(), (across * down).sum()], [(across * down).sum(), (down**2).sum()]])
        spread = np.linalg.eigvalsh(sums)
        self._able = bool(spread[0] > _FLAT * self._still.sum())
        self._pull = np.linalg.pinv(sums) @ np.stack([across.ravel(), down.ravel()]) if self._able else None
        self._asked = 0
        self._off: list[npt.NDArray[np.float64]] = []

    def __call__(self, view: Image, near: Shift | None) -> Shift:
        """Returns the shift of a view, int8 of shape (2,).

        Args:
            view: uint8 RGB of the plate's shape.
            near: The shift of the frame before; None to look everywhere.
        """
        if near is None:
            self._asked, self._off = 0, []
            return self._search(view)
        self._asked += 1
        if self._asked % _EVERY or self._pull is None:
            return near
        self._off.append(self._remainder(view, near))
        if len(self._off) < _AGREED:
            return near
        middle = np.rint(np.median(self._off, axis=0) * STEPS_IN_PIXEL)
        self._off = []
        return _bounded(near + middle) if np.abs(middle).max() >= _LEAST else near

    def _search(self, view: Image) -> Shift:
        """Returns the best shift of all within reach."""
        shift = np.zeros(SHIFT_VALUES, np.int8)
        if self._pull is None:
            return shift
        seen = _gradients(_log_luma(view))
        norm = sum(float((one**2 * self._still).sum()) for one in self._gradients)
        best, place = -1.0, (0, 0)
        for down in range(-_REACH, _REACH + 1):
            for across in range(-_REACH, _REACH + 1):
                product = size = 0.0
                for one, known in zip(seen, self._gradients, strict=True):
                    moved = np.roll(one, (-down, -across), (0, 1))
                    weighed = moved * self._still
                    product += float((weighed * known).sum())
                    size += float((weighed * moved).sum())
                score = product / (size * norm + 1e-12) ** 0.5
                if score > best:
                    best, place = score, (across, down)
        shift = _bounded(np.array(place) * STEPS_IN_PIXEL)
        for _ in range(2):
            shift = _bounded(shift + np.rint(self._remainder(view, shift) * STEPS_IN_PIXEL))
        return shift if np.abs(shift.astype(int)).max() >= _LEAST else np.zeros(SHIFT_VALUES, np.int8)

    def _remainder(self, view: Image, shift: Shift) -> npt.NDArray[np.float64]:
        """Returns how much further the camera is off, pixels, float64 of shape (2,), at most one either way."""
        difference = _log_luma(shifted(view, -shift)) - self._plate
        # Light is smooth: what the gradients of the plate do not explain is taken out where it is the same all around.
        difference -= cv2.blur(difference, (9, 9))
        np.clip(difference, -_CLIP, _CLIP, out=difference)
        assert self._pull is not None  # noqa: S101 - the callers ask only then
        return np.asarray(np.clip(-(self._pull @ difference.ravel()), -1, 1), np.float64)


def _bounded(shift: npt.NDArray[np.generic]) -> Shift:
    return np.clip(shift, -_REACH * STEPS_IN_PIXEL, _REACH * STEPS_IN_PIXEL).astype(np.int8)


def _log_luma(picture: Image) -> _Floats:
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 0.8)
    return np.asarray(np.log(gray.astype(np.float32) + np.float32(_DARKEST)), np.float32)


def _gradients(luma: _Floats) -> tuple[_Floats, _Floats]:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _inner(still: npt.NDArray[np.bool_]) -> _Floats:
    """Returns 1 where nothing moves nearby and the border is out of reach, float32 of the same shape."""
    far = cv2.erode(still.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    inner = np.zeros_like(far)
    inner[_REACH:-_REACH, _REACH:-_REACH] = far[_REACH:-_REACH, _REACH:-_REACH]
    return inner
