"""When sums of whole numbers are certain: held against every way of rounding, over every sum there can be."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.bundle.graph import Scales, Tensor
from twin_edge.twin.exact.whole import InexactError, ends, whole_map


def tensor(scale: float, zero_point: int = 0, values: np.ndarray | None = None) -> Tensor:
    dtype = np.dtype(np.int8) if values is None else values.dtype
    shape = (1,) if values is None else values.shape
    return Tensor(shape, dtype, Scales(np.array([scale], np.float32), np.array([zero_point], np.int64), 0), values)


def away(value: Fraction) -> int:
    """Rounds, ties away from 0."""
    return int(abs(value) + Fraction(1, 2)) * (1 if value >= 0 else -1)


def twice(total: int, exponent: int) -> int:
    """Halves and rounds, and then takes the rest of the power and rounds again: the kernels of tflite-runtime."""
    if exponent >= 0:
        return total << exponent
    half = away(Fraction(total, 2))
    return away(Fraction(half, 2 ** (-exponent - 1)))


@given(
    st.lists(st.integers(-127, 127), min_size=1, max_size=2),
    st.integers(-300, 300),
    st.integers(-9, 1),
    st.sampled_from([1, 2, 4]),
)
@settings(max_examples=200)
def test_what_is_certain_is_rounded_alike_by_all(weights: list[int], bias: int, exponent: int, unit: int) -> None:
    values = np.array([[(weight // unit) * unit for weight in weights]], np.int8)
    found = whole_map(
        tensor(0.5),
        tensor(2.0**exponent, values=values),
        tensor(1, values=np.array([bias], np.int32)),
        tensor(0.5),
        0,
    )
    inputs = np.array(list(product(range(-128, 128, 3), repeat=len(weights))))
    sums = inputs @ values[0].astype(int) + bias
    exact = np.clip(np.rint(inputs.astype(np.float32) @ found.weights[0].astype(np.float32) + found.bias), -128, 127)
    np.testing.assert_array_equal(exact, np.clip(np.rint(sums * 2.0**exponent), -128, 127))
    if found.certain:
        for total in np.unique(sums):
            one = np.clip(np.rint(total * 2.0**exponent), -128, 127)
            assert one == np.clip(away(Fraction(int(total)) * Fraction(2) ** exponent), -128, 127)
            assert one == np.clip(twice(int(total), exponent), -128, 127)


def test_multiples_of_four_with_two_more_are_certain_but_for_one_power() -> None:
    values = np.array([[4, -8, 124]], np.int8)
    for exponent in range(-12, 3):
        found = whole_map(
            tensor(0.5), tensor(2.0**exponent, values=values), tensor(1, values=np.array([6], np.int32)), tensor(0.5), 0
        )
        assert found.certain == (exponent != -2)


def test_sums_too_large_for_float32_are_computed_in_float64() -> None:
    values = np.full((1, 4), 124, np.int8)
    bias = np.array([2**26 + 2], np.int32)
    found = whole_map(tensor(1), tensor(2.0**-9, values=values), tensor(1, values=bias), tensor(1), 0)
    assert found.weights.dtype == np.float64


def test_weights_with_a_zero_point_are_refused() -> None:
    with pytest.raises(InexactError, match="symmetric"):
        whole_map(tensor(1), tensor(1, 3, np.ones((1, 1), np.int8)), None, tensor(1), 0)


@pytest.mark.parametrize(
    ("scale", "zero_point", "activation", "expected"),
    [
        (0.1, 0, 0, (-128, 127)),
        (0.1, -128, 1, (0, 255)),
        (0.1, -128, 3, (0, 60)),
        (2 / 255, -1, 2, (-127, 127)),
        (2 / 254, 0, 2, (-127, 127)),
        (6 / 255, -128, 3, (0, 255)),
    ],
)
def test_activations_end_where_the_runtimes_end_them(
    scale: float, zero_point: int, activation: int, expected: tuple[float, float]
) -> None:
    assert ends(tensor(scale, zero_point), activation) == expected


def test_an_activation_that_ends_between_two_values_is_refused() -> None:
    with pytest.raises(InexactError, match="between two values"):
        ends(tensor(2.0 / 5, 0), 2)
