"""Quantization rounds and saturates."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.models import Quantization


def test_rounds_to_the_nearest_and_saturates() -> None:
    quantization = Quantization(0.1, -3)
    values = quantization.quantize([0.0, 0.04, 0.06, 1e9, -1e9])
    np.testing.assert_array_equal(values, np.array([-3, -3, -2, 127, -128], np.int8))


@given(st.integers(-128, 127), st.floats(1e-4, 10), st.integers(-128, 127))
def test_int8_survives_the_round_trip(value: int, scale: float, zero_point: int) -> None:
    quantization = Quantization(scale, zero_point)
    values = np.array([value], np.int8)
    np.testing.assert_array_equal(quantization.quantize(quantization.dequantize(values)), values)
