"""The plate as a member of a bundle: a PNG whose size is known before it is decoded."""

from __future__ import annotations

import struct
from typing import Final

import cv2
import numpy as np

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
    start = len(_SIGNATURE)
    if not data.startswith(_SIGNATURE) or len(data) < start + _SIZE.size:
        raise IntegrityError("the plate is not a PNG image", fix=_AGAIN)
    if _SIZE.unpack_from(data, start) != (width, height):
        raise IntegrityError("the plate is not of the view's size", fix=_AGAIN)
    if not _are_chunks_whole(data):
        raise IntegrityError("the plate is not readable", fix=_AGAIN)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise IntegrityError("the plate is not readable", fix=_AGAIN) from error
    if np.shape(image) != (height, width, 3):
        raise IntegrityError("the plate is not readable", fix=_AGAIN)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


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
