"""Training learns, repeats itself, goes on where it stopped, and saves what it should."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from twin_edge.errors import ConfigError, TrainingError
from twin_training.losses import decorrelation_loss, motion_weights
from twin_training.networks import build_discriminator, build_encoder, build_generator, multiply_accumulates
from twin_training.recipe import ModelConfig, Recipe, load_recipe
from twin_training.recordings import Dataset, record
from twin_training.schedule import phase_at
from twin_training.train import train
from twin_training.trainer import Trainer

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    quick = load_recipe("quick")
    return replace(quick, train=replace(quick.train, steps=20, checkpoint_every=10, batch=8))


@pytest.fixture(scope="module")
def dataset(recipe: Recipe) -> Dataset:
    return record("rig", recipe)


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*trainer.encoder.variables, *trainer.generator.variables)]


def test_standard_networks_have_the_cost_they_claim() -> None:
    model = ModelConfig()
    assert multiply_accumulates(build_encoder(model)) + multiply_accumulates(build_generator(model)) < 90e6
    assert build_generator(model).output_shape == (None, 128, 128, 3)
    assert build_discriminator(model).output_shape[1:] == (8, 8)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_every_size_has_matching_ends(size: int) -> None:
    filters = (16, 16, 16, 8)
    model = ModelConfig(size=size, latent=8, encoder_filters=filters, generator_filters=filters, patch=32)
    views = np.random.default_rng(1).random((2, size, size, 3)).astype(np.float32)
    latents = build_encoder(model)(views)
    assert latents.shape == (2, 8)
    renderings = build_generator(model)(latents).numpy()
    assert renderings.shape == views.shape
    assert np.abs(renderings).max() <= 1


def test_training_lowers_the_loss_and_stays_in_range(recipe: Recipe, dataset: Dataset) -> None:
    trainer = Trainer(recipe, dataset.train)
    seen: list[float] = []
    assert trainer.fit(lambda progress: seen.append(progress.losses["l1"]))
    trainer.finish()
    assert np.mean(seen[-4:]) < 0.95 * np.mean(seen[:4])
    latents = trainer.encode(dataset.test[:40])
    assert np.abs(latents).max() <= 1
    assert 0.1 < latents.std() < 0.5
    assert trainer.imagine(3).shape == (3, 64, 64, 3)


def test_equal_seeds_give_equal_models_and_resuming_changes_nothing(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    whole = Trainer(recipe, dataset.train)
    whole.fit()
    first = Trainer(recipe, dataset.train)
    checkpoint = tmp_path / "checkpoint.npz"
    assert not first.fit(stopped=lambda: first.step >= 15, checkpoint=checkpoint)
    second = Trainer(recipe, dataset.train)
    second.restore(checkpoint)
    assert second.step == 15
    second.fit()
    for a, b in zip(weights(whole), weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_of_another_recipe_is_refused(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe, dataset.train)
    trainer.save(tmp_path / "checkpoint.npz")
    other = Trainer(replace(recipe, train=replace(recipe.train, learning_rate=1e-4)), dataset.train)
    with pytest.raises(TrainingError, match="another recipe"):
        other.restore(tmp_path / "checkpoint.npz")
    (tmp_path / "checkpoint.npz").write_bytes(b"PK broken")
    with pytest.raises(TrainingError, match="not readable"):
        trainer.restore(tmp_path / "checkpoint.npz")


def test_diverging_training_stops_with_a_reason(recipe: Recipe, dataset: Dataset) -> None:
    trainer = Trainer(recipe, dataset.train)
    trainer.generator.get_layer("anchor").image.assign_add(
        np.float32("nan") * trainer.generator.get_layer("anchor").image
    )
    with pytest.raises(TrainingError, match="not finite"):
        trainer.fit()


def test_a_prefix_of_the_latent_is_a_coarser_twin(run_folder: Path) -> None:
    encoder = keras.models.load_model(run_folder / "encoder.keras")
    generator = keras.models.load_model(run_folder / "generator.keras")
    with np.load(run_folder / "dataset.npz") as saved:
        views = saved["test"][::4].astype(np.float32) / 255
    latents = encoder(views).numpy()
    mean = latents.mean(0)
    errors = []
    for kept in (0, 4, 8, 16):
        prefix = np.where(np.arange(16) < kept, latents, mean)
        errors.append(float(np.square(generator(prefix).numpy() - (views * 2 - 1)).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_phases_come_in_order(recipe: Recipe) -> None:
    phases = [phase_at(step, recipe.train) for step in range(recipe.train.steps)]
    assert phases[0].principal
    assert not phases[0].adversarial
    assert phases[-1].adversarial
    assert not phases[-1].principal
    assert phases[-1].learning_rate < 0.1 * max(phase.learning_rate for phase in phases)


def test_moving_pixels_weigh_more() -> None:
    views = np.full((50, 32, 32, 3), 100, np.uint8)
    views[::2, 4:8, 4:8] = 200
    weight = motion_weights(views, 2.0)[0, :, :, 0]
    assert weight[5, 5] > 5 * weight[20, 20]
    assert weight.mean() == pytest.approx(1, abs=1e-5)


def test_decorrelation_sees_correlation() -> None:
    rng = np.random.default_rng(1)
    free = rng.normal(0, 0.25, (500, 4)).astype(np.float32)
    tied = np.repeat(free[:, :1], 4, 1)
    assert float(decorrelation_loss(tf.constant(tied), 0.25)) > 20 * float(decorrelation_loss(tf.constant(free), 0.25))


def test_run_folder_has_all_that_conversion_and_people_need(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert {"encoder.keras", "generator.keras", "float", "metrics.json", "samples.png", "losses.png"} <= names
    assert not {"checkpoint.npz"} & names
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["test"]["psnr_db"] > metrics["mean_image_test"]["psnr_db"] + 1
    assert metrics["history"][-1]["step"] == 150


def test_nothing_to_resume_is_said(recipe: Recipe, tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint"):
        train("rig", recipe, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="has finished"):
        train("rig", recipe, run_folder, resume=True)


def test_stopped_run_says_so_and_resumes(recipe: Recipe, tmp_path: Path) -> None:
    steps: list[int] = []
    outcome = train(
        "rig", recipe, tmp_path / "run", on_progress=lambda now: steps.append(now.step), stopped=lambda: len(steps) >= 6
    )
    assert not outcome.finished
    assert outcome.step == 6
    assert (tmp_path / "run" / "checkpoint.npz").exists()
    outcome = train("rig", recipe, tmp_path / "run", resume=True, on_progress=lambda now: steps.append(now.step))
    assert outcome.finished
    assert steps == list(range(1, 21))
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
