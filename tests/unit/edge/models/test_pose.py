"""Poses are similarity transforms: they compose, invert, and survive being int8."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.models.pose import POSE_VALUES, Pose, PoseSpec

SPEC = PoseSpec((0.25, 0.5, 0.01, 0.02), (8.0, 4.0, 0.25, 0.15))
POSES = st.builds(Pose, st.floats(-200, 200), st.floats(-200, 200), st.floats(-math.pi, math.pi), st.floats(-1.5, 1.5))
SIZES = st.sampled_from([32, 64, 128, 256])


def whole(pose: Pose, size: int) -> np.ndarray:
    return np.vstack([pose.matrix(size), [0, 0, 1]])


@given(POSES, POSES, SIZES)
def test_one_after_the_other_is_the_product_of_their_matrices(pose: Pose, change: Pose, size: int) -> None:
    expected = whole(pose, size) @ whole(change, size)
    np.testing.assert_allclose(whole(pose.then(change), size), expected, atol=1e-6)


@given(POSES, SIZES)
def test_inverse_undoes_on_either_side(pose: Pose, size: int) -> None:
    np.testing.assert_allclose(pose.then(pose.inverse()).values(), (0, 0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(pose.inverse().then(pose).values(), (0, 0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(whole(pose.inverse(), size), np.linalg.inv(whole(pose, size)), atol=1e-6)


@given(POSES, SIZES)
def test_the_middle_is_only_shifted(pose: Pose, size: int) -> None:
    middle = (size - 1) / 2
    moved = pose.matrix(size) @ (middle, middle, 1)
    np.testing.assert_allclose(moved, (middle + pose.tx, middle + pose.ty), atol=1e-6)
    assert abs(np.linalg.det(pose.matrix(size)[:, :2])) == pytest.approx(math.exp(2 * pose.log_scale))


@given(POSES, SIZES, SIZES, st.tuples(st.floats(0, 255), st.floats(0, 255)))
def test_a_smaller_image_is_warped_alike(pose: Pose, size: int, side: int, point: tuple[float, float]) -> None:
    """Pixels are squares: the middle of the first one lies half a pixel within the image, whatever its size."""
    ratio = side / size
    small = (np.array(point) + 0.5) * ratio - 0.5
    moved = pose.matrix(size) @ (*point, 1)
    np.testing.assert_allclose(pose.matrix(size, side) @ (*small, 1), (moved + 0.5) * ratio - 0.5, atol=1e-6)


def test_identity_and_the_direction_of_a_turn() -> None:
    np.testing.assert_array_equal(Pose().matrix(64), np.eye(2, 3))
    right_of_the_middle = (41.5, 31.5, 1)
    np.testing.assert_allclose(Pose(rotation=math.pi / 2).matrix(64) @ right_of_the_middle, (31.5, 41.5))
    assert len(POSE_VALUES) == len(Pose().values()) == 4


@given(st.lists(st.integers(-127, 127), min_size=4, max_size=4))
def test_int8_survives_the_round_trip(values: list[int]) -> None:
    sent = np.array(values, np.int8)
    np.testing.assert_array_equal(SPEC.quantize(SPEC.dequantize(sent)), sent)


@given(st.builds(Pose, *[st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf])] * 4))
def test_quantized_is_nearest_or_saturated(pose: Pose) -> None:
    values = SPEC.quantize(pose)
    assert values.dtype == np.int8
    assert values.min() >= -127
    for value, wanted, step in zip(values.tolist(), pose.values(), SPEC.steps, strict=True):
        if abs(wanted) <= 127 * step:
            assert abs(value * step - wanted) <= step / 2 * (1 + 1e-9)
        else:
            assert value == math.copysign(127, wanted)


def test_what_is_no_number_stands_for_no_change() -> None:
    np.testing.assert_array_equal(SPEC.quantize(Pose(math.nan, 1.0, math.nan, 0.0)), (0, 2, 0, 0))


def test_outputs_of_the_encoder_are_shares_of_its_reach() -> None:
    assert SPEC.change([0.5, -1.0, 0.0, 1.0]) == Pose(4.0, -4.0, 0.0, 0.15)
