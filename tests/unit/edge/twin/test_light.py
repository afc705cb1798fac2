"""Light of a fixed scene: what is measured is what is put back, exactly the same everywhere."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twin_edge.models.scene import LIGHT_VALUES
from twin_edge.twin.light import LightMeter, Relighter
from twin_edge.twin.shift import shifted

SIZE = 64


@pytest.fixture(scope="module")
def plate() -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 200, (8, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))


def light(**terms: int) -> np.ndarray:
    values = np.zeros(LIGHT_VALUES, np.int8)
    for name, value in terms.items():
        values[int(name[1:])] = value
    return values


@given(hnp.arrays(np.int8, LIGHT_VALUES), hnp.arrays(np.uint8, (16, 16, 3)))
@settings(max_examples=50, deadline=None)
def test_any_light_gives_a_picture(values, picture):
    lit = Relighter(16, 16)(picture, values)
    assert lit.shape == picture.shape
    assert lit.dtype == np.uint8


def test_the_plates_own_light_changes_nothing(plate):
    assert Relighter(SIZE, SIZE)(plate, light()) is plate


def test_a_light_and_its_opposite_cancel(plate):
    relight = Relighter(SIZE, SIZE)
    values = light(v0=20, v1=-10, v4=15, v9=4, v10=-6)
    there = relight(plate, values)
    back = relight(there, -values)
    assert np.abs(there.astype(int) - plate).max() > 10
    assert np.abs(back.astype(int) - plate).max() <= 1


@given(st.lists(st.integers(-25, 25), min_size=LIGHT_VALUES, max_size=LIGHT_VALUES))
@settings(max_examples=30, deadline=None)
def test_what_is_measured_is_what_was_put_there(plate, terms):
    values = np.array(terms, np.int8)
    values[1:9] //= 4  # all together must stay within what a picture can show
    measured = LightMeter(plate, np.zeros((SIZE, SIZE), bool))(Relighter(SIZE, SIZE)(plate, values))
    assert np.abs(measured.astype(int) - values).max() <= 4


def test_what_moves_is_left_out(plate):
    moving = np.zeros((SIZE, SIZE), bool)
    moving[16:40, 16:40] = True
    view = Relighter(SIZE, SIZE)(plate, light(v0=12)).copy()
    view[16:40, 16:40] = 0
    assert np.abs(LightMeter(plate, moving)(view).astype(int) - light(v0=12)).max() <= 3


def test_a_light_is_kept_while_it_is_off_by_less_than_a_step(plate):
    meter = LightMeter(plate, np.zeros((SIZE, SIZE), bool))
    view = Relighter(SIZE, SIZE)(plate, light(v0=12))
    found = meter(view)
    assert meter(view, found) is found
    moved = np.asarray(found + light(v1=2), np.int8)
    np.testing.assert_array_equal(meter(view, moved), found)


def test_a_camera_that_shakes_is_no_light(plate):
    meter = LightMeter(plate, np.zeros((SIZE, SIZE), bool))
    for step in ((2, 0), (0, -2)):
        assert np.abs(meter(shifted(plate, np.array(step, np.int8))).astype(int)).max() <= 1


def test_a_hand_is_no_light(plate):
    view = plate.copy()
    view[:20, :20] = 10
    measured = LightMeter(plate, np.zeros((SIZE, SIZE), bool))(view)
    drawn = Relighter(SIZE, SIZE)(plate, measured)
    assert np.abs(drawn[32:, 32:].astype(int) - plate[32:, 32:]).mean() < 3


@given(hnp.arrays(np.int8, LIGHT_VALUES), hnp.arrays(np.uint8, (18, 13, 3)))
@settings(max_examples=30, deadline=None)
def test_gains_are_the_same_in_whole_numbers(values, picture):
    """What a subscriber in another language would do, see docs/rendering.md: the same to the bit."""
    values[0] |= 1  # not the plate's own light
    np.testing.assert_array_equal(Relighter(18, 13)(picture, values), by_definition(picture, values))


def by_definition(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns a picture in a light, in Python's whole numbers."""
    height, width = picture.shape[:2]
    rows, columns = cosines(height), cosines(width)
    field = [[[gain(values, row, column, c) for c in range(3)] for column in columns] for row in rows]
    lit = np.empty_like(picture)
    for y, x, c in np.ndindex(picture.shape):
        (top, below, down), (left, right, across) = neighbors(y, len(rows)), neighbors(x, len(columns))
        sums = (8 - down) * ((8 - across) * field[top][left][c] + across * field[top][right][c])
        sums += down * ((8 - across) * field[below][left][c] + across * field[below][right][c])
        here = (sums + 32) >> 6
        lit[y, x, c] = min(max((((int(picture[y, x, c]) + 8) * here + 2048) >> 12) - 8, 0), 255)
    return lit


def cosines(side: int) -> list[list[int]]:
    places = [(4 * cell + 2) / side for cell in range((side + 3) // 4)]
    return [[round(128 * math.cos(math.pi * place * wave)) for wave in range(3)] for place in places]


def gain(values: np.ndarray, row: list[int], column: list[int], channel: int) -> int:
    total = sum(int(values[3 * i + j]) * row[i] * column[j] for i in range(3) for j in range(3))
    offset = 4 * (int(values[9]), 0, int(values[10]))[channel]
    index = min(max(((total + 2048) >> 12) + offset, -1024), 1024)
    return round(4096 * math.exp(index / 1024))


def neighbors(place: int, cells: int) -> tuple[int, int, int]:
    """Returns the cells before and behind a pixel, and how many eighths it is behind the first."""
    cell, eighths = divmod(2 * place - 3, 8)
    return min(max(cell, 0), cells - 1), min(max(cell + 1, 0), cells - 1), eighths


def test_gains_are_the_same_numbers_on_every_machine(plate):
    """Whole numbers throughout: a digest that differs means that subscribers would differ."""
    lit = Relighter(SIZE, SIZE)(plate, light(v0=-30, v2=17, v5=-9, v8=11, v9=25, v10=-40))
    assert hashlib.sha256(lit.tobytes()).hexdigest()[:16] == EXPECTED


EXPECTED = "4657ba72c06cfa99"
