"""What differs between a view and its rendering, cell by cell, apart from light.

Light is no event: a gain for each color that varies smoothly over the picture, and an offset, are fitted robustly to
the means of coarse cells and taken away before anything is compared. What is left is measured in fine cells, so that a
thin needle is not averaged away; in coarse ones, so that many small differences count together; and as the mean of
coarse cells, in which the grain and the sharp edges of a picture cancel and a wrong area stays. How sharp the view is,
beside the rendering, is one number more: a blurred view differs less from a soft rendering than a sharp one does.
"""

from __future__ import annotations

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
_SAME: Final = np.eye(3, dtype=np.float32)

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

    Attributes:
        rows: Rows of the fine grid.
        columns: Columns of the fine grid.
    """

    def __init__(self, height: int, width: int, grid: tuple[int, int] | None = None) -> None:
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
        self._basis = np.ones((3, 4, cells), np.float32)
        self._known = np.ones((3, cells, 5), np.float32)
        self._coarse_x, self._coarse_y = coarse_x.reshape(-1), coarse_y.reshape(-1)
        self._pixels = height * width * 3
        split = self.rows * self.columns
        self._parts = (slice(0, split), slice(split, split + cells), slice(split + cells, split + 2 * cells))

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
        seen, drawn = self._seen, self._drawn
        np.copyto(seen, view)
        np.copyto(drawn, rendering)
        means, drawn_cells = _shrunk(seen, self._fine), _shrunk(drawn, self._fine)
        means -= drawn_cells
        light = self._light(_shrunk(means, self._coarse), _shrunk(drawn_cells, self._coarse))
        gains = light[:, 0] / _UNIT
        self._row[:] = gains + 1
        self._drawn_rows *= self._row.reshape(-1)
        cv2.subtract(seen, drawn, dst=seen)
        cv2.multiply(seen, seen, dst=seen)
        squares = _shrunk(seen, self._fine)
        means -= _mixed(drawn_cells, np.diag(gains))
        # Grain and edges within a cell stay what they are; the mean of the cell is corrected by offset and slopes.
        squares -= means * means
        slopes = _mixed(self._axes, np.ascontiguousarray(light[:, 1:3]))
        slopes *= drawn_cells
        means -= slopes
        means = _mixed(means, np.concatenate([_SAME, -light[:, 3:]], axis=1))
        squares += means * means
        gain = 1 + sum(gains.tolist()) / len(gains)
        # More light makes all that is left larger as well.
        total = np.full((1, 3), gain**-2, np.float32)
        energies = _mixed(squares, total)
        coarse = _shrunk(energies, self._coarse)
        smooth = _shrunk(means, self._coarse)
        smooth_energies = _mixed(smooth * smooth, total)
        fine_part, coarse_part, smooth_part = self._parts
        features = np.empty(smooth_part.stop + 1, np.float32)
        features[fine_part] = np.maximum(energies, 0).reshape(-1) + _FLOOR
        features[coarse_part] = np.maximum(coarse, 0).reshape(-1) + _FLOOR
        features[smooth_part] = smooth_energies.reshape(-1) + _SMOOTH_FLOOR
        np.sqrt(features[:-1], out=features[:-1])
        np.sqrt(features[:-1], out=features[:-1])
        features[-1] = np.log(
            (self._gradient(view) / gain**2 + _SHARPNESS_FLOOR) / (self._gradient(rendering) + _SHARPNESS_FLOOR)
        )
        return features

    def _gradient(self, image: Image) -> float:
        """Returns the mean squared difference of neighboring values, levels squared."""
        across = cv2.norm(image[:, 1:], image[:, :-1], cv2.NORM_L2SQR) if image.shape[1] > 1 else 0.0
        down = cv2.norm(image[1:], image[:-1], cv2.NORM_L2SQR) if image.shape[0] > 1 else 0.0
        return (across + down) / self._pixels

    def _light(self, apart: Floats, drawn: Floats) -> Floats:
        """Returns what light changes, by color: gain and its slopes, levels at a level of 128, and offset, levels.

        Args:
            apart: Mean difference of the coarse cells, float32 of shape (rows, columns, 3).
            drawn: Mean of the rendering there.
        """
        wanted = np.ascontiguousarray(apart.reshape(-1, 3).T)
        basis, known = self._basis, self._known
        np.divide(drawn.reshape(-1, 3).T, _UNIT, out=basis[:, 0])
        np.multiply(basis[:, 0], self._coarse_x, out=basis[:, 1])
        np.multiply(basis[:, 0], self._coarse_y, out=basis[:, 2])
        known[..., :4] = basis.transpose(0, 2, 1)
        known[..., 4] = wanted
        # Cells that nothing but an object can have made so different say little of light, from the start.
        cells = wanted.shape[1]
        found = np.zeros((3, 4), np.float32)
        found[:, 3] = np.partition(wanted, cells // 2, axis=1)[:, cells // 2]
        for _ in range(_ROUNDS):
            left = wanted - np.einsum("ki,kij->kj", found, basis)
            spread = np.einsum("kj->k", np.abs(left)) / cells + _LEAST_SPREAD
            left /= (_TUNING * spread)[:, np.newaxis]
            left *= left
            left += 1
            sums = (basis / left[:, np.newaxis]) @ known
            found = np.linalg.solve(sums[..., :4] + _RIDGE, sums[..., 4:])[..., 0]
        return np.clip(found, -_LIMITS, _LIMITS)


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
