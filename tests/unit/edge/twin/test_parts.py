"""Parts of a scene: cut out for the encoder in the plate's light, laid over the plate for the rendering."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_edge.models.scene import LIGHT_VALUES, SCENE_VALUES
from twin_edge.twin.light import Relighter
from twin_edge.twin.parts import TO_YCOCG, PartsScene, Sheet, boxes_of, count_parts, pixels_of, to_rgb
from twin_edge.twin.shift import shifted

SIZE, SIDE = 64, 8


@pytest.fixture
def labels() -> np.ndarray:
    found = np.zeros((SIZE, SIZE), np.uint8)
    found[8:24, 8:40] = 1
    found[30:60, 20:30] = 2
    found[30:40, 30:36] = 2  # no rectangle
    return found


@pytest.fixture
def plate() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.kron(rng.integers(40, 200, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def test_boxes_and_pixels(labels):
    assert count_parts(labels) == 2
    first, second = boxes_of(labels)
    assert (first.top, first.left, first.bottom, first.right) == (8, 8, 24, 40)
    assert (second.height, second.width) == (30, 16)
    places = pixels_of(labels)
    assert len(places) == np.count_nonzero(labels)
    assert (labels.ravel()[places[: 16 * 32]] == 1).all()
    assert (labels.ravel()[places[16 * 32 :]] == 2).all()


def test_the_sheet_has_each_part_in_its_place(plate, labels):
    view = plate.copy()
    view[labels == 1] = (200, 0, 0)
    view[labels == 2] = (0, 0, 200)
    sheet = Sheet(plate, labels, SIDE)(view, np.zeros(LIGHT_VALUES, np.int8))
    assert sheet.shape == (2 * SIDE, SIDE, 3)
    assert (sheet[:SIDE] == (200, 0, 0)).all()
    assert (sheet[SIDE + 1 : SIDE + 2, 0:4] == (0, 0, 200)).all()


def test_a_neighbor_is_not_seen(plate, labels):
    sheet = Sheet(plate, labels, SIDE)
    dark = np.zeros(LIGHT_VALUES, np.int8)
    before = sheet(plate, dark).copy()
    view = plate.copy()
    view[30:60, 30:36][labels[30:60, 30:36] == 0] = 255  # in the second part's box, but not its own
    after = sheet(view, dark)
    assert np.abs(after[SIDE:].astype(int) - before[SIDE:]).max() <= 1 or (
        # A cell across the border has a share of both.
        np.abs(after[SIDE:, :5].astype(int) - before[SIDE:, :5]).max() <= 1
    )


def test_light_is_taken_out_of_the_sheet(plate, labels):
    sheet = Sheet(plate, labels, SIDE)
    values = np.zeros(LIGHT_VALUES, np.int8)
    plain = sheet(plate, values).copy()
    values[:2] = (-25, 12)
    lit = sheet(Relighter(SIZE, SIZE)(plate, values), values)
    assert np.abs(lit.astype(int) - plain).max() <= 3


def test_compose_puts_pixels_light_and_shift(plate, labels):
    scene = PartsScene(plate, labels, 0)
    drawn = np.full((np.count_nonzero(labels), 3), (77, 128, 128), np.uint8)
    values = np.zeros(SCENE_VALUES, np.int8)
    expected = plate.copy()
    expected[labels > 0] = 77
    np.testing.assert_array_equal(scene.compose(drawn, values), expected)
    values[0], values[2] = 8, 20
    lit = Relighter(SIZE, SIZE)(expected, values[2:])
    np.testing.assert_array_equal(scene.compose(drawn, values), shifted(lit, values[:2]))


def test_a_rendering_is_the_callers_own(plate, labels):
    scene = PartsScene(plate, labels, 0)
    values = np.zeros(SCENE_VALUES, np.int8)
    first = scene.compose(np.full((np.count_nonzero(labels), 3), 10, np.uint8), values)
    kept = first.copy()
    scene.compose(np.full((np.count_nonzero(labels), 3), 250, np.uint8), values)
    np.testing.assert_array_equal(first, kept)


def test_looking_finds_light_and_camera(plate, labels):
    scene = PartsScene(plate, labels, SIDE)
    values = np.zeros(LIGHT_VALUES, np.int8)
    values[0] = -20
    view = shifted(Relighter(SIZE, SIZE)(plate, values), np.array((16, -8), np.int8))
    found, sheet = scene.look(view, None)
    assert np.abs(found[:2] - (16, -8)).max() <= 2
    assert abs(int(found[2]) + 20) <= 2
    assert sheet.shape == (2 * SIDE, SIDE, 3)


def test_colors_come_back():
    colors = np.array([(0, 0, 0), (255, 255, 255), (200, 50, 20), (3, 250, 130)], np.float32)
    drawn = np.rint(colors @ TO_YCOCG + (0, 128, 128)).astype(np.uint8)
    assert np.abs(to_rgb(drawn).astype(int) - colors).max() <= 2


def test_colors_are_the_same_in_whole_numbers():
    """What a subscriber in another language would do, see docs/rendering.md: the same to the bit."""
    steps = np.arange(0, 256, 5)
    luma, orange, green = (axis.ravel() for axis in np.meshgrid(steps, steps, steps))
    expected = np.stack([luma + orange - green, luma + green - 128, luma - orange - green + 256], axis=1)
    drawn = np.stack([luma, orange, green], axis=1).astype(np.uint8)
    np.testing.assert_array_equal(to_rgb(drawn), np.clip(expected, 0, 255))


def test_a_rendering_is_the_same_without_vector_instructions(plate, labels):
    rng = np.random.default_rng(7)
    drawn = rng.integers(0, 256, (np.count_nonzero(labels), 3), np.uint8)
    values = rng.integers(-30, 30, SCENE_VALUES).astype(np.int8)
    rendered = PartsScene(plate, labels, 0).compose(drawn, values)
    cv2.setUseOptimized(False)
    try:
        np.testing.assert_array_equal(PartsScene(plate, labels, 0).compose(drawn, values), rendered)
    finally:
        cv2.setUseOptimized(True)
