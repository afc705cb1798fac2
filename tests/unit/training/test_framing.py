"""The region is found where it is clear, and is the whole frame where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from twin_training.framing import Box, content_box, find_framing, motion_map, moving_mask, shrink_frame

ROWS, COLUMNS = 108, 192
SIZE = (720, 1280)
"""What the frames were before they were made small."""


def scene(rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Returns a textured background, float."""
    noise = np.random.default_rng(1).uniform(60, 190, (rows // 6 + 1, columns // 6 + 1, 3))
    return np.kron(noise, np.ones((6, 6, 1)))[:rows, :columns]


def frames(
    boxes: list[tuple[int, int, int, int]],
    count: int = 120,
    *,
    light: float = 0.0,
    shake: int = 0,
    back: np.ndarray | None = None,
) -> np.ndarray:
    """Returns frames with lamps that go on and off, each in its own rhythm: (left, top, width, height)."""
    rng = np.random.default_rng(2)
    back = scene() if back is None else back
    across = np.linspace(-1, 1, back.shape[1])[None, :, None]
    result = []
    for number in range(count):
        frame = back.copy()
        for index, (left, top, width, height) in enumerate(boxes):
            frame[top : top + height, left : left + width] = 40 + 200 * (np.sin(number * (0.3 + 0.2 * index)) > 0)
        frame = frame * (1 + light * np.sin(number * 0.1) + light * across * np.cos(number * 0.07))
        if shake:
            frame = np.roll(frame, rng.integers(-shake, shake + 1), axis=1)
        result.append(np.clip(frame + rng.normal(0, 2.5, frame.shape), 0, 255).astype(np.uint8))
    return np.stack(result)


def pixels(region, size=SIZE):
    return tuple(round(value * side) for value, side in zip(region, (size[1], size[0]) * 2, strict=True))


def test_a_small_machine_in_a_large_frame_is_cut_out() -> None:
    found = find_framing(frames([(120, 40, 12, 16), (136, 52, 8, 6)], light=0.1), SIZE, side=128)
    assert found.content is None
    left, top, width, height = pixels(found.region)
    assert abs(width - height) <= 8
    assert 128 <= width < 320
    # All that moves is inside, with a margin, in frames of 1280x720: from (800, 267) to (960, 387).
    assert left < 790
    assert left + width > 970
    assert top < 260
    assert top + height > 394
    assert found.shown == 1


def test_it_is_not_enlarged_beyond_the_view() -> None:
    found = find_framing(frames([(120, 40, 4, 4)]), SIZE, side=256)
    assert pixels(found.region)[2] >= 250


def test_a_region_at_the_edge_stays_within_the_frame() -> None:
    found = find_framing(frames([(184, 98, 8, 10)]), SIZE, side=128)
    left, top, width, height = pixels(found.region)
    assert left + width <= 1280
    assert top + height <= 720
    assert width > 100


@pytest.mark.parametrize(
    "boxes", [[(50, 5, 90, 98)], [(45, 5, 8, 8), (140, 95, 8, 8)], [(70, 20, 10, 10), (110, 90, 10, 10)]]
)
def test_what_fills_most_of_the_frame_is_the_whole_frame(boxes) -> None:
    found = find_framing(frames(boxes), SIZE, side=128)
    assert found.region is None
    assert found.shown > 0.95


def test_nothing_that_moves_is_the_whole_frame() -> None:
    found = find_framing(frames([], light=0.2), SIZE, side=128)
    assert (found.region, found.moving, found.moving_share) == (None, None, 0.0)


def test_a_square_is_taken_from_where_more_moves() -> None:
    found = find_framing(frames([(2, 10, 70, 90)]), SIZE, side=128)
    left, top, width, height = pixels(found.region)
    assert (top, height) == (0, 720)
    assert abs(width - 720) <= 8
    assert left <= 20
    assert found.shown > 0.99
    wide = find_framing(frames([(2, 10, 188, 90)]), SIZE, side=128)
    assert wide.region is None
    assert 0.5 < wide.shown < 0.65


def test_neither_light_nor_noise_nor_shake_moves() -> None:
    assert not moving_mask(motion_map(frames([], light=0.15))).any()
    assert (
        moving_mask(motion_map(frames([], shake=1, back=scene() * 0.2 + 90))).mean() < 0.06
    )  # of a whole pixel of a small frame


def test_what_moves_seldom_moves_too() -> None:
    made = frames([], count=200)
    made[70:75, 30:50, 40:70] = 250
    mask = moving_mask(motion_map(made))
    assert mask[32:48, 42:68].all()
    assert mask.mean() < 0.05
    made = frames([], count=200)
    made[70, 30:50, 40:70] = 250
    assert not moving_mask(motion_map(made)).any()


@pytest.mark.parametrize(
    ("bars", "box"),
    [
        ((14, 14, 0, 0), Box(0, 14, COLUMNS, ROWS - 28)),
        ((0, 0, 40, 41), Box(40, 0, COLUMNS - 81, ROWS)),
        ((6, 6, 20, 20), Box(20, 6, COLUMNS - 40, ROWS - 12)),
        ((0, 1, 0, 0), Box(0, 0, COLUMNS, ROWS)),
    ],
)
def test_black_bars(bars, box) -> None:
    top, bottom, left, right = bars
    made = frames([(90, 50, 10, 10)], count=30)
    black = np.random.default_rng(3).integers(14, 19, made.shape, np.uint8)
    inside = np.zeros(made.shape[1:3], bool)
    inside[top : ROWS - bottom, left : COLUMNS - right] = True
    assert content_box(np.where(inside[None, ..., None], made, black)) == box


def test_dark_scenes_have_no_bars() -> None:
    vignette = np.clip(np.hypot(*np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]), 0, 1)[..., None]
    made = np.clip(scene() * (1 - vignette) ** 2, 0, 255).astype(np.uint8)
    assert content_box(np.stack([made] * 20)) == Box(0, 0, COLUMNS, ROWS)
    assert content_box(np.zeros((5, ROWS, COLUMNS, 3), np.uint8)) == Box(0, 0, COLUMNS, ROWS)


def test_a_letterboxed_film_is_cut_to_its_content() -> None:
    made = frames([(60, 25, 70, 60)])
    made[:, :14] = made[:, -14:] = 16
    found = find_framing(made, SIZE, side=128)
    assert found.region == found.content
    left, top, width, height = pixels(found.region)
    assert (left, width) == (0, 1280)
    assert abs(top - 14 * 720 / ROWS) <= 1
    assert abs(height - 80 * 720 / ROWS) <= 1


def test_frames_are_made_small_and_never_large() -> None:
    assert shrink_frame(np.zeros((720, 1280, 3), np.uint8)).shape == (108, 192, 3)
    assert shrink_frame(np.zeros((30, 20, 3), np.uint8)).shape == (30, 20, 3)
