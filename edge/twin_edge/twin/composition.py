"""Composition: the canvas that the generator drew, put by its pose over the plate."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.pose import Pose

_COVERAGE: Final = 3
_WHOLE: Final = 255


class Compositor:
    """Puts canvases over a plate; keeps its buffers, so one thread uses one compositor.

    Args:
        plate: The learned background, uint8 RGB of shape (size, size, 3).
    """

    def __init__(self, plate: Image) -> None:
        self._plate = plate.astype(np.int16)
        self._size = plate.shape[0]
        self._warped = np.zeros((*plate.shape[:2], 4), np.uint8)
        self._difference = np.zeros(plate.shape, np.int16)
        self._product: npt.NDArray[np.int32] = np.zeros(plate.shape, np.int32)

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
        # plate + coverage * (colour - plate), rounded, in integers: alike on every processor and in a browser.
        np.subtract(self._warped[..., :_COVERAGE], self._plate, out=self._difference)
        np.multiply(self._difference, self._warped[..., _COVERAGE:], out=self._product, dtype=np.int32)
        self._product += _WHOLE // 2
        self._product //= _WHOLE
        self._product += self._plate
        return self._product.astype(np.uint8)
