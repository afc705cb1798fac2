"""Pose: where the subject is in the view, as a similarity transform.

A pose maps the pixels of the canvas, on which the generator draws the subject always at the same place, to pixels of
the view: scaled and turned about the middle, then shifted. In a state it stands as four int8 values; for a fixed
subject it is the identity and takes none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

POSE_VALUES: Final = ("tx", "ty", "rotation", "log_scale")
"""Names of the pose values of a state, in their order."""

_LIMIT: Final = 127


@dataclass(frozen=True, slots=True)
class Pose:
    """A similarity transform from the canvas to the view."""

    tx: float = 0.0
    """Shift to the right, pixels of the view."""
    ty: float = 0.0
    """Shift down, pixels of the view."""
    rotation: float = 0.0
    """Turn from the x axis to the y axis, radians."""
    log_scale: float = 0.0
    """Natural logarithm of the magnification."""

    def then(self, change: Pose) -> Pose:
        """Returns the pose that applies a change on the canvas first, then this pose."""
        scale = math.exp(self.log_scale)
        cosine, sine = scale * math.cos(self.rotation), scale * math.sin(self.rotation)
        return Pose(
            self.tx + cosine * change.tx - sine * change.ty,
            self.ty + sine * change.tx + cosine * change.ty,
            self.rotation + change.rotation,
            self.log_scale + change.log_scale,
        )

    def inverse(self) -> Pose:
        """Returns the pose that undoes this one."""
        scale = math.exp(-self.log_scale)
        cosine, sine = scale * math.cos(self.rotation), scale * math.sin(self.rotation)
        return Pose(
            -cosine * self.tx - sine * self.ty,
            sine * self.tx - cosine * self.ty,
            -self.rotation,
            -self.log_scale,
        )

    def matrix(self, size: int, side: int | None = None) -> npt.NDArray[np.float64]:
        """Returns the 2x3 matrix from canvas pixels to view pixels, both images of `side` pixels a side.

        Args:
            size: Side of the view in whose pixels the shift is meant.
            side: Side of the images that are warped; `size` when None.
        """
        side = side or size
        scale = math.exp(self.log_scale)
        cosine, sine = scale * math.cos(self.rotation), scale * math.sin(self.rotation)
        middle, ratio = (side - 1) / 2, side / size
        return np.array(
            [
                [cosine, -sine, middle - cosine * middle + sine * middle + self.tx * ratio],
                [sine, cosine, middle - sine * middle - cosine * middle + self.ty * ratio],
            ]
        )

    def values(self) -> tuple[float, float, float, float]:
        """Returns the four numbers in the order of `POSE_VALUES`."""
        return (self.tx, self.ty, self.rotation, self.log_scale)


@dataclass(frozen=True, slots=True)
class PoseSpec:
    """How poses stand in states, and what the encoder says of them."""

    steps: tuple[float, float, float, float]
    """Size of one int8 step of each value in a state: pixels, pixels, radians, logarithm; > 0."""
    reach: tuple[float, float, float, float]
    """Change of each value that an encoder output of 1 stands for, in the same units; > 0."""

    def quantize(self, pose: Pose) -> npt.NDArray[np.int8]:
        """Returns the nearest pose values, int8 of shape (4,), saturated at -127 and 127."""
        # Number by number: for as few as four, arrays take longer.
        ratios = (value / step for value, step in zip(pose.values(), self.steps, strict=True))
        return np.array([0 if math.isnan(n) else round(min(max(n, -_LIMIT), _LIMIT)) for n in ratios], np.int8)

    def dequantize(self, values: npt.NDArray[np.int8]) -> Pose:
        """Returns the pose of pose values, int8 of shape (4,)."""
        return Pose(*(float(value) * step for value, step in zip(values, self.steps, strict=True)))

    def change(self, outputs: Sequence[float] | npt.NDArray[np.float32]) -> Pose:
        """Returns the change of pose that the encoder's first four outputs, real numbers, stand for."""
        return Pose(*(float(output) * reach for output, reach in zip(outputs, self.reach, strict=True)))
