"""Light, plate and parts are found in a recording, without a threshold that anybody set for it."""

from __future__ import annotations

import numpy as np
import pytest

from machines import SIZE, machine_views
from twin_training.parts.regions import find_regions
from twin_training.parts.scene import LitScene, light_up

VIEWS = machine_views(400)


@pytest.fixture(scope="module")
def lit() -> LitScene:
    return light_up(VIEWS)


def test_light_is_taken_out(lit: LitScene):
    still = np.zeros((SIZE, SIZE), bool)
    still[24:, :36] = True  # nothing moves there
    before, after = (
        part[:, still].astype(np.float32).mean((1, 2)).std() for part in (VIEWS, lit.flat(VIEWS, np.arange(400)))
    )
    assert after < before / 5


def test_every_part_is_found_by_itself(lit: LitScene):
    regions = find_regions(lit, VIEWS, 100_000)
    assert regions.labels.shape == (SIZE, SIZE)
    middles = {name: int(regions.labels[place]) for name, place in PLACES.items()}
    assert len(set(middles.values())) == 3
    assert 0 not in middles.values()
    assert regions.labels[60, 10] == 0
    assert 0.05 < regions.area < 0.5
    assert sum(regions.shares) <= 1
    assert list(regions.shares) == sorted(regions.shares, reverse=True)


def test_parts_leave_out_less_with_more_weights(lit: LitScene):
    assert find_regions(lit, VIEWS, 200_000).left_out < find_regions(lit, VIEWS, 5_000).left_out


def test_a_picture_that_rests_has_no_parts():
    rng = np.random.default_rng(0)
    views = np.clip(machine_views(1)[0] + rng.normal(0, 2, (200, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    assert not find_regions(light_up(views), views, 100_000).shares


def test_an_empty_scene_is_the_plate():
    views = machine_views(100)
    empty = np.full((SIZE, SIZE, 3), 99, np.uint8)
    assert light_up(views, empty).plate is empty


PLACES = {"needle": (16, 24), "lamp": (13, 47), "level": (46, 46)}
