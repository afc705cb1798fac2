"""States that travel with a bundle are near all others of training, and what is far from them is strange."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twin_converters.known import MOST_KNOWN, chosen, limits_of, on_another_day
from twin_edge.twin.known import KnownStates

PARTS = 2


def circle(count: int, seed: int) -> np.ndarray:
    """Returns latents of two parts, each on a circle of its own, int8 of shape (count, 4)."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (count, PARTS))
    points = np.stack([80 * np.cos(angles), 80 * np.sin(angles)], axis=-1).reshape(count, -1)
    return np.rint(points + np.random.default_rng(seed + 1).normal(0, 1, points.shape)).astype(np.int8)


def test_all_of_training_is_near_what_is_chosen() -> None:
    latents = circle(1500, 1)
    known = chosen(latents, PARTS)
    assert known.shape == (MOST_KNOWN, 4)
    measure = KnownStates(known, np.ones(PARTS, np.float32))
    assert max(measure(latent).max() for latent in latents) < 6


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 40), st.just(6))))
@settings(max_examples=40, deadline=None)
def test_what_is_chosen_was_there(latents: np.ndarray) -> None:
    known = chosen(latents, 3)
    for part in range(3):
        own = {tuple(row) for row in latents[:, 2 * part : 2 * part + 2].tolist()}
        assert {tuple(row) for row in known[:, 2 * part : 2 * part + 2].tolist()} <= own


def test_a_state_off_the_circle_is_strange_in_its_part_alone() -> None:
    known = chosen(circle(1500, 1), PARTS)
    limits = limits_of(known, [circle(60, seed) for seed in (5, 6, 7, 8)], circle(60, 11), PARTS)
    measure = KnownStates(known, limits)
    assert np.mean([measure(latent).max() > 1 for latent in circle(300, 9)]) < 0.05
    centre = circle(1, 10)[0]
    centre[2:] = 0
    first, second = measure(centre)
    assert first < 1 < second


def test_what_another_day_makes_of_a_part_is_not_strange() -> None:
    known, blocks = chosen(circle(1500, 1), PARTS), [circle(60, seed) for seed in (5, 6, 7, 8)]
    elsewhere = circle(200, 12)
    elsewhere[:, :2] //= 2
    limits = limits_of(known, blocks, elsewhere, PARTS)
    assert limits[0] > 30
    assert limits[1] < 20
    views = np.full((2, 16, 16, 3), 100, np.uint8)
    assert on_another_day(views).mean() == 84  # (100 + 8) exp(-41 / 256) - 8


def test_a_part_that_always_was_as_it_is_may_be_a_little_off() -> None:
    still = np.full((100, 2), 7, np.int8)
    limits = limits_of(chosen(still, 1), [still[:30]] * 4, still, 1)
    assert KnownStates(chosen(still, 1), limits)(np.array((12, 2), np.int8)).max() < 1


def test_of_many_parts_one_is_not_strange_much_more_often_than_of_few() -> None:
    many = 10

    def swing(seed: int) -> np.ndarray:
        """A block in which ten parts each swing on an arc near a circle, int8 of shape (60, 20)."""
        rng = np.random.default_rng(seed)
        angles = rng.uniform(0, 2 * np.pi, many) + 0.1 * np.cos(np.arange(60)[:, np.newaxis] / rng.uniform(4, 12, many))
        points = np.stack([80 * np.cos(angles), 80 * np.sin(angles)], axis=-1).reshape(60, -1)
        return np.rint(points + rng.normal(0, 9, (1, 2 * many))).astype(np.int8)

    known = chosen(np.concatenate([swing(seed) for seed in range(100, 160)]), many)
    limits = limits_of(known, [swing(seed) for seed in range(16)], known, many)
    measure = KnownStates(known, limits)
    strange = [measure(latent).max() > 1 for seed in range(200, 240) for latent in swing(seed)]
    # By one frame in a hundred of each part it is a quarter of all frames.
    assert np.mean(strange) < 0.18
