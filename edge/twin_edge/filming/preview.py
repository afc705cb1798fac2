"""The framing as a picture: the frame, and on it what the twin will see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from twin_edge.files import write_atomic
from twin_edge.images import Image
from twin_edge.pictures import encode_png
from twin_edge.preprocess.region import to_fractions
from twin_edge.preprocess.view import Plan, ViewSpec

_LONG_SIDE: Final = 800
_DARKER: Final = 0.45
_LINE: Final = (60, 220, 60)


def framed(frame: Image, spec: ViewSpec) -> Image:
    """Returns a frame with what becomes the view in a rectangle, and the rest darker.

    Args:
        frame: uint8 BGR of shape (rows, columns, 3).
        spec: How frames become views.
    """
    rows, columns = Plan(spec, (frame.shape[0], frame.shape[1])).source
    picture: Image = np.asarray(frame * _DARKER, np.uint8)
    picture[rows, columns] = frame[rows, columns]
    corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
    cv2.rectangle(picture, *corners, _LINE, max(1, max(frame.shape) // 400))
    return picture


def write_preview(path: Path, frame: Image, region: Sequence[float] | None) -> None:
    """Writes the framing as PNG.

    Args:
        path: Where to.
        frame: uint8 BGR of shape (rows, columns, 3).
        region: x, y, width and height, fractions or pixels; None for the whole frame.

    Raises:
        ConfigError: That is no region of this frame.
        TwinEdgeError: It could not be written.
    """
    fractions = None if region is None else to_fractions(region, (frame.shape[0], frame.shape[1]))
    picture = framed(frame, ViewSpec(region=fractions))
    scale = _LONG_SIDE / max(picture.shape)
    if scale < 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    write_atomic(path, encode_png(np.asarray(picture[..., ::-1], np.uint8)), durable=False)
