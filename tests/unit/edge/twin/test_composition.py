"""Composition: the canvas stands where its pose says, over the plate, in whole numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twin_edge.models.pose import Pose, PoseSpec
from twin_edge.twin.composition import Compositor

SIZE = 32
RNG = np.random.default_rng(1)
PLATE = RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
COLOR = RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def canvas(coverage: int, color: np.ndarray = COLOR) -> np.ndarray:
    return np.concatenate([color, np.full((SIZE, SIZE, 1), coverage, np.uint8)], axis=2)


def test_what_is_covered_is_the_canvas_and_the_rest_is_the_plate() -> None:
    compose = Compositor(PLATE)
    np.testing.assert_array_equal(compose(canvas(255), Pose()), COLOR)
    np.testing.assert_array_equal(compose(canvas(0), Pose()), PLATE)
    np.testing.assert_array_equal(compose(canvas(0), Pose(3.3, -7.1, 0.4, 0.2)), PLATE)


@pytest.mark.parametrize(("right", "down"), [(0, 5), (-3, 0), (7, -2), (-4, -6)])
def test_whole_pixels_move_the_picture(right: int, down: int) -> None:
    moved = Compositor(PLATE)(canvas(255), Pose(right, down)).astype(int)
    for y in range(max(0, down), min(SIZE, SIZE + down)):
        for x in range(max(0, right), min(SIZE, SIZE + right)):
            assert (moved[y, x] == COLOR[y - down, x - right]).all()


def test_a_quarter_turn_goes_from_right_to_down() -> None:
    marked = canvas(255, np.zeros_like(COLOR))
    marked[15:17, 28:30, :3] = 200
    turned = Compositor(PLATE)(marked, Pose(rotation=math.pi / 2))
    assert (turned[28:30, 15:17] >= 198).all()
    assert turned[15:17, 28:30].max() <= 2


@settings(deadline=None)
@given(hnp.arrays(np.uint8, (4, 4, 3)), hnp.arrays(np.uint8, (4, 4, 4)))
def test_mixture_is_rounded_to_the_nearest(plate: np.ndarray, drawn: np.ndarray) -> None:
    mixed = Compositor(plate)(drawn, Pose()).astype(float)
    coverage = drawn[..., 3:] / 255
    exact = plate + coverage * (drawn[..., :3].astype(float) - plate)
    assert np.abs(mixed - exact).max() <= 0.5
    assert (mixed >= np.minimum(plate, drawn[..., :3])).all()
    assert (mixed <= np.maximum(plate, drawn[..., :3])).all()


def test_renderings_are_not_overwritten_by_the_next_one() -> None:
    compose = Compositor(PLATE)
    first = compose(canvas(255), Pose())
    kept = first.copy()
    compose(canvas(128), Pose(4, 4))
    np.testing.assert_array_equal(first, kept)


@settings(deadline=None)
@given(
    hnp.arrays(np.int8, 4),
    st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1), st.floats(1e-6, 0.1)),
)
def test_any_state_under_any_manifest_gives_a_rendering(
    values: np.ndarray, steps: tuple[float, float, float, float]
) -> None:
    pose = PoseSpec(steps, (1.0, 1.0, 1.0, 1.0)).dequantize(values)
    rendering = Compositor(PLATE)(canvas(200), pose)
    assert rendering.shape == PLATE.shape
    assert rendering.dtype == np.uint8
