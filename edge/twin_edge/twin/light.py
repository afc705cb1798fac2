"""Light: how a picture of a fixed scene is brighter or darker than its plate, as a smooth field of gains.

A lamp that is dimmed, a cloud, an automatic exposure or white balance change every pixel a little, and nothing of what
the scene does. So they are taken out of a view before it is encoded, and put back over the rendering: the logarithm of
the gain is a sum of nine cosines over the picture, and an offset for red and for blue. The model of the field is that
of additive log-illumination (Horn, "Determining lightness from an image", 1974).

Measuring may differ from processor to processor, as encoding may. What the values do to a rendering is computed in
whole numbers, and so is the same everywhere.
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

_WAVE_ONE: Final = 128
_INDEX_ONE: Final = 1024
"""Entries of the table of gains in a log-gain of 1."""
_INDEX_SHIFT: Final = 12
"""From STEPS_IN_ONE * _WAVE_ONE**2 to _INDEX_ONE."""
_GAIN_BITS: Final = 12
_CELL: Final = 4
"""Side of the cells whose means light is measured on, pixels."""
_ROUNDS: Final = 3
_USUAL: Final = 0.04
"""Log-gain by which a cell may be off before it counts less."""
_LIMIT: Final = 127
_RIDGE: Final = 1e-3

Values = npt.NDArray[np.int8]
"""The light of a frame, int8 of shape (LIGHT_VALUES,); all 0 is the plate's own light."""
_Floats = npt.NDArray[np.float32]


def _gain_table() -> npt.NDArray[np.int32]:
    """Returns gains by log-gain from -1 to 1, in 1/4096."""
    logs = np.arange(-_INDEX_ONE, _INDEX_ONE + 1) / _INDEX_ONE
    return np.asarray(np.rint(np.exp(logs) * (1 << _GAIN_BITS)), np.int32)


_GAINS: Final = _gain_table()


def waves(side: int) -> npt.NDArray[np.float64]:
    """Returns the cosines along a side, whole numbers of 1/128, float64 of shape (side, WAVES)."""
    places = (np.arange(side) + 0.5) / side
    return np.asarray(np.rint(_WAVE_ONE * np.cos(np.pi * np.outer(places, np.arange(WAVES)))), np.float64)


class Relighter:
    """Puts a light over pictures; keeps its buffers and the last field of gains, so one thread uses one.

    Args:
        height: Rows of the pictures.
        width: Columns.
    """

    def __init__(self, height: int, width: int) -> None:
        self._rows, self._columns = waves(height), waves(width)
        self._field: npt.NDArray[np.int32] = np.zeros((height, width, 3), np.int32)
        self._work: npt.NDArray[np.int32] = np.zeros((height, width, 3), np.int32)
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
        field, work = self._gains(light), self._work
        np.add(picture, DARKEST, out=work, dtype=np.int32, casting="unsafe")
        work *= field
        work += 1 << (_GAIN_BITS - 1)
        work >>= _GAIN_BITS
        work -= DARKEST
        np.clip(work, 0, 255, out=work)
        return work.astype(np.uint8)

    def _gains(self, light: Values) -> npt.NDArray[np.int32]:
        """Returns the gain of each value of a picture, in 1/4096."""
        name = light.tobytes()
        if name != self._of:
            whole = light.astype(np.float64)
            # Sums of whole numbers far below 2**53: exact, in whatever order they are added.
            sums = self._rows @ whole[: WAVES * WAVES].reshape(WAVES, WAVES) @ self._columns.T
            index = (sums.astype(np.int32) + (1 << (_INDEX_SHIFT - 1))) >> _INDEX_SHIFT
            red, blue = (int(value) * (_INDEX_ONE // STEPS_IN_ONE) for value in light[-2:])
            for channel, offset in enumerate((red, 0, blue)):
                within = np.clip(index + offset, -_INDEX_ONE, _INDEX_ONE)
                self._field[..., channel] = _GAINS[within + _INDEX_ONE]
            self._of = name
        return self._field


def log_gains(light: Values, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> _Floats:
    """Returns the log-gains of a light at places, without the rounding of `Relighter`.

    Args:
        light: int8 of shape (LIGHT_VALUES,).
        rows: Cosines along the rows, in 1/128, of shape (n, WAVES).
        columns: Cosines along the columns at the same places, of shape (n, WAVES).

    Returns:
        float32 of shape (n, 3), for red, green and blue.
    """
    products = (rows[:, :, np.newaxis] * columns[:, np.newaxis, :]).reshape(len(rows), -1)
    sums = products @ light[: WAVES * WAVES].astype(np.float64) / (_WAVE_ONE**2 * STEPS_IN_ONE)
    offsets = np.array((light[-2], 0, light[-1]), np.float64) / STEPS_IN_ONE
    return (sums[:, np.newaxis] + offsets).astype(np.float32)


class LightMeter:
    """Measures the light of views against a plate where nothing moves; one thread uses one.

    Args:
        plate: The scene in its own light, uint8 RGB of shape (height, width, 3); sides are multiples of 4.
        moving: Where things move, bool of shape (height, width): these places are left out.
    """

    def __init__(self, plate: Image, moving: npt.NDArray[np.bool_]) -> None:
        height, width = moving.shape
        self._size = (width // _CELL, height // _CELL)
        cells = moving[: self._size[1] * _CELL, : self._size[0] * _CELL]
        still = ~cells.reshape(self._size[1], _CELL, self._size[0], _CELL).any((1, 3)).ravel()
        if still.sum() < LIGHT_VALUES:  # Things move nearly everywhere: what moves is then an outlier, or it is not.
            still[:] = True
        self._still = still
        rows, columns = waves(self._size[1]), waves(self._size[0])
        basis = (rows[:, np.newaxis, :, np.newaxis] * columns[np.newaxis, :, np.newaxis, :]).reshape(len(still), -1)
        self._basis = (basis[still] / _WAVE_ONE**2).astype(np.float32)
        self._plate = self._logs(plate)
        self._ridge = _RIDGE * len(self._basis) * np.eye(WAVES * WAVES, dtype=np.float32)

    def __call__(self, view: Image) -> Values:
        """Returns the light of a view, uint8 RGB of the plate's shape, as int8 of shape (LIGHT_VALUES,)."""
        ratios = self._logs(view) - self._plate
        gray = ratios.mean(1)
        found, weights = np.zeros(WAVES * WAVES, np.float32), np.ones(len(gray), np.float32)
        for turn in range(_ROUNDS):
            if turn:
                # Cauchy's weights: what is no light, a hand or a thing that was moved, is far off and counts little.
                weights = 1 / (1 + np.square((gray - self._basis @ found) / np.float32(_USUAL)))
            weighed = self._basis * weights[:, np.newaxis]
            found = np.linalg.solve(weighed.T @ self._basis + self._ridge, weighed.T @ gray)
        # The gray of a view is its three channels': green has no offset, so what it is off goes to all of them.
        channels = (ratios - gray[:, np.newaxis]).T @ weights / weights.sum()
        found[0] += channels[1]
        values = np.concatenate([found, [channels[0] - channels[1], channels[2] - channels[1]]])
        return np.asarray(np.clip(np.rint(values * STEPS_IN_ONE), -_LIMIT, _LIMIT), np.int8)

    def _logs(self, view: Image) -> _Floats:
        small = cv2.resize(view, self._size, interpolation=cv2.INTER_AREA).reshape(-1, 3)[self._still]
        return np.asarray(np.log(small.astype(np.float32) + DARKEST), np.float32)
