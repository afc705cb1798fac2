"""Shift: how far the camera of a fixed scene is from where it was when the plate was learned, by a few pixels.

Where nothing moves, the view is the plate, moved. At the start the gradients of both are correlated over every whole
pixel within reach; from then on the remainder is found in each frame by least squares (Lucas and Kanade, IJCAI 1981),
together with the light, which is smooth. What a shift does to a pixel is taken from the plate moved half a pixel either
way: the slope that a Sobel filter gives is a blurred one, and shifts came out a quarter too large. So a camera that
shakes is followed, and one that was knocked is as well. Moving a picture is done in whole numbers, along each row and
then along each column, and so is the same everywhere; docs/rendering.md has it for other languages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.scene import SHIFT_VALUES
from twin_edge.twin.light import LOGS, WAVE_ONE, waves

STEPS_IN_PIXEL: Final = 8
"""int8 steps of a pixel: shifts reach to almost 16 pixels either way."""

_REACH: Final = 8
_WEIGHT_BITS: Final = 7
_LOBES: Final = 3
_FAR: Final = 3
"""Steps from its base beyond which the camera may have been moved."""
_TOO_FAR: Final = 5
"""Steps from there on which least squares find too little, and are asked again from the nearest whole pixel."""
_LASTING: Final = 8
"""Frames that this has to last."""
_BETTER: Final = 0.02
"""Correlation that another place must gain over the plate's own."""
_SEARCH_EVERY: Final = 150
"""Frames from one search to the next at least."""
_MOST_TOLERANCE: Final = 0.5
"""Measured on another day of a filmed machine: one frame in a hundred is above 0.99 then, as on the first."""
_SHAKES, _WHOLLY = 0.5, 1.5
"""Pixels that shaking makes, and pixels more at which a camera is wholly elsewhere."""
_CLIP: Final = np.float32(0.7)
"""Log-luma by which a pixel may be off: what is further off is something else."""
_ESTIMATED_FROM: Final = 2048
"""Pixels that are looked at in each frame at most, those with the steepest slopes."""
_FLAT: Final = 1e-3

Shift = npt.NDArray[np.int8]
"""Shift in 1/8 pixels, int8 of shape (2,)."""
_Floats = npt.NDArray[np.float32]


