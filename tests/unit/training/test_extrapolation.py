"""A recording that repeats itself says what is to come; one that goes on to something else does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_training.extrapolation import Extrapolation, extrapolate

SIDE = 64
FRAMES = 240
CUTS = (0, 10, 20)
RNG = np.random.default_rng(3)


def views(places: np.ndarray) -> np.ndarray:
    """A disc in a row of places, on grain, uint8 of shape (n, SIDE, SIDE, 3)."""
    pictures = np.full((len(places), SIDE, SIDE, 3), 90, np.uint8)
    for picture, (x, y) in zip(pictures, places, strict=True):
        cv2.circle(picture, (round(x), round(y)), 9, (210, 180, 160), -1)
    return np.clip(pictures + RNG.normal(0, 1.5, pictures.shape), 0, 255).astype(np.uint8)


def swinging() -> np.ndarray:
    angle = np.arange(FRAMES) / 7
    return np.stack([32 + 14 * np.cos(angle), 32 + 10 * np.sin(1.7 * angle)], axis=1)


def wandering() -> np.ndarray:
    """It hardly swings, and about another place at each time."""
    return swinging() * 0.05 + np.linspace((12, 14), (48, 44), FRAMES)


def split_off(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all views but three blocks, and the blocks."""
    rows = np.concatenate([np.arange(start, start + 10) for start in (40, 120, 200)])
    everything = views(places)
    return np.delete(everything, rows, axis=0), everything[rows]


def test_what_repeats_itself_is_no_harder_ahead() -> None:
    assert extrapolate(*split_off(swinging()), CUTS, registered=False).excess == 0


def test_what_goes_on_to_other_places_is_harder_ahead() -> None:
    found = extrapolate(*split_off(wandering()), CUTS, registered=False)
    assert found.excess > found.within
    assert "record longer" in str(found)
    assert found.to_json()["excess"] == found.excess


def test_a_subject_that_only_moves_as_a_whole_is_aligned_first() -> None:
    places = np.linspace((26, 28), (38, 36), FRAMES)
    apart = extrapolate(*split_off(places), CUTS, registered=False)
    aligned = extrapolate(*split_off(places), CUTS, registered=True)
    assert aligned.excess < 0.2 * apart.excess


@pytest.mark.parametrize(("ahead", "excess"), [(10.0, 0.0), (15.0, 0.0), (40.0, 25.0)])
def test_noise_is_nothing_to_speak_of(ahead: float, excess: float) -> None:
    found = Extrapolation(10.0, ahead)
    assert found.excess == pytest.approx(excess)
    assert bool(str(found)) == (excess > 0)
