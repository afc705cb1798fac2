"""Training starts at the linear twin, learns, repeats itself, goes on where it stopped, and saves what it should."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import moving_subject
from twin_edge.errors import ConfigError, TrainingError
from twin_edge.quality import psnr
from twin_training.losses import motion_weights
from twin_training.recipe import Recipe, load_recipe
from twin_training.recordings import Dataset, record
from twin_training.schedule import phase_at
from twin_training.start import prepare
from twin_training.train import train
from twin_training.trainer import Trainer

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    quick = load_recipe("quick")
    model = replace(quick.model, size=32, latent=8, encoder_side=16, block=4, atoms=32, hidden=6, refiner=6, patch=16)
    data = replace(
        quick.data,
        rig_train_seeds=(1000, 1001, 1002),
        rig_validation_seeds=(2000,),
        rig_test_seeds=(3000,),
        rig_frames=30,
    )
    return replace(quick, data=data, model=model, train=replace(quick.train, steps=12, checkpoint_every=6, batch=8))


@pytest.fixture(scope="module")
def dataset(recipe: Recipe) -> Dataset:
    return record("rig", recipe)


def trainer_of(recipe: Recipe, dataset: Dataset) -> Trainer:
    return Trainer(recipe, *dataset.to_train_on(), dataset.validation)


def weights(trainer: Trainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*trainer.encoder.variables, *trainer.generator.variables)]


def quality(trainer: Trainer, views: np.ndarray) -> float:
    renderings = trainer.render(trainer.encode(views))
    return float(np.mean([psnr(view, rendering) for view, rendering in zip(views, renderings, strict=True)]))


def test_training_starts_at_the_linear_twin_and_improves_on_it(recipe: Recipe, dataset: Dataset) -> None:
    longer = replace(recipe, train=replace(recipe.train, steps=60, adversarial_weight=0.0))
    trainer = trainer_of(longer, dataset)
    mean = dataset.train.mean(0)
    # Before a single step it already draws what is in the view, not just the mean of all.
    start = quality(trainer, dataset.validation)
    assert start > np.mean([psnr(view, np.rint(mean).astype(np.uint8)) for view in dataset.validation]) + 0.5
    losses: list[float] = []
    assert trainer.fit(lambda progress: losses.append(progress.losses["loss"]))
    trainer.finish()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert quality(trainer, dataset.validation) > start
    states = trainer.encode(dataset.test)
    assert states.dtype == np.int8
    assert 8 < states.std() < 80
    assert trainer.imagine(3).shape == (3, 32, 32, 3)


def test_what_draws_worse_than_the_linear_twin_is_not_kept(recipe: Recipe, dataset: Dataset) -> None:
    config = replace(recipe.train, learning_rate=0.1, warmup_share=0.0, ema=0.0, adversarial_weight=0.0)
    trainer = trainer_of(replace(recipe, train=config), dataset)
    start = quality(trainer, dataset.validation)
    trainer.fit()
    assert quality(trainer, dataset.validation) < start
    trainer.finish()
    assert quality(trainer, dataset.validation) >= start - 0.01


def test_equal_seeds_give_equal_models_and_resuming_changes_nothing(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    whole = trainer_of(recipe, dataset)
    whole.fit()
    whole.finish()
    first = trainer_of(recipe, dataset)
    checkpoint = tmp_path / "checkpoint.npz"
    assert not first.fit(stopped=lambda: first.step >= 7, checkpoint=checkpoint)
    second = trainer_of(recipe, dataset)
    second.restore(checkpoint)
    assert second.step == 7
    assert second.fit()
    second.finish()
    for a, b in zip(weights(whole), weights(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_of_another_recipe_is_refused(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    trainer = trainer_of(recipe, dataset)
    trainer.save(tmp_path / "checkpoint.npz")
    trainer.recipe = replace(recipe, train=replace(recipe.train, learning_rate=1e-4))
    with pytest.raises(TrainingError, match="another recipe"):
        trainer.restore(tmp_path / "checkpoint.npz")
    (tmp_path / "checkpoint.npz").write_bytes(b"PK broken")
    with pytest.raises(TrainingError, match="not readable"):
        trainer.restore(tmp_path / "checkpoint.npz")


def test_diverging_training_stops_with_a_reason(recipe: Recipe, dataset: Dataset) -> None:
    trainer = trainer_of(replace(recipe, train=replace(recipe.train, steps=60)), dataset)
    image = trainer.generator.get_layer("anchor").image
    with pytest.raises(TrainingError, match="not finite after 2 steps"):
        trainer.fit(lambda _progress: image.assign(np.full(image.shape, np.nan, np.float32)))


def test_a_moving_subject_is_followed_and_drawn_over_its_plate(recipe: Recipe) -> None:
    views, where, _ = moving_subject.prepared()
    # After an adversarial end the last weights are taken, not the best.
    small = replace(recipe, model=moving_subject.MODEL, train=replace(recipe.train, adversarial_weight=0.0))
    trainer = Trainer(small, views[:180], (0,), views[180:])
    states = trainer.encode(views[180:])
    assert states.shape == (60, 4 + moving_subject.MODEL.latent)
    scene = trainer.scene
    assert scene is not None
    found = np.array([scene.pose.dequantize(state[:4]).values()[:2] for state in states])
    true = np.array([pose.values()[:2] for pose in where[180:]])
    assert np.corrcoef(found[:, 0], true[:, 0])[0, 1] > 0.98
    start = quality(trainer, views[180:])
    assert start > 24
    trainer.fit()
    trainer.finish()
    assert quality(trainer, views[180:]) >= start - 0.01
    # Where the square never goes, every rendering is the plate.
    renderings = trainer.render(states)
    assert np.abs(renderings[:, :6, :6].astype(int) - scene.plate[:6, :6]).mean() < 3


def test_a_prefix_of_the_latent_is_a_coarser_twin(run_folder: Path) -> None:
    encoder = keras.models.load_model(run_folder / "encoder.keras")
    generator = keras.models.load_model(run_folder / "generator.keras")
    with np.load(run_folder / "dataset.npz") as saved:
        views = saved["test"][::4].astype(np.float32) / 255
    side = encoder.input_shape[1]
    blocks = views.reshape(len(views), side, views.shape[1] // side, side, views.shape[1] // side, 3)
    latents = encoder(blocks.mean((2, 4))).numpy()
    mean = latents.mean(0)
    errors = []
    for kept in (0, 4, 8, 16):
        prefix = np.where(np.arange(16) < kept, latents, mean)
        errors.append(float(np.square(generator(prefix).numpy() - (views * 2 - 1)).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_phases_come_in_order(recipe: Recipe) -> None:
    phases = [phase_at(step, recipe.train) for step in range(recipe.train.steps)]
    assert not phases[0].adversarial
    assert phases[-1].adversarial
    assert phases[-1].learning_rate < 0.1 * max(phase.learning_rate for phase in phases)
    without = replace(recipe.train, adversarial_weight=0.0)
    assert not any(phase_at(step, without).adversarial for step in range(without.steps))


def test_moving_pixels_weigh_more() -> None:
    views = np.full((50, 32, 32, 3), 100, np.uint8)
    views[::2, 4:8, 4:8] = 200
    weight = motion_weights(views, 2.0)[0, :, :, 0]
    assert weight[5, 5] > 5 * weight[20, 20]
    assert weight.mean() == pytest.approx(1, abs=1e-5)


def test_run_folder_has_all_that_conversion_and_people_need(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert {"encoder.keras", "generator.keras", "float", "metrics.json", "samples.png", "losses.png"} <= names
    assert not {"checkpoint.npz", "scene.npz"} & names
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["test"]["psnr_db"] > metrics["mean_image_test"]["psnr_db"] + 1
    # So small a twin has a quarter of the baseline's values, and is not held to it.
    assert metrics["baseline_test"]["psnr_db"] > metrics["mean_image_test"]["psnr_db"] + 1
    assert metrics["history"][-1]["step"] == load_recipe("quick").train.steps


def test_a_finished_run_is_not_trained_anew_by_mistake(recipe: Recipe, run_folder: Path) -> None:
    before = (run_folder / "metrics.json").read_bytes()
    with pytest.raises(ConfigError, match=r"finished training.*--force"):
        train("rig", recipe, run_folder)
    assert (run_folder / "metrics.json").read_bytes() == before


def test_a_run_that_is_replaced_has_not_finished_until_it_has(recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("metrics.json", "recording.mkv"):
        (folder / name).write_text("old")
    steps: list[int] = []
    outcome = train(
        "rig", recipe, folder, force=True, on_progress=lambda now: steps.append(now.step), stopped=lambda: bool(steps)
    )
    assert not outcome.finished
    assert not (folder / "metrics.json").exists()
    train("rig", recipe, folder, resume=True)
    assert not (folder / "recording.mkv").exists()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["region"] is None


def test_an_empty_scene_is_the_plate_of_a_subject_that_hardly_moves() -> None:
    views = moving_subject.views(moving_subject.poses(90, reach=1.0))
    empty = moving_subject.wall()
    empty[28:36, 28:36] = (240, 20, 30)  # behind the square, never to be seen
    guessed, shown = (
        prepare(moving_subject.MODEL, views, (0,), 1, empty=scene).scene.plate.astype(int) for scene in (None, empty)
    )
    assert np.abs(shown - empty).mean() < 1.5
    assert np.abs(guessed - empty)[29:35, 29:35].mean() > 40


def test_nothing_to_resume_is_said(recipe: Recipe, tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint"):
        train("rig", recipe, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="has finished"):
        train("rig", recipe, run_folder, resume=True)


def test_stopped_run_says_so_and_resumes(recipe: Recipe, tmp_path: Path) -> None:
    steps: list[int] = []
    outcome = train(
        "rig", recipe, tmp_path / "run", on_progress=lambda now: steps.append(now.step), stopped=lambda: len(steps) >= 5
    )
    assert not outcome.finished
    assert outcome.step == 5
    assert (tmp_path / "run" / "checkpoint.npz").exists()
    outcome = train("rig", recipe, tmp_path / "run", resume=True, on_progress=lambda now: steps.append(now.step))
    assert outcome.finished
    assert steps == list(range(1, 13))
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
