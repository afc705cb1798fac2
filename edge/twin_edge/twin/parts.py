"""Parts: regions of a fixed scene that move each by itself, over a plate that rests.

The encoder sees every part cut out of the view, in the plate's light and of one small size, one below the other: the
sheet. The generator draws the pixels of all parts, one part after the other, in luma and two differences of colours
(YCoCg: Malvar and Sullivan, 2003), since the latter need few weights; they are laid over the plate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.scene import LIGHT_VALUES, SHIFT_VALUES, WAVES
from twin_edge.twin.light import DARKEST, Gains, LightMeter, Relighter, Values, waves
from twin_edge.twin.shift import ShiftMeter, shifted

Labels = npt.NDArray[np.uint8]
"""Which part each pixel belongs to, uint8 of shape (height, width): 0 is the plate, then parts from 1 on."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a view: rows `top` to `bottom` and columns `left` to `right`, ends not included, pixels."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def of(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns what of a picture lies in it."""
        return picture[self.top : self.bottom, self.left : self.right]


def count_parts(labels: Labels) -> int:
    """Returns how many parts a map of labels has."""
    return int(labels.max())


def boxes_of(labels: Labels) -> tuple[Box, ...]:
    """Returns the rectangle around each part; every label from 1 to the largest must be there."""
    found = []
    for label in range(1, count_parts(labels) + 1):
        rows, columns = np.nonzero(labels == label)
        found.append(Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1))
    return tuple(found)


def pixels_of(labels: Labels) -> npt.NDArray[np.int64]:
    """Returns the places that the generator draws, in its order, as indices into the flattened map, of shape (n,)."""
    flat = labels.ravel()
    return np.concatenate([np.flatnonzero(flat == label) for label in range(1, count_parts(labels) + 1)])


class Sheet:
    """Cuts the parts out of views; keeps its buffers, so one thread uses one.

    Args:
        plate: uint8 RGB of shape (height, width, 3).
        labels: The parts.
        side: Height and width of each part on the sheet, pixels.
    """

    def __init__(self, plate: Image, labels: Labels, side: int) -> None:
        height, width = labels.shape
        boxes = boxes_of(labels)
        self._size = (side, side)
        self._sheet: Image = np.zeros((len(boxes) * side, side, 3), np.uint8)
        self._relit = np.zeros(self._sheet.shape, np.float32)
        parts = self._sheet.reshape(len(boxes), side, side, 3)
        self._cuts = [(box, part, _interpolation(box, side)) for box, part in zip(boxes, parts, strict=True)]
        self._cut(plate)
        rows, columns = waves(height), waves(width)
        places = [(_places(box.top, box.bottom, side), _places(box.left, box.right, side)) for box in boxes]
        along = np.concatenate([np.repeat(_between(rows, down), side, axis=0) for down, _ in places])
        across = np.concatenate([np.tile(_between(columns, right), (side, 1)) for _, right in places])
        self._light = Gains(along, across)
        own = [
            cv2.resize((box.of(labels) == number).astype(np.float32), (side, side), interpolation=interpolation)
            for number, (box, _, interpolation) in enumerate(self._cuts, 1)
        ]
        self._own = np.concatenate(own)[..., np.newaxis]
        self._others = (1 - self._own) * self._sheet - self._own * np.float32(DARKEST)
        self._of = b""
        self._gains = np.zeros(self._sheet.shape, np.float32)
        self._rest = np.zeros_like(self._gains)

    def __call__(self, view: Image, light: Values) -> Image:
        """Returns the sheet of a view, uint8 RGB of shape (parts * side, side, 3); the next call overwrites it.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            light: Its light, int8 of shape (LIGHT_VALUES,).
        """
        self._cut(view)
        if light.tobytes() != self._of:
            self._of = light.tobytes()
            np.multiply(self._light.inverse(light).reshape(self._sheet.shape), self._own, out=self._gains)
            np.multiply(self._gains, DARKEST, out=self._rest)
            self._rest += self._others
        cv2.multiply(self._sheet, self._gains, dst=self._relit, dtype=cv2.CV_32F)
        cv2.add(self._relit, self._rest, dst=self._sheet, dtype=cv2.CV_8U)
        return self._sheet

    def _cut(self, view: Image) -> None:
        size = self._size
        for box, part, interpolation in self._cuts:
            cv2.resize(box.of(view), size, dst=part, interpolation=interpolation)


class PartsScene:
    """What is done around encoder and generator of a twin of parts; one thread uses one.

    Args:
        plate: The scene without what moves, uint8 RGB of shape (height, width, 3).
        labels: The parts.
        side: Height and width of each part as the encoder sees it, pixels; 0 for one who only renders.
    """

    def __init__(self, plate: Image, labels: Labels, side: int) -> None:
        self._plate = plate
        self._pixels = pixels_of(labels)
        self._relight = Relighter(*labels.shape)
        # The plate stays in its light from rendering to rendering: a light lasts for many, and parts come and go.
        self._light = bytes(LIGHT_VALUES)
        self._is_lit = False
        self._gains, self._rests, self._product = (np.zeros((len(self._pixels), 3), np.float32) for _ in range(3))
        # Four bytes to a pixel are put to their places as one number, three are not.
        self._wide: Image = np.asarray(cv2.cvtColor(plate, cv2.COLOR_RGB2RGBA), np.uint8)
        self._flat: npt.NDArray[np.uint32] = self._wide.reshape(-1).view(np.uint32)
        if side:
            moving = labels > 0
            self._sheet = Sheet(plate, labels, side)
            self._measure_light = LightMeter(plate, moving)
            self._measure_shift = ShiftMeter(plate, moving)

    def look(self, view: Image, near: npt.NDArray[np.int8] | None) -> tuple[npt.NDArray[np.int8], Image]:
        """Returns what a view says of camera and light, and the sheet for the encoder.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            near: The scene values of the frame before; None at the start, when the camera is looked for everywhere.

        Returns:
            int8 of shape (SCENE_VALUES,), and uint8 RGB of shape (parts * side, side, 3).
        """
        shift = self._measure_shift(view, None if near is None else near[:SHIFT_VALUES])
        return self._read(self._measure_shift.straight, shift, None if near is None else near[SHIFT_VALUES:])

    def look_at(self, view: Image, shift: npt.NDArray[np.int8]) -> tuple[npt.NDArray[np.int8], Image]:
        """Does what `look` does where the camera's shift is known, int8 of shape (SHIFT_VALUES,)."""
        return self._read(shifted(view, -shift), shift, None)

    def _read(
        self, straight: Image, shift: npt.NDArray[np.int8], near: npt.NDArray[np.int8] | None
    ) -> tuple[npt.NDArray[np.int8], Image]:
        light = self._measure_light(straight, near)
        return np.concatenate([shift, light]), self._sheet(straight, light)

    def compose(self, drawn: Image, scene: npt.NDArray[np.int8]) -> Image:
        """Returns the rendering.

        Args:
            drawn: Pixels of the parts, uint8 YCoCg of shape (n, 3); see `to_rgb`.
            scene: Scene values, int8 of shape (SCENE_VALUES,).

        Returns:
            uint8 RGB of shape (height, width, 3).
        """
        light = scene[SHIFT_VALUES:]
        if light.tobytes() != self._light:
            self._put_into(light)
        colors = to_rgb(drawn)
        if self._is_lit:
            cv2.multiply(colors, self._gains, dst=self._product, dtype=cv2.CV_32F)
            cv2.add(self._product, self._rests, dst=colors, dtype=cv2.CV_8U)
        wide = cv2.cvtColor(colors[np.newaxis], cv2.COLOR_RGB2RGBA)
        self._flat[self._pixels] = wide.reshape(-1).view(np.uint32)
        canvas = np.asarray(cv2.cvtColor(self._wide, cv2.COLOR_RGBA2RGB), np.uint8)
        return shifted(canvas, scene[:SHIFT_VALUES])

    def _put_into(self, light: Values) -> None:
        """Puts the plate into another light, and takes what it does to the pixels of the parts."""
        self._light, self._is_lit = light.tobytes(), bool(light.any())
        cv2.cvtColor(self._relight(self._plate, light), cv2.COLOR_RGB2RGBA, dst=self._wide)
        if self._is_lit:
            for part, whole in zip((self._gains, self._rests), self._relight.field(light), strict=True):
                whole.reshape(-1, 3).take(self._pixels, axis=0, out=part, mode="clip")


def to_rgb(drawn: Image) -> Image:
    """Returns pixels as RGB, in whole numbers.

    Args:
        drawn: Luma, 0-255, and the differences of orange and green, 128 for none, uint8 of shape (n, 3).

    Returns:
        uint8 of shape (n, 3).
    """
    return np.asarray(cv2.transform(drawn[np.newaxis], _TO_RGB)[0], np.uint8)


TO_YCOCG: Final = np.array([[0.25, 0.5, -0.25], [0.5, 0.0, 0.5], [0.25, -0.5, -0.25]], np.float32)
"""What one level of red, green and blue adds to luma, to the difference of orange and to that of green: the other way
than `to_rgb`, float32 of shape (3, 3)."""
_TO_RGB: Final = np.array([[1, 1, -1, 0], [1, 0, 1, -128], [1, -1, -1, 256]], np.float32)
"""Whole numbers, so that nothing is rounded."""


def _places(first: int, last: int, count: int) -> npt.NDArray[np.float64]:
    """Returns the centres of `count` equal stretches from `first` to `last`, in pixels."""
    return first + (np.arange(count) + 0.5) * (last - first) / count - 0.5


def _between(values: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns cosines at places between pixels, of shape (n, WAVES)."""
    at = np.arange(len(values))
    return np.stack([np.interp(places, at, values[:, wave]) for wave in range(WAVES)], axis=1)


def _interpolation(box: Box, side: int) -> int:
    """Returns how a rectangle is brought to a square: where it is smaller than that, by interpolation."""
    return cv2.INTER_AREA if min(box.height, box.width) >= side else cv2.INTER_LINEAR
