"""Quantization rounds and saturates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.models import Quantization
from twin_edge.models.networks import to_pixels


def test_rounds_to_the_nearest_and_saturates() -> None:
    quantization = Quantization(0.1, -3)
    values = quantization.quantize([0.0, 0.04, 0.06, 1e9, -1e9])
    np.testing.assert_array_equal(values, np.array([-3, -3, -2, 127, -128], np.int8))


@given(st.integers(-128, 127), st.floats(1e-4, 10), st.integers(-128, 127))
def test_int8_survives_the_round_trip(value: int, scale: float, zero_point: int) -> None:
    quantization = Quantization(scale, zero_point)
    values = np.array([value], np.int8)
    np.testing.assert_array_equal(quantization.quantize(quantization.dequantize(values)), values)


def test_renderings_are_rounded_the_same_way_wherever_they_lie() -> None:
    """Int8 outputs of step 2/255 lie halfway between two pixel values: all of them go up, none by chance."""
    steps = np.arange(-128, 127)
    output = ((steps + 1) * np.float32(2 / 255)).astype(np.float32)
    for ulps in (-1, 0, 1):
        near = output if ulps == 0 else np.nextafter(output, np.float32(ulps * 9))
        pixels = to_pixels(np.repeat(near.reshape(1, 1, -1, 1), 3, axis=3))
        np.testing.assert_array_equal(pixels[0, :, 0], steps + 129)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
def test_renderings_are_nearest_and_saturate(values: list[float]) -> None:
    output = np.array(values, np.float32).reshape(1, 1, -1, 1)
    exact = (output[0, 0, :, 0].astype(float) + 1) * 127.5
    pixels = to_pixels(np.repeat(output, 3, axis=3))[0, :, 0]
    assert np.abs(pixels - exact).max() <= 0.5 + 1 / 64
    assert to_pixels(np.full((1, 1, 1, 3), 1.004, np.float32)).max() == 255
