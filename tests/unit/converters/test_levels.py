"""Levels cost what they are for, in the picture and on frames that tables were not fitted to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from twin_converters.codec_tables import LOSSES_DB, Recorded
from twin_converters.levels import Held, code, fit_levels
from twin_edge.quality import psnr
from twin_edge.twin.codec import CodecTables

LENGTH = 8
SIDE = 16
RNG = np.random.default_rng(4)
BASIS = RNG.normal(0, 1, (LENGTH, SIDE * SIDE * 3)) * np.geomspace(1.2, 0.2, LENGTH)[:, np.newaxis]


def walk(frames: int, seed: int, spread: float = 22.0) -> np.ndarray:
    """Returns states that move smoothly, int8 of shape (frames, LENGTH)."""
    rng = np.random.default_rng(seed)
    states = np.zeros((frames, LENGTH))
    for row in range(1, frames):
        states[row] = 0.96 * states[row - 1] + rng.normal(0, 0.28 * spread, LENGTH)
    return np.clip(np.rint(states), -128, 127).astype(np.int8)


def render(states: np.ndarray) -> np.ndarray:
    pictures = 128 + states.astype(np.float64) @ BASIS
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)


def held(seed: int, frames: int = 90) -> Held:
    states = walk(frames, seed)
    views = render(states) + np.random.default_rng(seed).normal(0, 8, (frames, SIDE, SIDE, 3))
    return Held(np.clip(views, 0, 255).astype(np.uint8), states, (0, 30, 60), 3, 83)


@pytest.fixture(scope="module")
def tables() -> CodecTables:
    importance = np.square(BASIS).mean(1)
    # Ten times what the twin's error is: as if a lost block had been fitted to.
    return fit_levels([Recorded(walk(300, 1))], importance, 640.0, held(2), render)


def loss_db(tables: CodecTables, level: int, part: Held) -> float:
    decoded, _ = code(tables, level, part)
    raw, seen = (
        np.mean([psnr(a, b) for a, b in zip(part.views, render(states), strict=True)])
        for states in (part.states, decoded)
    )
    return float(raw - seen)


def test_the_first_levels_lose_what_they_may(tables: CodecTables) -> None:
    for level in (0, 1):
        assert 0.2 * LOSSES_DB[level] < tables.levels[level].loss_db <= LOSSES_DB[level]
        assert loss_db(tables, level, held(2)) == pytest.approx(tables.levels[level].loss_db, abs=2e-3)
        assert loss_db(tables, level, held(3)) < 1.5 * LOSSES_DB[level]


def test_levels_are_distinct(tables: CodecTables) -> None:
    assert len(tables.levels) >= 3
    sizes = [code(tables, level, held(3))[1] for level in range(len(tables.levels))]
    losses = [level.loss_db for level in tables.levels]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert losses == sorted(losses)


def test_levels_that_cost_the_same_are_left_out() -> None:
    """A subject that hardly moves: there is no loss of 1.9 dB to be had, whatever is left unsent."""
    still = Held(held(2).views, np.zeros((90, LENGTH), np.int8), (0, 30, 60), 3, 83)
    quiet = Held(render(still.states), still.states, still.starts, 3, 83)
    found = fit_levels([Recorded(walk(300, 1, 0.5))], np.square(BASIS).mean(1), 64.0, quiet, render)
    bits = [level.bits for level in found.levels]
    assert 2 <= len(bits) < len(LOSSES_DB)
    assert all(after < before for before, after in itertools.pairwise(bits[1:]))


def test_each_block_begins_with_a_key() -> None:
    part = held(5)
    tables = fit_levels([Recorded(walk(300, 1))], np.square(BASIS).mean(1), 64.0, held(2), render)
    alone = Held(part.views[30:60], part.states[30:60], (0,), 3, 83)
    np.testing.assert_array_equal(code(tables, 1, part)[0][30:60], code(tables, 1, alone)[0])


def test_a_loss_is_of_the_error_that_is_to_come() -> None:
    importance = np.square(BASIS).mean(1)
    calm = fit_levels([Recorded(walk(300, 1))], importance, 64.0, held(2), render)
    harder = fit_levels([Recorded(walk(300, 1))], importance, 64.0, held(2), render, ahead=400.0)
    error = np.square(held(2).views.astype(np.float64) - render(held(2).states)).mean()
    coded = code(harder, 1, held(2))[0]
    added = np.square(held(2).views.astype(np.float64) - render(coded)).mean() - error
    lost = 10 * np.log10(1 + added / (error + 400.0))
    assert harder.levels[1].loss_db == pytest.approx(lost, abs=2e-3)
    assert lost <= LOSSES_DB[1]
    assert harder.levels[1].bits < calm.levels[1].bits
