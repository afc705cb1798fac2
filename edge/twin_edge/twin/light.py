"""Light: how a picture of a fixed scene is brighter or darker than its plate, as a smooth field of gains.

A lamp that is dimmed, a cloud, an automatic exposure or white balance change every pixel a little, and nothing of what
the scene does. So they are taken out of a view before it is encoded, and put back over the rendering: the logarithm of
the gain is a sum of nine cosines over the picture, and an offset for red and for blue. The model of the field is that
of additive log-illumination (Horn, "Determining lightness from an image", 1974).

Measuring may differ from processor to processor, as encoding may. What the values do to a rendering is computed in
whole numbers, and so is the same everywhere: in float32, which is fast, but of numbers that it holds exactly, so that
nothing is rounded but where it says so. docs/rendering.md has it for other languages.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.scene import LIGHT_VALUES, WAVES

STEPS_IN_ONE: Final = 256
"""int8 steps of a coefficient in a log-gain of 1: all together reach from 0.6 to 1.6 in each term."""
DARKEST: Final = 8
"""Gains act on pixel values plus this, so that black is not left out."""

WAVE_ONE: Final = 128
"""What stands for a cosine of 1 in `waves`."""
_INDEX_ONE: Final = 1024
"""Entries of the table of gains in a log-gain of 1."""
_INDEX_SHIFT: Final = 12
"""From STEPS_IN_ONE * WAVE_ONE**2 to _INDEX_ONE."""
_GAIN_BITS: Final = 12
_GRID: Final = 4
"""Gains are looked up once for so many pixels along each side, and interpolated between."""
_CELL: Final = 4
"""Side of the cells whose means light is measured on, pixels."""
_ROUNDS: Final = 3
_USUAL: Final = 0.04
"""Log-gain by which a cell may be off before it counts less."""
_LIMIT: Final = 127
_RIDGE: Final = 1e-3
_FAR: Final = 0.12
"""Log-gain that a smooth light leaves unexplained in few cells only."""
_FEW: Final = 0.02
_UNSPREAD: Final = 9216
"""Numbers in a matrix up to which OpenBLAS keeps its product with a vector to the calling thread."""
_THIRDS: Final = np.full(3, 1 / 3, np.float32)
_KEPT: Final = 1.0
"""Steps by which a light may be off before it is another."""
LOGS: Final = np.log(np.arange(256, dtype=np.float32) + np.float32(DARKEST))
"""Logarithms of the pixel values 0-255 plus `DARKEST`, float32 of shape (256,)."""

Values = npt.NDArray[np.int8]
"""The light of a frame, int8 of shape (LIGHT_VALUES,); all 0 is the plate's own light."""
_Floats = npt.NDArray[np.float32]


def _gain_table() -> _Floats:
    """Returns gains by log-gain from -1 to 1, whole numbers of 1/4096."""
    logs = np.arange(-_INDEX_ONE, _INDEX_ONE + 1) / _INDEX_ONE
    return np.asarray(np.rint(np.exp(logs) * (1 << _GAIN_BITS)), np.float32)


_GAINS: Final = _gain_table()
_ROUNDED: Final = 0.5
"""What is half a level above a whole number is rounded up, on every processor: by half of 1/4096 more."""


