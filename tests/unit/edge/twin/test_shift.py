"""A camera that was moved by a few pixels is found out, and followed slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twin_edge.twin.light import Relighter
from twin_edge.twin.shift import STEPS_IN_PIXEL, ShiftMeter, shift_tolerance, shifted, without_edge

SIZE = 96


@pytest.fixture(scope="module")
def plate() -> np.ndarray:
    import cv2

    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (16, 16, 3), np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def steps(across: int, down: int) -> np.ndarray:
    return np.array((across, down), np.int8)


@given(hnp.arrays(np.uint8, (12, 9, 3)), hnp.arrays(np.int8, 2))
@settings(max_examples=50, deadline=None)
def test_any_shift_gives_a_picture(picture, shift):
    moved = shifted(picture, shift)
    assert moved.shape == picture.shape
    assert moved.dtype == np.uint8


def test_whole_pixels_are_moved_as_they_are(plate):
    moved = shifted(plate, steps(3 * STEPS_IN_PIXEL, -2 * STEPS_IN_PIXEL))
    np.testing.assert_array_equal(moved[: SIZE - 2, 3:], plate[2:, : SIZE - 3])


def test_no_shift_copies_nothing(plate):
    assert shifted(plate, steps(0, 0)) is plate


@given(st.integers(-56, 56), st.integers(-56, 56))
@settings(max_examples=12, deadline=None)
def test_a_moved_camera_is_found(plate, across, down):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    found = meter(shifted(plate, steps(across, down)), None)
    off = np.abs(found.astype(int) - (across, down)).max()
    assert off <= 2 or (abs(across) <= 3 and abs(down) <= 3 and not found.any())


@pytest.mark.parametrize("axis", [0, 1])
def test_shifts_of_a_sharp_picture_are_not_overestimated(axis):
    """A Sobel filter's slope is a blurred one: on fine edges every shift came out a quarter too large."""
    rng = np.random.default_rng(5)
    fine = np.repeat(rng.integers(20, 235, (SIZE, SIZE, 1), np.uint8), 3, 2)
    sharp = np.clip(0.3 * fine + 80, 0, 255).astype(np.uint8)
    meter = ShiftMeter(sharp, np.zeros((SIZE, SIZE), bool))
    now = meter(sharp, None)
    for amount in (-5, -4, -2, 2, 4, 5):
        true = np.zeros(2, np.int8)
        true[axis] = amount
        now = meter(shifted(sharp, true), now)
        assert np.abs(now.astype(int) - true).max() <= 1


def test_where_a_camera_rests_is_found_to_a_part_of_a_pixel(plate):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    now = meter(plate, None)
    for turn in range(20):
        now = meter(shifted(plate, steps(6 + turn % 2, 0)), now)
    assert meter.base.tolist() in ([6, 0], [7, 0])
    assert np.abs(now.astype(int) - (6, 0)).max() <= 1


def test_light_does_not_move_the_camera(plate):
    values = np.zeros(11, np.int8)
    values[:3] = (-35, 20, 10)
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    found = meter(Relighter(SIZE, SIZE)(plate, values), None)
    assert np.abs(found).max() <= 2


def test_a_camera_that_shakes_is_followed(plate):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    now = meter(plate, None)
    assert not now.any()
    rng = np.random.default_rng(1)
    for _ in range(20):
        true = rng.integers(-4, 5, 2).astype(np.int8)
        now = meter(shifted(plate, true), now)
        assert np.abs(now.astype(int) - true).max() <= 1


def test_a_knock_is_followed(plate):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    now = meter(plate, None)
    knocked = shifted(plate, steps(14, -11))
    for _ in range(20):
        now = meter(knocked, now)
    assert np.abs(now.astype(int) - (14, -11)).max() <= 1


@given(st.integers(-128, 127), st.integers(-128, 127))
@settings(max_examples=40, deadline=None)
def test_moving_is_the_same_in_whole_numbers(plate, across, down):
    """What a subscriber in another language would do, see docs/rendering.md: the same to the bit."""
    small = np.where(plate[:24, :20] > 127, 255, plate[:24, :20] // 2).astype(np.uint8)
    expected = by_definition(by_definition(small, across).transpose(1, 0, 2), down).transpose(1, 0, 2)
    np.testing.assert_array_equal(shifted(small, steps(across, down)), expected)


def by_definition(picture: np.ndarray, steps: int) -> np.ndarray:
    """Returns a picture moved along its rows, in Python's whole numbers."""
    whole, part = divmod(-steps, STEPS_IN_PIXEL)
    width = picture.shape[1]
    moved = np.empty_like(picture)
    for x in range(width):
        pixels = [picture[:, min(max(x + whole + k - 2, 0), width - 1)].astype(object) for k in range(6)]
        sums = sum(weight * pixel for weight, pixel in zip(WEIGHTS[part], pixels, strict=True))
        moved[:, x] = np.clip((sums + 64) // 128, 0, 255)
    return moved


WEIGHTS = (
    (0, 0, 128, 0, 0, 0),
    (3, -11, 125, 15, -4, 0),
    (4, -17, 114, 35, -9, 1),
    (4, -19, 99, 56, -14, 2),
    (3, -17, 78, 78, -17, 3),
    (2, -14, 56, 99, -19, 4),
    (1, -9, 35, 114, -17, 4),
    (0, -4, 15, 125, -11, 3),
)
"""As in docs/rendering.md."""


def test_a_search_does_not_forget_a_part_of_a_pixel(plate):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    view = shifted(plate, steps(29, -12))
    now = meter(view, None)
    for _ in range(20):
        now = meter(view, now)
    rests = meter.base.tolist()
    for _ in range(200):
        now = meter(view, None)
        assert np.abs(now.astype(int) - (29, -12)).max() <= 1
    assert meter.base.tolist() == rests


def test_a_search_is_not_made_in_every_frame(plate, monkeypatch):
    meter = ShiftMeter(plate, np.zeros((SIZE, SIZE), bool))
    searches = []
    monkeypatch.setattr(meter, "_search", lambda view: searches.append(view) or np.zeros(2, np.int8))
    for _ in range(160):
        meter(plate, None)
    assert len(searches) == 2


def test_a_moved_camera_is_looked_at_with_leniency_and_a_shaking_one_is_not():
    assert shift_tolerance(steps(0, 0)) == shift_tolerance(steps(3, -2)) == 1
    assert (
        1
        < shift_tolerance(steps(8, 0))
        < shift_tolerance(steps(8, 8))
        < shift_tolerance(steps(28, -17))
        == shift_tolerance(steps(-64, 64))
        == 1.5
    )


def test_what_comes_in_at_the_edge_does_not_count(plate):
    view = np.full_like(plate, 200)
    assert without_edge(view, plate, steps(7, -7)) is plate
    seen = without_edge(view, plate, steps(16, -9))
    assert (seen[:, :3] == 200).all()
    assert (seen[-3:] == 200).all()
    np.testing.assert_array_equal(seen[:-3, 3:], plate[:-3, 3:])


def test_nothing_to_hold_on_to_is_no_shift():
    flat = np.full((SIZE, SIZE, 3), 90, np.uint8)
    meter = ShiftMeter(flat, np.zeros((SIZE, SIZE), bool))
    assert not meter(flat, None).any()
    assert not meter(flat, steps(0, 0)).any()
