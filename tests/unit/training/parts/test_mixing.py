"""A part that holds several things is shown in combinations that the recording does not have."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_edge.twin.parts import boxes_of
from twin_training.parts.mixing import PartViews, valleys, with_mixtures
from twin_training.start import pairs_of

SIDE = 16
LATENTS = 4
LABELS = np.zeros((64, 40), np.uint8)
LABELS[6:58, 8:32] = 1
BOX = boxes_of(LABELS)[0]
RNG = np.random.default_rng(6)


def part(pictures: np.ndarray) -> PartViews:
    """Returns a part in some pictures of its box, uint8 of shape (n, 52, 24, 3)."""
    noisy = np.clip(pictures + RNG.normal(0, 2, pictures.shape), 0, 255).astype(np.uint8)
    crops = np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in noisy])
    return PartViews(crops, noisy.reshape(len(noisy), -1, 3), pairs_of(len(noisy), (0, 60)))


def lamps(lit: np.ndarray) -> np.ndarray:
    """Returns a tower of three lamps, of which one is lit at a time."""
    pictures = np.full((len(lit), BOX.height, BOX.width, 3), 40, np.uint8)
    for picture, lamp in zip(pictures, lit, strict=True):
        picture[2 + 17 * lamp : 15 + 17 * lamp, 3:-3] = 220
    return pictures


def state(pixels: np.ndarray) -> np.ndarray:
    """Returns which lamps are lit, bool of shape (n, 3)."""
    pictures = pixels.reshape(len(pixels), BOX.height, BOX.width, 3)
    return np.stack([pictures[:, 2 + 17 * lamp : 15 + 17 * lamp, 3:-3].mean((1, 2, 3)) > 130 for lamp in range(3)], 1)


def mixed(views: PartViews) -> PartViews:
    return with_mixtures(views, LABELS, 1, BOX, LATENTS, 1)


def test_lamps_are_shown_off_together_though_they_never_were() -> None:
    lit = np.arange(120) // 8 % 3
    views = part(lamps(lit))
    found = mixed(views)
    assert (state(views.pixels).sum(1) == 1).all()
    shown = state(found.pixels[len(views.pixels) :])
    assert (shown.sum(1) == 0).mean() > 0.05
    assert (shown.sum(1) == 2).mean() > 0.05
    # Every pixel is that of some view: lamps are cut between them, never through one.
    lightness = found.pixels[len(views.pixels) :].reshape(-1, BOX.height, BOX.width, 3)
    for lamp in range(3):
        rows = lightness[:, 3 + 17 * lamp : 14 + 17 * lamp, 4:-4].mean((2, 3))
        assert np.ptp(rows, axis=1).max() < 20


def test_a_mixed_view_is_the_same_on_the_sheet_and_followed_by_one_cut_alike() -> None:
    views = part(lamps(np.arange(120) // 8 % 3))
    found = mixed(views)
    fresh = slice(len(views.pixels), None)
    for crop, pixels in zip(found.crops[fresh], found.pixels[fresh], strict=True):
        drawn = cv2.resize(pixels.reshape(BOX.height, BOX.width, 3), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        assert np.abs(crop.astype(int) - drawn).mean() < 8
    pairs = found.pairs[len(views.pairs) :]
    assert (pairs >= len(views.pixels)).all()
    assert np.ptp(pairs, axis=1).max() == 1
    assert pairs.max() == len(found.pixels) - 1
    first, second = (state(found.pixels[pairs[:, row]]) for row in (0, 1))
    assert (first == second).all(1).mean() > 0.6


def test_what_is_one_thing_is_never_cut() -> None:
    # A needle takes many components; a panel that lights up as a whole has no line along which nothing happens.
    pictures = np.full((120, BOX.height, BOX.width, 3), 230, np.uint8)
    for picture, angle in zip(pictures, np.linspace(0, 12, 120), strict=True):
        end = (round(12 + 10 * np.cos(angle)), round(26 + 20 * np.sin(angle)))
        cv2.line(picture, (12, 26), end, (20, 20, 20), 3)
    panel = np.broadcast_to(RNG.integers(30, 220, (120, 1, 1, 1)), pictures.shape)
    for one in (pictures, panel):
        views = part(one)
        assert mixed(views) is views


@pytest.mark.parametrize(
    ("profile", "found"),
    [
        ([0, 9, 9, 1, 8, 8, 0], [3]),
        ([5, 5, 5], []),
        ([0, 0, 7, 7], []),
        ([9, 1, 0, 1, 9, 2, 9], [2, 5]),
        ([9, 8, 3, 8, 9], []),
    ],
)
def test_valleys_lie_between_peaks(profile: list[float], found: list[int]) -> None:
    assert valleys(np.array(profile, np.float32)) == found
