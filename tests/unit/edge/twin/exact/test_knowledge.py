"""What is said of reals before they are computed holds for whatever is computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.twin.exact.knowledge import Known, grain, known_constant, known_of_dense, known_of_pair, sums_are_whole
from twin_edge.twin.exact.reals import FUNCTIONS

OPEN = (None, None)


def holds(known: Known, values: np.ndarray) -> None:
    assert np.abs(values).max() <= known.reach
    if known.choices is not None:
        assert np.isin(values, known.choices).all()


@given(st.integers(0, 2**32 - 1), st.integers(-12, 4), st.booleans())
@settings(max_examples=100)
def test_rounding_by_a_large_number(seed: int, exponent: int, counted: bool) -> None:  # noqa: FBT001
    rng, step = np.random.default_rng(seed), 2.0**exponent
    values = (rng.uniform(-100, 100, (1, 50)) * step).astype(np.float32)
    choices = values.reshape(1, -1) if counted else None
    number = np.full((1,), 1.5 * 2**23 * step, np.float32)
    of = Known(100 * step, alike=True, choices=choices)
    lifted = known_of_pair("ADD", of, known_constant(number), 7, OPEN)
    up = values + number
    holds(lifted, up)
    rounded = known_of_pair("ADD", lifted, known_constant(-number), 8, OPEN)
    down = up - number
    holds(rounded, down)
    assert rounded.choices is not None
    assert rounded.nearest == (7, step)
    rest = known_of_pair("SUB", of, rounded, 7, OPEN)
    holds(rest, values - down)
    assert rest.reach == step / 2
    np.testing.assert_array_equal(down, np.rint(values / np.float32(step)) * np.float32(step))


@pytest.mark.parametrize("number", [1.0, 2.0**20])
def test_a_power_of_two_has_finer_steps_below_it(number: float) -> None:
    of = Known(0.25, alike=True)
    assert known_of_pair("ADD", of, known_constant(np.full((1,), number, np.float32)), 1, OPEN).lifted is None


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(FUNCTIONS)), st.sampled_from([OPEN, (0.0, 6.0), (-1.0, 1.0)]))
@settings(max_examples=60)
def test_value_by_value(seed: int, name: str, limits: tuple[float | None, float | None]) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.normal(size=(1, 20)).astype(np.float32) for _ in range(2))
    number = rng.normal(size=(1,)).astype(np.float32)
    low, high = (-np.inf if limits[0] is None else limits[0]), (np.inf if limits[1] is None else limits[1])
    counted = Known(float(np.abs(one).max()), alike=True, choices=one)
    holds(
        known_of_pair(name, counted, known_constant(number), 1, limits),
        np.clip(FUNCTIONS[name](one, number), low, high),
    )
    both = known_of_pair(name, counted, Known(float(np.abs(other).max()), alike=False), 1, limits)
    holds(both, np.clip(FUNCTIONS[name](one, other), low, high))
    assert not both.alike


def test_sums_of_whole_numbers_are_alike_and_others_are_not() -> None:
    choices = (np.arange(-128, 129) / 64).astype(np.float32)[np.newaxis]
    of, rng = Known(2.0, alike=True, choices=choices), np.random.default_rng(0)
    whole = (rng.integers(-500, 500, (4, 60)) / 1024).astype(np.float32)
    assert sums_are_whole(of, whole, np.full(4, 3 / 2**16, np.float32))
    assert known_of_dense(of, whole, np.zeros(4, np.float32), OPEN, 100.0).alike
    assert not sums_are_whole(of, whole, np.full(4, 1 / 3, np.float32))
    assert not sums_are_whole(of, (whole / 3).astype(np.float32), np.zeros(4, np.float32))
    assert not sums_are_whole(Known(2.0, alike=True), whole, np.zeros(4, np.float32))


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=8), st.integers(-30, 20))
def test_grain(numbers: list[int], exponent: int) -> None:
    values = np.array(numbers, np.float64) * 2.0**exponent
    found = grain(values)
    assert not np.mod(values / found, 1).any()
    assert not values.any() or np.mod(values / (2 * found), 1).any()
