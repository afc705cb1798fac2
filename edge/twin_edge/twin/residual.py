"""What differs between a view and its rendering, cell by cell, apart from light.

Light is no event: a gain for each color that varies smoothly over the picture, and an offset, are fitted robustly to
the means of coarse cells and taken away before anything is compared. What is left is measured in fine cells, so that a
thin needle is not averaged away; in coarse ones, so that many small differences count together; and as the mean of
coarse cells, in which the grain and the sharp edges of a picture cancel and a wrong area stays. How sharp the view is,
beside the rendering, is one number more: a blurred view differs less from a soft rendering than a sharp one does.

Where the light of the view is part of the state, the rendering is in it already, and nothing is fitted.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.bundle.manifest import coarse_grid
from twin_edge.images import Image

MOST_CELLS: Final = 32
"""Most fine cells along a side."""
_FLOOR: Final = np.float32(4.0)
"""Squared levels that each cell's energy is raised by: differences below two levels are no news."""
_SMOOTH_FLOOR: Final = np.float32(1.0)
_UNIT: Final = np.float32(128.0)
_ROUNDS: Final = 2
_RIDGE: Final = np.diag(np.array((0.1, 0.4, 0.4, 0.1), np.float32))
_LIMITS: Final = np.array((32.0, 12.8, 12.8, 16.0), np.float32)
"""Most that light may change: a quarter in gain, a tenth of it across half the picture, 16 levels in offset."""
_LEAST_SPREAD: Final = np.float32(0.5)
_TUNING: Final = np.float32(2.0)
_SHARPNESS_FLOOR: Final = 1.0
_NOTHING: Final = np.float32(0)
_TERMS: Final = 4
_DIAGONAL: Final = ((0, 1, 2), (0, 1, 2))

