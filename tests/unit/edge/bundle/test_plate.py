"""The plate is an image of the view's size, or it is refused before anything of another size is decoded."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.bundle.plate import read_plate
from twin_edge.errors import IntegrityError
from twin_edge.pictures import encode_png

PICTURE = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
PNG = encode_png(PICTURE)


def header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_colors_survive_the_round_trip() -> None:
    np.testing.assert_array_equal(read_plate(PNG, 16, 24), PICTURE)


def test_gray_and_transparent_images_become_colors() -> None:
    gray = cv2.imencode(".png", PICTURE[..., 0])[1].tobytes()
    np.testing.assert_array_equal(read_plate(gray, 16, 24), PICTURE[..., :1].repeat(3, 2))
    transparent = cv2.imencode(".png", np.dstack([PICTURE[..., ::-1], PICTURE[..., 0]]))[1].tobytes()
    np.testing.assert_array_equal(read_plate(transparent, 16, 24), PICTURE)


@pytest.mark.parametrize(("height", "width"), [(24, 16), (16, 16), (128, 128)])
def test_other_sizes(height: int, width: int) -> None:
    with pytest.raises(IntegrityError, match="not of the view's size"):
        read_plate(PNG, height, width)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PNG[:20],
        cv2.imencode(".jpg", PICTURE)[1].tobytes(),
        cv2.imencode(".bmp", PICTURE)[1].tobytes(),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    ],
)
def test_no_png(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a PNG image"):
        read_plate(data, 16, 24)


@pytest.mark.parametrize("data", [header(24, 16), header(24, 16) + PNG[33:60], header(24, 16)[:24]])
def test_nothing_behind_the_header(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not readable"):
        read_plate(data, 16, 24)


def test_a_huge_image_is_refused_by_its_header() -> None:
    with pytest.raises(IntegrityError, match="not of the view's size"):
        read_plate(header(2**31 - 1, 2**31 - 1), 16, 24)


@pytest.mark.parametrize("length", [51, 8_000_000, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("name", [b"IDAT", b"tEXt", b"iCCP"])
def test_a_chunk_that_lies_about_its_length_is_not_allocated(name: bytes, length: int) -> None:
    data = PNG[:33] + struct.pack(">I", length) + name + b"x" * 50
    with pytest.raises(IntegrityError, match="not readable"):
        read_plate(data, 16, 24)


def _read(data: bytes) -> None:
    try:
        image = read_plate(data, 16, 24)
    except IntegrityError:
        return
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_image_or_refused(data: bytes, starts_well: bool) -> None:  # noqa: FBT001 - drawn
    _read(PNG[:33] + data if starts_well else data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_is_an_image_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(PNG)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    _read(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged))
