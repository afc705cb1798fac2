"""Views of twice the size are for recordings that clearly have more to show than a standard view holds."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from twin_training.auto import in_fitting_size
from twin_training.detail import look_closely
from twin_training.recipe import in_size, load_recipe

SIDE, COUNT = 512, 16
RNG = np.random.default_rng(3)


def frames(cell: int, side: int = SIDE, noise: float = 1.0) -> list[np.ndarray]:
    """A board with cells of so many pixels that slides over a gray wall."""
    rows, columns = np.mgrid[: side // 2, : side // 2] // cell
    board = np.where((rows + columns) % 2, 220, 40).astype(np.uint8)
    board = cv2.GaussianBlur(board, (0, 0), 0.8)
    result = []
    for number in range(COUNT):
        frame = np.full((side, side, 3), 120, np.float64)
        left = number * (side // 2) // COUNT
        frame[side // 4 : side // 4 + side // 2, left : left + side // 2] = board[..., np.newaxis]
        result.append(np.clip(frame + RNG.normal(0, noise, frame.shape), 0, 255).astype(np.uint8))
    return result


def test_fine_things_that_move_deserve_a_large_view() -> None:
    found = look_closely(frames(cell=5), None)
    assert found is not None
    assert found.deserves_large
    assert str(found).endswith("of what moves, so the size is large")


@pytest.mark.parametrize("noise", [1.0, 12.0])
def test_coarse_things_do_not(noise: float) -> None:
    found = look_closely(frames(cell=64, noise=noise), None)
    assert found is not None
    assert found.lost_share < 0.08
    assert not found.deserves_large
    assert str(found).endswith("of what moves, so the size is standard")


def test_fine_things_that_rest_do_not() -> None:
    still = frames(cell=5)[0]
    moving = []
    for number in range(COUNT):
        frame = still.copy()
        cv2.circle(frame, (40 + 20 * number, 450), 30, (250, 250, 250), -1)
        moving.append(frame)
    found = look_closely(moving, None)
    assert found is not None
    assert not found.deserves_large


def test_nothing_is_said_without_the_pixels() -> None:
    fine = frames(cell=5)
    assert look_closely(fine, (0.25, 0.25, 0.3, 0.3)) is None
    assert look_closely(fine[:4], None) is None
    assert look_closely([fine[0]] * COUNT, None) is None


def test_only_the_recipe_that_chooses_is_changed() -> None:
    notes: list[str] = []
    auto = load_recipe("auto")
    assert in_fitting_size(auto, frames(cell=5), notes.append) == in_size(auto, "large")
    assert in_fitting_size(auto, frames(cell=64), notes.append) == auto
    assert len(notes) == 2
    small, parts = in_size(auto, "small"), load_recipe("parts")
    assert in_fitting_size(small, frames(cell=5), notes.append) == small
    assert in_fitting_size(parts, frames(cell=5), notes.append) == parts
    narrow = replace(auto, data=replace(auto.data, region=(0.0, 0.0, 0.4, 0.4)))
    assert in_fitting_size(narrow, frames(cell=5), notes.append) == narrow
    assert len(notes) == 2
