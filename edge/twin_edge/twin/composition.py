"""Composition: the canvas that the generator drew, put by its pose over the plate."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.pose import Pose

_COVERAGE: Final = 3
_HALF: Final = 128


class Compositor:
    """Puts canvases over a plate; keeps its buffers, so one thread uses one compositor.

    Args:
        plate: The learned background, uint8 RGB of shape (size, size, 3).
    """

    def __init__(self, plate: Image) -> None:
        self._plate = plate
        self._size = plate.shape[0]
        self._warped: Image = np.zeros((*plate.shape[:2], 4), np.uint8)
        self._colour: Image = np.zeros_like(plate)
        self._coverage: Image = np.zeros_like(plate)
        self._sum: npt.NDArray[np.uint16] = np.zeros(plate.shape, np.uint16)
        self._rest: npt.NDArray[np.uint16] = np.zeros(plate.shape, np.uint16)

    def __call__(self, canvas: Image, pose: Pose) -> Image:
        """Returns the rendering, uint8 RGB of shape (size, size, 3).

        Args:
            canvas: Colour and coverage, uint8 RGBA of shape (size, size, 4).
            pose: Where the canvas goes. What it does not reach is continued from its edges.
        """
        size = (self._size, self._size)
        flags = cv2.INTER_LINEAR
        cv2.warpAffine(
            canvas, pose.matrix(self._size), size, dst=self._warped, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        # coverage * colour + (255 - coverage) * plate, over 255 and rounded, in integers: alike on every processor and
        # in a browser. x / 255 is (x + 128 + ((x + 128) >> 8)) >> 8 for every x that can come up here.
        cv2.cvtColor(self._warped, cv2.COLOR_RGBA2RGB, dst=self._colour)
        cv2.cvtColor(cv2.extractChannel(self._warped, _COVERAGE), cv2.COLOR_GRAY2RGB, dst=self._coverage)
        cv2.multiply(self._colour, self._coverage, dst=self._sum, dtype=cv2.CV_16U)
        cv2.bitwise_not(self._coverage, dst=self._coverage)
        cv2.multiply(self._plate, self._coverage, dst=self._rest, dtype=cv2.CV_16U)
        cv2.add(self._sum, self._rest, dst=self._sum)
        self._sum += _HALF
        np.right_shift(self._sum, 8, out=self._rest)
        self._sum += self._rest
        self._sum >>= 8
        return self._sum.astype(np.uint8)