def waves(side: int, cell: int = 1) -> npt.NDArray[np.float64]:
    """Returns the cosines along a side, whole numbers of 1/128, float64 of shape (cells, WAVES).

    Args:
        side: Pixels.
        cell: Pixels of a cell; the last one may reach beyond the end. In its middle it is measured.
    """
    places = (np.arange(-(-side // cell)) + 0.5) * cell / side
    return np.asarray(np.rint(WAVE_ONE * np.cos(np.pi * np.outer(places, np.arange(WAVES)))), np.float64)


class Relighter:
    """Puts a light over pictures; keeps its buffers and the last field of gains, so one thread uses one.

    Args:
        height: Rows of the pictures.
        width: Columns.
    """

    def __init__(self, height: int, width: int) -> None:
        self._rows, self._columns = waves(height, _GRID), waves(width, _GRID)
        self._grid: _Floats = np.zeros((len(self._rows), len(self._columns), 3), np.float32)
        self._gain: _Floats = np.zeros((height, width, 3), np.float32)
        self._rest: _Floats = np.zeros_like(self._gain)
        self._product: _Floats = np.zeros_like(self._gain)
        self._of = b""

    def __call__(self, picture: Image, light: Values) -> Image:
        """Returns a picture in a light.

        Args:
            picture: uint8 RGB of shape (height, width, 3), in the plate's light.
            light: int8 of shape (LIGHT_VALUES,).

        Returns:
            uint8 RGB of the same shape; the picture itself in the plate's light.
        """
        if not light.any():
            return picture
        gain, rest = self.field(light)
        cv2.multiply(picture, gain, dst=self._product, dtype=cv2.CV_32F)
        return np.asarray(cv2.add(self._product, rest, dtype=cv2.CV_8U), np.uint8)

    def field(self, light: Values) -> tuple[_Floats, _Floats]:
        """Returns what a light does to pixel values: what they are multiplied by, and what is then added.

        Args:
            light: int8 of shape (LIGHT_VALUES,).

        Returns:
            Two of float32 and shape (height, width, 3), until the next light; the sum is rounded to the nearest whole
            number, which is never in doubt, and held within 0-255.
        """
        if light.tobytes() != self._of:
            self._of = light.tobytes()
            self._look_up(light)
        return self._gain, self._rest

    def _look_up(self, light: Values) -> None:
        """Makes the gain of each value, and what is to be added to it: (pixel + DARKEST) * gain - DARKEST."""
        whole = light.astype(np.float64)
        # Sums of whole numbers far below 2**53: exact, in whatever order they are added.
        sums = self._rows @ whole[: WAVES * WAVES].reshape(WAVES, WAVES) @ self._columns.T
        index = sums.astype(np.int64)
        index += (1 << (_INDEX_SHIFT - 1)) + (_INDEX_ONE << _INDEX_SHIFT)
        index >>= _INDEX_SHIFT
        red, blue = (int(value) * (_INDEX_ONE // STEPS_IN_ONE) for value in light[-2:])
        for channel, offset in enumerate((red, 0, blue)):
            # What is beyond the table is its end.
            self._grid[..., channel] = np.take(_GAINS, index + offset, mode="clip")
        height, width = self._gain.shape[:2]
        size = (_GRID * self._grid.shape[1], _GRID * self._grid.shape[0])
        # Between pixels of the grid lie eighths: the weights are 1/64, and the sums exact.
        gain = cv2.resize(self._grid, size, interpolation=cv2.INTER_LINEAR)[:height, :width]
        np.add(gain, _ROUNDED, out=self._gain)
        np.floor(self._gain, out=self._gain)
        self._gain *= 1 / (1 << _GAIN_BITS)
        np.multiply(self._gain, DARKEST, out=self._rest)
        self._rest += _ROUNDED / (1 << _GAIN_BITS) - DARKEST


def _product(matrix: _Floats, vector: _Floats) -> _Floats:
    """Returns a matrix product, made by this thread alone: a library that spreads it over threads takes longer."""
    if matrix.size <= _UNSPREAD:
        return np.asarray(matrix.dot(vector), np.float32)
    return np.asarray(np.einsum("ij,j->i", matrix, vector), np.float32)


class Gains:
    """The gains of lights at some places, without the rounding of `Relighter`: to take a light out of a view.

    Args:
        rows: Cosines along the rows, in 1/128, of shape (n, WAVES).
        columns: Cosines along the columns at the same places, of shape (n, WAVES).
    """

    def __init__(self, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> None:
        products = (rows[:, :, np.newaxis] * columns[:, np.newaxis, :]).reshape(len(rows), -1)
        self._products = (products / (WAVE_ONE**2 * STEPS_IN_ONE)).astype(np.float32)

    def inverse(self, light: Values) -> _Floats:
        """Returns one over the gains of a light, float32 of shape (n, 3), for red, green and blue."""
        gray = np.exp(_product(self._products, -light[: WAVES * WAVES].astype(np.float32)))
        red, blue = (np.exp(-light[-2:].astype(np.float32) / STEPS_IN_ONE)).tolist()
        return np.multiply.outer(gray, np.array((red, 1, blue), np.float32))


class LightMeter:
    """Measures the light of views against a plate where nothing moves; one thread uses one.

    Args:
        plate: The scene in its own light, uint8 RGB of shape (height, width, 3); sides are multiples of 4.
        moving: Where things move, bool of shape (height, width): these places are left out.
    """

    def __init__(self, plate: Image, moving: npt.NDArray[np.bool_]) -> None:
        height, width = moving.shape
        self._size = (width // _CELL, height // _CELL)
        self._half: Image = np.zeros((height // 2, width // 2, 3), np.uint8)
        self._small: Image = np.zeros((*self._size[::-1], 3), np.uint8)
        self._values = self._small.reshape(-1)
        cells = moving[: self._size[1] * _CELL, : self._size[0] * _CELL]
        still = ~cells.reshape(self._size[1], _CELL, self._size[0], _CELL).any((1, 3)).ravel()
        if still.sum() < LIGHT_VALUES:  # Things move nearly everywhere: what moves is then an outlier, or it is not.
            still[:] = True
        self._mean = np.full(np.count_nonzero(still), 1 / np.count_nonzero(still), np.float32)
        # One color after the other.
        self._places = np.flatnonzero(still) * 3 + np.arange(3)[:, np.newaxis]
        self._plate = self._logs(plate)
        rows, columns = waves(self._size[1]), waves(self._size[0])
        smooth = (rows[:, np.newaxis, :, np.newaxis] * columns[np.newaxis, :, np.newaxis, :]).reshape(len(still), -1)
        # What a camera that shakes does to the cells is no light, and would be taken for some.
        basis = np.concatenate([smooth[still] / WAVE_ONE**2, self._shakes(plate)], axis=1)
        self._basis = basis.astype(np.float32)
        self._ridge = np.diag(np.full(basis.shape[1], _RIDGE * len(basis), np.float32))
        self._solve = np.linalg.solve(self._basis.T @ self._basis + self._ridge, self._basis.T).astype(np.float32)

    def __call__(self, view: Image, near: Values | None = None) -> Values:
        """Returns the light of a view.

        Args:
            view: uint8 RGB of the plate's shape.
            near: The light of the frame before. It is kept while none of its values is off by more than a step: light
                that flickers between two steps costs bits, and a device that has to look up all gains anew time.

        Returns:
            int8 of shape (LIGHT_VALUES,).
        """
        ratios = self._logs(view)
        ratios -= self._plate
        gray = _product(ratios.T, _THIRDS)
        found = _product(self._solve, gray)
        missed = _product(self._basis, found)
        missed -= gray
        # Nearly always, least squares are enough; and mostly, the sum of squares already says so.
        enough = _FEW * len(gray)
        if missed.dot(missed) <= _FAR**2 * enough or np.count_nonzero(np.abs(missed) > _FAR) <= enough:
            colors = _product(ratios, self._mean)
        else:
            found, colors = self._without_outliers(ratios, gray, missed)
        red, green, blue = colors.tolist()
        values = [*found[: WAVES * WAVES].tolist(), red - green, blue - green]
        # The gray of a view is its three channels': green has no offset, so what it is off goes to all of them.
        values[0] += green - (red + green + blue) / 3
        steps = [STEPS_IN_ONE * value for value in values]
        if near is not None and all(abs(a - b) <= _KEPT for a, b in zip(steps, near.tolist(), strict=True)):
            return near
        return np.array([max(-_LIMIT, min(_LIMIT, round(one))) for one in steps], np.int8)

    def _without_outliers(self, ratios: _Floats, gray: _Floats, missed: _Floats) -> tuple[_Floats, _Floats]:
        """Returns coefficients, and the mean log-gain of each color, by Cauchy's weights.

        What is no light, a hand or a thing that was moved, counts little.
        """
        basis = self._basis
        for _ in range(_ROUNDS):
            weights = 1 / (1 + np.square(missed / np.float32(_USUAL)))
            weighed = basis * weights[:, np.newaxis]
            found = np.linalg.solve(weighed.T @ basis + self._ridge, weighed.T @ gray)
            missed = gray - basis @ found
        return np.asarray(found, np.float32), np.asarray(ratios @ weights / weights.sum(), np.float32)

    def _logs(self, view: Image) -> _Floats:
        """Returns the logarithms of the cells' means, float32 of shape (3, cells)."""
        # Halving twice is faster than taking a quarter.
        height, width = self._half.shape[:2]
        cv2.resize(view[: 2 * height, : 2 * width], (width, height), dst=self._half, interpolation=cv2.INTER_AREA)
        cv2.resize(self._half, self._size, dst=self._small, interpolation=cv2.INTER_AREA)
        return np.asarray(LOGS.take(self._values.take(self._places)), np.float32)

    def _shakes(self, plate: Image) -> _Floats:
        """Returns what a pixel to the right and down does to the cells' gray, float32 of shape (cells, 2)."""
        wide = np.asarray(cv2.copyMakeBorder(plate, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.uint8)
        height, width = plate.shape[:2]
        moved = [
            self._logs(wide[1 + down : 1 + down + height, 1 + across : 1 + across + width])
            for down, across in ((0, -1), (0, 1), (-1, 0), (1, 0))
        ]
        return np.stack([(moved[0] - moved[1]).mean(0) / 2, (moved[2] - moved[3]).mean(0) / 2], axis=1)
