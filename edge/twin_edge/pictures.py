"""Renderings as files: single ones, and sheets of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image

_MARGIN: Final = 12
_SPACING: Final = 8
_LINE_HEIGHT: Final = 15
_LABEL_PAD: Final = 5
_PAPER: Final = 250
_FRAME: Final = (205, 205, 205)
_INK: Final = (60, 60, 60)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.36
_LABEL_WIDTH: Final = 88
_LEAST_WIDTH: Final = 112
_GRAY: Final = 2


def encode_png(image: Image) -> bytes:
    """Returns an image, uint8 RGB of shape (height, width, 3) or gray of shape (height, width), as PNG."""
    ordered = image if image.ndim == _GRAY else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", ordered)[1].tobytes()


def contact_sheet(images: Sequence[Image], labels: Sequence[str], columns: int = 8) -> bytes:
    """Lays images out on one sheet, row by row.

    Args:
        images: At least one, each uint8 RGB of one shape (height, width, 3); small ones are enlarged.
        labels: What to write below each, ASCII; lines are separated by line feeds.
        columns: Images in a row, at least 1.

    Returns:
        The sheet as PNG.

    Raises:
        ValueError: There is no image, or another number of labels.
    """
    if not images or len(images) != len(labels) or columns < 1:
        raise ValueError(f"{len(images)} images with {len(labels)} labels in {columns} columns make no sheet")
    factor = max(1, -(-_LEAST_WIDTH // images[0].shape[1]))  # Labels are wider than small images.
    images = [image.repeat(factor, 0).repeat(factor, 1) for image in images]
    height, width = images[0].shape[:2]
    label_height = _LABEL_PAD + _LINE_HEIGHT * max(label.count("\n") + 1 for label in labels)
    step_x, step_y = width + _SPACING, height + label_height + _SPACING
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (2 * _MARGIN + rows * step_y - _SPACING, 2 * _MARGIN + columns * step_x - _SPACING, 3)
    sheet: Image = np.full(size, _PAPER, np.uint8)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        top, left = _MARGIN + i // columns * step_y, _MARGIN + i % columns * step_x
        cv2.rectangle(sheet, (left - 1, top - 1), (left + width, top + height), _FRAME, 1)
        sheet[top : top + height, left : left + width] = image
        for number, line in enumerate(label.split("\n"), 1):
            place = (left, top + height + _LABEL_PAD + number * _LINE_HEIGHT - 4)
            cv2.putText(sheet, line, place, _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return encode_png(sheet)


def labelled_rows(rows: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """Lays images out in rows that are compared from top to bottom.

    Args:
        rows: Label to images, uint8 RGB of shape (n, height, width, 3), all of one size.

    Returns:
        The sheet as PNG.
    """
    strips = []
    for label, images in rows.items():
        count, height, width = images.shape[:3]
        strip: Image = np.full((height + _SPACING, _LABEL_WIDTH + count * (width + _SPACING), 3), _PAPER, np.uint8)
        cv2.putText(strip, label, (_MARGIN, height // 2), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
        for index, image in enumerate(images):
            left = _LABEL_WIDTH + index * (width + _SPACING)
            strip[:height, left : left + width] = image
        strips.append(strip)
    return encode_png(np.concatenate(strips))