Floats = npt.NDArray[np.float32]


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Returns the fine grid of a view: (columns, rows), each the most up to 32 that divides the view's side.

    No cell is less than two pixels wide, where the side is not that itself.

    Args:
        height: Rows of the view, at least 1.
        width: Columns of the view, at least 1.
    """
    columns, rows = (
        max(cells for cells in range(1, min(MOST_CELLS, max(1, side // 2)) + 1) if side % cells == 0)
        for side in (width, height)
    )
    return columns, rows


class ResidualMeter:
    """Measures residuals; keeps its buffers, so one thread uses one meter.

    Args:
        height: Rows of the view.
        width: Columns of the view.
        grid: Columns and rows of the fine grid; they divide width and height. That of `grid_of` when None.
        lit: Whether renderings are in their view's light.

    Attributes:
        rows: Rows of the fine grid.
        columns: Columns of the fine grid.
    """

    def __init__(self, height: int, width: int, grid: tuple[int, int] | None = None, *, lit: bool = False) -> None:
        self._compare = self._as_it_is if lit else self._apart_from_light
        self._fine = grid or grid_of(height, width)
        self.columns, self.rows = self._fine
        down, across = coarse_grid(self.rows, self.columns)
        self._coarse = (across, down)
        shape = (height, width, 3)
        self._seen, self._drawn = (np.zeros(shape, np.float32) for _ in range(2))
        # Whole rows at once: three values at a time are slow.
        self._drawn_rows = self._drawn.reshape(height, -1)
        self._row: Floats = np.zeros((width, 3), np.float32)
        self._axes = np.stack(_axes(self._fine), axis=-1) / _UNIT
        coarse_x, coarse_y = _axes(self._coarse)
        cells = down * across
        # For each color what its light may change: gain, slopes and offset; and last what is there.
        self._fit = np.ones((3, _TERMS + 1, cells), np.float32)
        self._coarse_axes = np.stack([coarse_x, coarse_y]).reshape(2, -1)
        self._pixels = height * width * 3
        split = self.rows * self.columns
        self._parts = (slice(0, split), slice(split, split + cells), slice(split + cells, split + 2 * cells))
        self._floors = np.full(split + 2 * cells, _FLOOR)
        self._floors[self._parts[2]] = _SMOOTH_FLOOR
        self._gain = np.zeros((3, 3), np.float32)
        self._less = np.eye(3, 4, dtype=np.float32)
        self._total = np.ones((1, 3), np.float32)

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where fine cells, coarse cells and means of coarse cells stand among the residuals; sharpness is last."""
        return self._parts

    def __call__(self, view: Image, rendering: Image) -> Floats:
        """Compares a view with its rendering.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            rendering: uint8 RGB of the same shape.

        Returns:
            float32 of shape (residuals,): square roots of the root mean square difference of the cells, levels,
            row by row, fine and coarse; the same of the coarse cells' means; and the logarithm of the view's mean
            squared gradient beside the rendering's.
        """
        energies, means, gain = self._compare(view, rendering)
        smooth = _shrunk(means, self._coarse)
        smooth *= smooth
        fine_part, coarse_part, smooth_part = self._parts
        features = np.empty(smooth_part.stop + 1, np.float32)
        cells = features[:-1]
        cells[fine_part] = energies.reshape(-1)
        cells[coarse_part] = _shrunk(energies, self._coarse).reshape(-1)
        cells[smooth_part] = _mixed(smooth, self._total).reshape(-1)
        np.maximum(cells, _NOTHING, out=cells)
        cells += self._floors
        np.sqrt(cells, out=cells)
        np.sqrt(cells, out=cells)
        features[-1] = math.log(
            (self._gradient(view) / gain**2 + _SHARPNESS_FLOOR) / (self._gradient(rendering) + _SHARPNESS_FLOOR)
        )
        return features

    def enlarged(self, residuals: Floats, times: float) -> Floats:
        """Returns what residuals would be if the squared differences were so many times as large.

        Args:
            residuals: float32 of shape (frames, residuals); how sharp the views are stays as it is.
            times: Above 0.
        """
        found = residuals.copy()
        cells = found[:, :-1]
        cells[:] = np.sqrt(np.sqrt((cells**4 - self._floors) * np.float32(times) + self._floors))
        return found

    def _as_it_is(self, view: Image, rendering: Image) -> tuple[Floats, Floats, float]:
        """Returns energies and means of the fine cells, and a gain of 1; see `_apart_from_light`."""
        apart = self._seen
        cv2.subtract(view, rendering, dst=apart, dtype=cv2.CV_32F)
        means = _shrunk(apart, self._fine)
        cv2.multiply(apart, apart, dst=apart)
        return _mixed(_shrunk(apart, self._fine), self._total), means, 1.0

    def _apart_from_light(self, view: Image, rendering: Image) -> tuple[Floats, Floats, float]:
        """Takes away what light makes of the difference.

        Returns:
            Mean squared difference of the fine cells, all colors together, float32 of shape (rows, columns); mean
            difference of each color, of shape (rows, columns, 3); the light's gain.
        """
        seen, drawn = self._seen, self._drawn
        np.copyto(seen, view)
        np.copyto(drawn, rendering)
        means, drawn_cells = _shrunk(seen, self._fine), _shrunk(drawn, self._fine)
        means -= drawn_cells
        light = self._light(_shrunk(means, self._coarse), _shrunk(drawn_cells, self._coarse))
        gains = light[:, 0] * (1 / _UNIT)
        self._row[:] = gains + 1
        self._drawn_rows *= self._row.reshape(-1)
        cv2.subtract(seen, drawn, dst=seen)
        cv2.multiply(seen, seen, dst=seen)
        squares = _shrunk(seen, self._fine)
        self._gain[_DIAGONAL] = gains
        means -= _mixed(drawn_cells, self._gain)
        # Grain and edges within a cell stay what they are; the mean of the cell is corrected by offset and slopes.
        squares -= means * means
        drawn_cells *= _mixed(self._axes, np.ascontiguousarray(light[:, 1:3]))
        means -= drawn_cells
        self._less[:, 3] = -light[:, 3]
        means = _mixed(means, self._less)
        squares += means * means
        gain = 1 + sum(gains.tolist()) / len(gains)
        # More light makes all that is left larger as well.
        self._total.fill(gain**-2)
        return _mixed(squares, self._total), means, gain

    def _gradient(self, image: Image) -> float:
        """Returns the mean squared difference of neighboring values, levels squared."""
        row, colors = image.reshape(1, -1), image.shape[2]
        # As one row that goes on from each end to the next beginning, which is then taken out again.
        across = cv2.norm(row[:, colors:], row[:, :-colors], cv2.NORM_L2SQR)
        down = 0.0
        if len(image) > 1:
            across -= cv2.norm(image[1:, :1], image[:-1, -1:], cv2.NORM_L2SQR)
            down = cv2.norm(image[1:], image[:-1], cv2.NORM_L2SQR)
        return (across + down) / self._pixels

    def _light(self, apart: Floats, drawn: Floats) -> Floats:
        """Returns what light changes, by color: gain and its slopes, levels at a level of 128, and offset, levels.

        Args:
            apart: Mean difference of the coarse cells, float32 of shape (rows, columns, 3).
            drawn: Mean of the rendering there.
        """
        fit, wanted = self._fit, self._fit[:, _TERMS]
        np.multiply(drawn.reshape(-1, 3).T, 1 / _UNIT, out=fit[:, 0])
        np.multiply(fit[:, :1], self._coarse_axes, out=fit[:, 1:3])
        wanted[:] = apart.reshape(-1, 3).T
        cells = wanted.shape[1]
        # Cells that nothing but an object can have made so different say little of light, from the start.
        sorted_in_part = wanted.copy()
        sorted_in_part.partition(cells // 2, axis=1)
        light = np.zeros((3, _TERMS + 1), np.float32)
        light[:, _TERMS - 1], light[:, _TERMS] = sorted_in_part[:, cells // 2], -1
        for _ in range(_ROUNDS):
            left = np.einsum("ki,kij->kj", light, fit)
            np.abs(left, out=left)
            spread = np.add.reduce(left, axis=1, keepdims=True)
            left *= 1 / (_TUNING / cells * spread + _TUNING * _LEAST_SPREAD)
            left *= left
            left += 1
            sums = (fit[:, :_TERMS] / left[:, np.newaxis]) @ fit.transpose(0, 2, 1)
            light[:, :_TERMS] = np.linalg.solve(sums[..., :_TERMS] + _RIDGE, sums[..., _TERMS:])[..., 0]
        found = light[:, :_TERMS]
        return np.maximum(np.minimum(found, _LIMITS), -_LIMITS)


def _shrunk(image: Floats, grid: tuple[int, int]) -> Floats:
    """Returns the means of the cells of a grid, float32 of shape (rows, columns, channels)."""
    return np.asarray(cv2.resize(image, grid, interpolation=cv2.INTER_AREA), np.float32)


def _mixed(image: Floats, matrix: Floats) -> Floats:
    """Returns a picture whose channels are a linear map of another's."""
    return np.asarray(cv2.transform(image, matrix), np.float32)


def _axes(grid: tuple[int, int]) -> tuple[Floats, Floats]:
    """Returns where the cells of a grid lie, -1 to 1, each of shape (rows, columns)."""
    x, y = ((2 * np.arange(cells, dtype=np.float32) + 1) / np.float32(cells) - 1 for cells in grid)
    across, down = np.meshgrid(x, y)
    return across, down
