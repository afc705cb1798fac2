"""Resizing a frame down to a view: as good as area averaging, at a third of its cost.

OpenCV's area resize is slow unless it halves. So a frame is halved while it is at least three times as large as the
view, brought to exactly twice the view by bilinear interpolation, and halved once more: every pixel counts, and
detail that is too fine for the view becomes gray. What is left to less than twice the view is brought to it by bilinear
interpolation alone, as the frame of 640x480: that still reads every pixel. `benchmarks/denoise.py` measures it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from twin_edge.images import Image

_HALF: Final = 2
_LEAST_TO_HALVE: Final = 3.0
_LEAST_TO_DOUBLE: Final = 2.0
"""Below this factor bilinear interpolation alone reads every pixel, for a third of the price."""
_AT_MOST: Final = 4.0
"""Above this factor on one side, bilinear interpolation to twice the view would skip pixels."""


class Shrinker:
    """Resizes images of one size to another size; keeps its buffers, so one thread uses one shrinker.

    Args:
        source: (rows, columns) of the images, at least 1 each.
        target: (rows, columns) of the results, at least 1 each.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        self._target = target
        self._halves: list[Image] = []
        self._double: Image | None = None
        rows, columns = source
        while min(rows / target[0], columns / target[1]) >= _LEAST_TO_HALVE:
            rows, columns = rows // _HALF, columns // _HALF
            self._halves.append(_blank(rows, columns))
        least, most = sorted((rows / target[0], columns / target[1]))
        self._last = cv2.INTER_LINEAR
        if least >= _LEAST_TO_DOUBLE and most <= _AT_MOST:
            double = (_HALF * target[0], _HALF * target[1])
            self._double = _blank(*double) if (rows, columns) != double else None
            self._last = cv2.INTER_AREA
        elif least >= 1 and most > _HALF:
            # Squashed so much that one side cannot do without area averaging.
            self._last = cv2.INTER_AREA

    def __call__(self, image: Image, out: Image) -> None:
        """Resizes an image.

        Args:
            image: uint8 of the source's size, 3 channels.
            out: Where to put the result, uint8 of the target's size, 3 channels; its rows may lie apart.
        """
        for half in self._halves:
            rows, columns = half.shape[:2]
            # An odd row or column at the end stays out: halving is fast without remainder only.
            even = image[: _HALF * rows, : _HALF * columns]
            cv2.resize(even, (columns, rows), dst=half, interpolation=cv2.INTER_AREA)
            image = half
        if self._double is not None:
            cv2.resize(image, self._double.shape[1::-1], dst=self._double, interpolation=cv2.INTER_LINEAR)
            image = self._double
        cv2.resize(image, self._target[::-1], dst=out, interpolation=self._last)


def _blank(rows: int, columns: int) -> Image:
    return np.zeros((rows, columns, 3), np.uint8)
