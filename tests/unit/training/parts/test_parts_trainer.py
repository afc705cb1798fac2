"""The parts' networks learn what a machine does, from a minute of it, and go on from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from machines import SIZE, machine_views
from twin_edge.errors import TrainingError
from twin_edge.models.scene import SCENE_VALUES
from twin_edge.quality import psnr
from twin_training.parts.learning import Rate, appearance, evenly_over, share_out
from twin_training.parts.trainer import PartsTrainer
from twin_training.recipe import Recipe, load_recipe

pytestmark = pytest.mark.training


def recipe(steps: int) -> Recipe:
    shipped = load_recipe("parts")
    return replace(
        shipped,
        model=replace(shipped.model, size=SIZE),
        parts=replace(shipped.parts, weights=150_000, components=32),
        train=replace(shipped.train, steps=steps, batch=64, checkpoint_every=1000),
    )


@pytest.fixture(scope="module")
def trained() -> PartsTrainer:
    trainer = PartsTrainer(recipe(900), machine_views(500))
    assert trainer.fit()
    trainer.finish()
    return trainer


def test_unseen_views_are_drawn_better_than_by_the_plate(trained: PartsTrainer):
    unseen = machine_views(120, seed=7)[::4]
    states = trained.encode(unseen)
    drawn = trained.render(states)
    twin = np.mean([psnr(a, b) for a, b in zip(unseen, drawn, strict=True)])
    plate = np.mean([psnr(view, trained.scene.plate) for view in unseen])
    assert states.dtype == np.int8
    assert states.shape == (len(unseen), SCENE_VALUES + len(trained.regions.shares) * 4)
    assert twin > plate + 6


def test_the_models_are_what_the_trainer_says(trained: PartsTrainer):
    sheet = np.random.default_rng(0).uniform(0, 1, (1, *trained.encoder.input_shape[1:])).astype(np.float32)
    assert trained.encoder.output_shape[-1] == trained.generator.input_shape[-1]
    assert np.abs(trained.encoder(sheet, training=False).numpy()).max() <= 1
    pixels = np.count_nonzero(trained.scene.labels)
    assert trained.generator.output_shape == (None, 3 * pixels)


def test_imagined_states_are_combinations(trained: PartsTrainer):
    imagined = trained.imagine(4)
    assert imagined.shape == (4, SIZE, SIZE, 3)
    assert len({one.tobytes() for one in imagined}) == 4


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path):
    views = machine_views(150)
    whole, half = PartsTrainer(recipe(30), views), PartsTrainer(recipe(30), views)
    whole.fit()
    half.fit(stopped=lambda: half.step >= 12)
    half.save(tmp_path / "c.npz")
    again = PartsTrainer(recipe(30), views)
    again.restore(tmp_path / "c.npz")
    assert again.step == 12
    again.fit()
    for one, other in zip(whole._variables(), again._variables(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


def test_nothing_that_moves_is_no_subject():
    rng = np.random.default_rng(0)
    views = np.clip(machine_views(1)[0] + rng.normal(0, 2, (120, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    with pytest.raises(TrainingError, match="nothing moves"):
        PartsTrainer(recipe(10), views)


def test_rare_views_are_drawn_more_often():
    usual, rare = np.zeros((95, 4), np.float32), np.full((5, 4), 8, np.float32)
    chances = evenly_over(np.concatenate([usual, rare]))
    assert chances.sum() == pytest.approx(1)
    assert chances[-1] > 3 * chances[0]


def test_weights_go_where_they_say_most():
    rng = np.random.default_rng(1)
    crops = np.zeros((60, 8, 8, 3), np.uint8)
    lively = appearance(crops, rng.integers(0, 255, (60, 50, 3), np.uint8), 20)
    dull = appearance(crops, rng.integers(100, 104, (60, 50, 3), np.uint8), 20)
    first, second = share_out([lively, dull], 150 * 20, 20)
    assert first > second >= 2
    assert first * 150 + 2 * 150 <= 150 * 22


def test_bits_of_what_rests_are_few():
    rate = Rate(3)
    rests, moves = np.zeros((50, 3), np.float32), np.random.default_rng(0).normal(0, 8, (50, 3)).astype(np.float32)
    assert float(rate.bits(rests)) < 0.5 * float(rate.bits(moves))
    assert np.isfinite(float(rate.bits(np.full((4, 3), 1e4, np.float32))))
