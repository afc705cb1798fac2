"""Plate and map of parts as members of a bundle: PNG images whose size is known before they are decoded."""

from __future__ import annotations

import struct
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.errors import IntegrityError
from twin_edge.images import Image

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_SIZE: Final = struct.Struct(">II")
_CHUNK: Final = struct.Struct(">I4s")
_CHUNKS: Final = frozenset({b"IHDR", b"IDAT", b"IEND"})
_FIRST_CHUNK: Final = 8
_CHECKSUM_BYTES: Final = 4
_AGAIN: Final = "get the bundle again from where it was made"


def read_plate(data: bytes, height: int, width: int) -> Image:
    """Reads an untrusted plate.

    Args:
        data: The member's bytes.
        height: Rows of the view.
        width: Columns of the view.

    Returns:
        uint8 RGB of shape (height, width, 3).

    Raises:
        IntegrityError: It is no PNG, or of another size.
    """
    image = _decoded(data, height, width, "plate", cv2.IMREAD_COLOR)
    if image.shape != (height, width, 3):
        raise IntegrityError("the plate is not readable", fix=_AGAIN)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_labels(data: bytes, height: int, width: int, count: int) -> npt.NDArray[np.uint8]:
    """Reads an untrusted map of parts.

    Args:
        data: The member's bytes.
        height: Rows of the view.
        width: Columns of the view.
        count: Parts that it has to have.

    Returns:
        uint8 of shape (height, width): 0 for the plate, then parts from 1 to `count`, each somewhere.

    Raises:
        IntegrityError: It is no PNG, of another size, or has other labels.
    """
    image = _decoded(data, height, width, "map of parts", cv2.IMREAD_UNCHANGED)
    if image.shape != (height, width) or image.dtype != np.uint8:
        raise IntegrityError("the map of parts is not readable", fix=_AGAIN)
    found = np.flatnonzero(np.bincount(image.ravel(), minlength=2)[1:])
    if not np.array_equal(found, np.arange(count)):
        raise IntegrityError(f"the map of parts has other labels than 1 to {count}", fix=_AGAIN)
    return image


def _decoded(data: bytes, height: int, width: int, what: str, flags: int) -> npt.NDArray[np.uint8]:
    start = len(_SIGNATURE)
    if not data.startswith(_SIGNATURE) or len(data) < start + _SIZE.size:
        raise IntegrityError(f"the {what} is not a PNG image", fix=_AGAIN)
    if _SIZE.unpack_from(data, start) != (width, height):
        raise IntegrityError(f"the {what} is not of the view's size", fix=_AGAIN)
    if not _are_chunks_whole(data):
        raise IntegrityError(f"the {what} is not readable", fix=_AGAIN)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise IntegrityError(f"the {what} is not readable", fix=_AGAIN) from error
    if image is None:
        raise IntegrityError(f"the {what} is not readable", fix=_AGAIN)
    return np.asarray(image, np.uint8) if image.dtype == np.uint8 else np.zeros(0, np.uint8)


def _are_chunks_whole(data: bytes) -> bool:
    """Whether a PNG is made of the chunks of a plain image, each as long as it says.

    OpenCV allocates whatever length a chunk claims, up to gigabytes, before it reads it.
    """
    position, name = _FIRST_CHUNK, b""
    while len(data) - position >= _CHUNK.size:
        length, name = _CHUNK.unpack_from(data, position)
        position += _CHUNK.size + length + _CHECKSUM_BYTES
        if name not in _CHUNKS:
            return False
    return position == len(data) and name == b"IEND"
