"""Pictures for people: labelled rows of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image

_LABEL_WIDTH: Final = 96
_PAD: Final = 4
_INK: Final = (40, 40, 40)


def labelled_rows(rows: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """Returns a PNG with one row of images for each entry.

    Args:
        rows: Label to images, uint8 RGB of shape (n, height, width, 3), all of one size.
    """
    strips = []
    for label, images in rows.items():
        count, height, width = images.shape[:3]
        strip: Image = np.full((height + _PAD, _LABEL_WIDTH + count * (width + _PAD), 3), 255, np.uint8)
        cv2.putText(strip, label, (4, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
        for index, image in enumerate(images):
            left = _LABEL_WIDTH + index * (width + _PAD)
            strip[:height, left : left + width] = image
        strips.append(strip)
    return encode_png(np.concatenate(strips))


def encode_png(image: Image) -> bytes:
    """Returns an image, uint8 RGB of shape (height, width, 3), as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