def _kernels() -> npt.NDArray[np.int32]:
    """Returns Lanczos kernels of three lobes (Duchon 1979) by eighths of a pixel, in 1/128, of shape (8, 6).

    Cubic convolution takes fewer taps, and blurs what is as fine as a needle (docs/adr/0015-light-and-parts.md).
    """
    rows = []
    for step in range(STEPS_IN_PIXEL):
        away = np.arange(1 - _LOBES, 1 + _LOBES) - step / STEPS_IN_PIXEL
        taps = np.sinc(away) * np.sinc(away / _LOBES)
        row = np.rint(taps / taps.sum() * (1 << _WEIGHT_BITS)).astype(np.int32)
        row[_LOBES - 1 if step < STEPS_IN_PIXEL // 2 else _LOBES] += (1 << _WEIGHT_BITS) - row.sum()
        rows.append(row)
    return np.array(rows)


_KERNELS: Final = _kernels()
_UP: Final = 1 / (1 << (_WEIGHT_BITS + 1))
"""What is half a level above a whole number is rounded up, on every processor."""


def shifted(picture: Image, shift: Shift) -> Image:
    """Returns a picture moved to the right and down; what comes in is continued from the edge.

    Args:
        picture: uint8 RGB of shape (height, width, 3).
        shift: 1/8 pixels, int8 of shape (2,).

    Returns:
        uint8 RGB of the same shape; the picture itself when nothing moves.
    """
    across, down = shift.tolist()
    if across:
        taps, anchor = _taps(across)
        picture = _filtered(picture, taps, (anchor, 0))
    if down:
        taps, anchor = _taps(down)
        picture = _filtered(picture, taps.T, (0, anchor))
    return picture


def without_edge(view: Image, rendering: Image, shift: Shift) -> Image:
    """Returns a rendering that shows the view where a shift of a pixel or more has brought in what the plate lacks.

    Args:
        view: uint8 RGB of shape (height, width, 3).
        rendering: uint8 RGB of the same shape, of a scene that was moved.
        shift: By how much, 1/8 pixels, int8 of shape (2,).

    Returns:
        The rendering itself for smaller shifts.
    """
    across, down = shift.tolist()
    if max(abs(across), abs(down)) < STEPS_IN_PIXEL:
        return rendering
    result = rendering.copy()
    for axis, steps in ((1, across), (0, down)):
        pixels = -(-abs(steps) // STEPS_IN_PIXEL) + 1
        edge = slice(0, pixels) if steps > 0 else slice(-pixels, None)
        place = (edge, slice(None)) if axis == 0 else (slice(None), edge)
        if steps:
            result[place] = view[place]
    return result


def shift_tolerance(shift: Shift) -> float:
    """Returns by what a gap is to be divided because the camera was moved: 1 to 1.5.

    A moved camera has other edges in its pixels than the plate, however well it is followed, and a part that is cut off
    by the frame is read less well: what is normal there was never measured. Half a pixel is what shaking does, and is
    in what was.

    Args:
        shift: 1/8 pixels, int8 of shape (2,).
    """
    pixels = math.hypot(*shift.tolist()) / STEPS_IN_PIXEL
    return 1 + _MOST_TOLERANCE * min(1.0, max(0.0, (pixels - _SHAKES) / _WHOLLY))


@lru_cache(maxsize=256)
def _taps(steps: int) -> tuple[_Floats, int]:
    """Returns the weights that move to the right by some steps, float32 of shape (1, n), and which is a pixel's own."""
    whole, part = divmod(-steps, STEPS_IN_PIXEL)
    if not part:
        first, weights = whole, _KERNELS[part, _LOBES - 1 : _LOBES]
    else:
        first, weights = whole + 1 - _LOBES, _KERNELS[part]
    start, end = min(first, 0), max(first + len(weights), 1)
    taps = np.zeros((1, end - start), np.float32)
    taps[0, first - start : first - start + len(weights)] = weights / (1 << _WEIGHT_BITS)
    return taps, -start


def _filtered(picture: Image, taps: _Floats, anchor: tuple[int, int]) -> Image:
    # Whole numbers of 1/256, and less than 2**24 of them: exact in float32, in whatever order they are added.
    return np.asarray(
        cv2.filter2D(picture, cv2.CV_8U, taps, anchor=anchor, delta=_UP, borderType=cv2.BORDER_REPLICATE), np.uint8
    )


class ShiftMeter:
    """Follows the shift of the camera; one thread uses one.

    Args:
        plate: The scene, uint8 RGB of shape (height, width, 3).
        moving: Where things move, bool of shape (height, width): these places are left out.

    Attributes:
        base: Where the camera rests, in steps: views are brought back by it before anything is read off them.
        straight: The latest view, brought back.
    """

    def __init__(self, plate: Image, moving: npt.NDArray[np.bool_]) -> None:
        self._gradients = _gradients(_log_luma(plate))
        self._still = _inner(~moving)
        self._estimator = None if self._says_nothing() else _choose(plate, self._still)
        self.base: Shift = np.zeros(SHIFT_VALUES, np.int8)
        self.straight = plate
        self._luma = np.zeros(plate.shape[:2], np.uint8)
        self._far: list[list[float]] = []
        self._since_search = _SEARCH_EVERY

    def __call__(self, view: Image, near: Shift | None) -> Shift:
        """Returns the shift of a view, int8 of shape (2,).

        Args:
            view: uint8 RGB of the plate's shape.
            near: The shift of the frame before; None to look everywhere, if that has not been done lately: what is
                strange for long, such as a hand, must not cost a search in every frame.
        """
        self.straight = view
        if self._estimator is None:
            return np.zeros(SHIFT_VALUES, np.int8)
        self._since_search += 1
        if near is None and self._since_search >= _SEARCH_EVERY:
            self._look_for(view)
        rests = self.base.tolist()
        # Nearly always the camera rests where it was when the plate was learned.
        self.straight = shifted(view, -self.base) if any(rests) else view
        away = self._away(self._estimator)
        now = [rest + steps for rest, steps in zip(rests, away, strict=True)]
        # Only far from its base, and for long, does the camera rest elsewhere: bringing views back costs time.
        self._far = [*self._far, now] if max(map(abs, away)) > _FAR else []
        if len(self._far) >= _LASTING:
            self.base, self._far = _bounded([sum(steps) / _LASTING for steps in zip(*self._far, strict=True)]), []
            self.straight = shifted(view, -self.base)
        return _bounded(now)

    def _look_for(self, view: Image) -> None:
        """Goes where the camera seems to be by whole pixels, unless that is where it was, which is known better."""
        found = self._search(view)
        if np.abs(found.astype(np.int16) - self.base).max() >= STEPS_IN_PIXEL:
            self.base, self._far = found, []
        self._since_search = 0

    def _away(self, estimator: _ShiftEstimator) -> list[float]:
        """Returns how far the view is from the base, steps across and down."""
        luma = self._luma
        cv2.cvtColor(self.straight, cv2.COLOR_RGB2GRAY, dst=luma)
        away = [STEPS_IN_PIXEL * pixels for pixels in estimator(luma, 0, 0)]
        if max(map(abs, away)) <= _TOO_FAR:
            return away
        whole = [round(steps / STEPS_IN_PIXEL) for steps in away]
        return [STEPS_IN_PIXEL * (pixels + rest) for pixels, rest in zip(whole, estimator(luma, *whole), strict=True)]

    def _says_nothing(self) -> bool:
        """Returns whether the plate has nothing to hold on to, in one direction at least."""
        sums = [[float((a * b * self._still).sum()) for a in self._gradients] for b in self._gradients]
        return bool(np.linalg.eigvalsh(np.array(sums))[0] <= _FLAT * max(1.0, float(self._still.sum())))

    def _search(self, view: Image) -> Shift:
        """Returns the best shift of all whole ones within reach; none where the one there is does nearly as well."""
        seen = _gradients(_log_luma(view))
        norm = sum(float((one**2 * self._still).sum()) for one in self._gradients)
        best, place, here = -1.0, (0, 0), 0.0
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
                if not across and not down:
                    here = score
        return _bounded([STEPS_IN_PIXEL * pixels for pixels in place] if best > here + _BETTER else (0, 0))


@dataclass(frozen=True, slots=True)
class _ShiftEstimator:
    """Estimates a shift by least squares, from the pixels of the plate that say most of it."""

    places: npt.NDArray[np.int64]
    """Where they are in the flattened picture, of shape (n,)."""
    logs: _Floats
    """Their log-luma, float32 of shape (n,)."""
    pull: _Floats
    """What a log-luma that is off by one says of the shift, pixels, float32 of shape (2, n)."""

    def __call__(self, luma: npt.NDArray[np.uint8], across: int, down: int) -> list[float]:
        """Returns how far a view is from so many whole pixels to the right and down, pixels, at most two either way.

        Args:
            luma: The view's, uint8 of shape (height, width).
            across: Whole pixels to the right, at most two either way.
            down: Whole pixels down, likewise.
        """
        places = self.places + (down * luma.shape[1] + across) if across or down else self.places
        difference: _Floats = LOGS.take(luma.reshape(-1).take(places))
        difference -= self.logs
        np.maximum(difference, -_CLIP, out=difference)
        np.minimum(difference, _CLIP, out=difference)
        # So few numbers are not spread over threads, which would take longer than the product does.
        return [max(-2.0, min(2.0, pixels)) for pixels in self.pull.dot(difference).tolist()]


def _choose(plate: Image, still: _Floats) -> _ShiftEstimator:
    """Returns an estimator on the pixels that say most of a shift.

    Args:
        plate: uint8 RGB of shape (height, width, 3).
        still: 1 where nothing moves and the border is out of reach, else 0, float32 of shape (height, width).
    """
    luma = _log_luma(plate).ravel()
    slopes = _slopes(plate)
    # Noise is the same in levels, not in logarithms: what is dark says less.
    visible = np.exp(luma) * still.ravel()
    kth = max(0, len(luma) - _ESTIMATED_FROM // 2)
    steepest = [np.argpartition(np.abs(one) * visible, kth)[kth:] for one in slopes]
    places = np.unique(np.concatenate(steepest))
    places = places[visible[places] > 0]
    known = np.concatenate([slopes[:, places], _smooth(places, still.shape)]).astype(np.float64)
    pull = (np.linalg.pinv(known @ known.T) @ known)[:SHIFT_VALUES]
    return _ShiftEstimator(places, luma[places], np.asarray(pull, np.float32))


def _smooth(places: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Returns what a smooth change of light does to the log-luma of some pixels, of shape (WAVES**2, n)."""
    rows, columns = (waves(side)[at].T for side, at in zip(shape, np.divmod(places, shape[1]), strict=True))
    return np.asarray((rows[:, np.newaxis] * columns / WAVE_ONE**2).reshape(-1, len(places)), np.float64)


def _slopes(plate: Image) -> _Floats:
    """Returns how much each pixel's log-luma rises when the picture is moved by a pixel: to the right, and down."""
    half = np.array(((STEPS_IN_PIXEL // 2, 0), (0, STEPS_IN_PIXEL // 2)), np.int8)
    rises = [_log_luma(shifted(plate, step)) - _log_luma(shifted(plate, -step)) for step in half]
    return np.asarray(rises, np.float32).reshape(SHIFT_VALUES, -1)


def _bounded(steps: Sequence[float]) -> Shift:
    most = _REACH * STEPS_IN_PIXEL
    return np.array([max(-most, min(most, round(one))) for one in steps], np.int8)


def _log_luma(picture: Image) -> _Floats:
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.LUT(gray, LOGS), np.float32)


def _gradients(luma: _Floats) -> tuple[_Floats, _Floats]:
    across, down = (cv2.Sobel(luma, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _inner(still: npt.NDArray[np.bool_]) -> _Floats:
    """Returns 1 where nothing moves nearby and the border is out of reach, float32 of the same shape."""
    far = cv2.erode(still.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    inner = np.zeros_like(far)
    inner[_REACH:-_REACH, _REACH:-_REACH] = far[_REACH:-_REACH, _REACH:-_REACH]
    return inner
