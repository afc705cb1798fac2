"""Splits are apart, and a subject that cannot be learned from is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.errors import CameraError, TrainingError, TwinEdgeError
from twin_training.recipe import Recipe, load_recipe
from twin_training.recordings import Dataset, describe_learned, read_empty, record
from twin_training.survey import survey


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    quick = load_recipe("quick")
    return replace(quick, data=replace(quick.data, gap_s=1.0))


def write_video(path: Path, frames: list[np.ndarray], fps: float = 20.0) -> str:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return str(path)


def numbered(count: int) -> list[np.ndarray]:
    """Returns frames whose brightness is their number, over a fixed pattern."""
    pattern = np.random.default_rng(1).integers(0, 40, (64, 64, 3))
    return [(pattern + index * 200 / count).astype(np.uint8) for index in range(count)]


def brightness(views: np.ndarray) -> np.ndarray:
    return views.mean(axis=(1, 2, 3))


def test_blocks_are_spread_and_apart(tmp_path: Path, recipe: Recipe) -> None:
    dataset = record(write_video(tmp_path / "clip.avi", numbered(400)), recipe)
    step = 200 / 400
    train, validation, test = (brightness(views) for views in (dataset.train, dataset.validation, dataset.test))
    assert len(dataset.validation_cuts) == len(dataset.validation_blocks) == 5
    parts = np.split(validation, dataset.validation_cuts[1:])
    for part in parts:
        assert np.diff(part).mean() == pytest.approx(step, rel=0.3)
        # The gap: 1 s would be 20 frames, a tenth of the recording leaves 3.
        assert np.abs(train[:, np.newaxis] - part).min() > 1.9 * step
    assert np.ptp([part.mean() for part in parts]) > 0.6 * np.ptp(train)
    assert test.min() - max(train.max(), validation.max()) > 15 * step
    # Nothing that is trained on comes after the last block, as nothing does after the test.
    assert parts[-1].min() > train.max()
    assert dataset.validation_blocks[-1].startswith("14.")
    leaps = np.flatnonzero(np.diff(train) > 4 * step) + 1
    assert dataset.cuts == (0, *leaps)


def test_long_recordings_are_thinned_out_evenly(tmp_path: Path, recipe: Recipe) -> None:
    few = replace(recipe, data=replace(recipe.data, max_frames=240, validation_share=0.2))
    dataset = record(write_video(tmp_path / "clip.avi", numbered(1500)), few)
    total = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    assert 110 <= total <= 240
    for part in np.split(brightness(dataset.train), dataset.cuts[1:]):
        steps = np.diff(part)
        assert steps.max() - steps.min() < 1.5


def test_a_clip_of_four_seconds_can_be_trained_on(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.avi", numbered(120), fps=30.0)
    dataset = record(clip, load_recipe("face"))
    assert (len(dataset.validation), dataset.fps) == (24, 30.0)
    assert len(dataset.train) > 45
    assert len(dataset.test) == 30


def test_rig_seeds_are_apart(recipe: Recipe) -> None:
    dataset = record("rig", recipe)
    assert len(dataset.train) == 8 * 40
    assert dataset.digest() == record("rig:", recipe).digest()
    flat = dataset.train.reshape(len(dataset.train), -1).astype(np.float32)
    for view in dataset.test[::10].reshape(-1, flat.shape[1]):
        assert np.abs(flat - view).mean(1).min() > 0.5


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (numbered(20), "has 20 usable frames: too few .*record at least 100 frames"),
        ([np.zeros((64, 64, 3), np.uint8)] * 300, "one even color"),
        ([numbered(2)[1]] * 300, "never moves"),
    ],
)
def test_subjects_that_cannot_be_learned(tmp_path: Path, recipe: Recipe, frames: list[np.ndarray], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        record(write_video(tmp_path / "clip.avi", frames), recipe)


def test_an_image_is_no_subject(tmp_path: Path, recipe: Recipe) -> None:
    picture = numbered(1)[0]
    for name in ("photo.png", "photo.gif"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        for look_at in (record, lambda subject, _recipe: survey(subject, 1.0)):
            with pytest.raises(CameraError, match="image, not a video: give a video"):
                look_at(str(tmp_path / name), recipe)
        assert read_empty(str(tmp_path / name), recipe).shape == (64, 64, 3)  # but a scene may be shown in one
    (tmp_path / "stills").mkdir()
    cv2.imwrite(str(tmp_path / "stills" / "1.png"), picture)
    subject = f"images:{tmp_path / 'stills'}"
    with pytest.raises(TrainingError, match="has 1 usable frame: too few"):
        record(subject, recipe)
    with pytest.raises(TrainingError, match=r"has 1 frame: give .* at least 100 frames"):
        survey(subject, 1.0)


def test_what_is_trained_on_instead_of_held_out_is_said_in_a_sentence() -> None:
    views, used = np.zeros((0, 4, 4, 3), np.uint8), "used for training, not for validation"
    said = [
        describe_learned(Dataset(views, views, views, learned_blocks=blocks)) for blocks in ((), ("a",), ("a", "b"))
    ]
    assert said == [
        "",
        f"a: no other part before the test shows what happens in this one, so it is {used}",
        f"a and b: no other part before the test shows what happens in these, so they are {used}",
    ]


@pytest.mark.parametrize("subject", ["nowhere.mp4", "images:/nowhere", "wat://x"])
def test_subjects_that_are_none(subject: str, recipe: Recipe) -> None:
    with pytest.raises(TwinEdgeError) as caught:
        record(subject, recipe)
    assert caught.value.fix


def test_corrupt_video(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + b"\xab" * 5000)
    with pytest.raises(CameraError):
        record(str(path), recipe)


def test_a_lower_rate_thins_out_what_is_measured_and_keeps_what_is_trained(tmp_path: Path, recipe: Recipe) -> None:
    clip = write_video(tmp_path / "clip.avi", numbered(600))
    whole = record(clip, recipe)
    slower = record(clip, replace(recipe, data=replace(recipe.data, fps=10.0)))
    np.testing.assert_array_equal(slower.train, whole.train)
    for lean, full in zip(
        np.split(slower.validation, slower.validation_cuts[1:]),
        np.split(whole.validation, whole.validation_cuts[1:]),
        strict=True,
    ):
        np.testing.assert_array_equal(lean, full[::2])
    assert (whole.fps, slower.fps) == pytest.approx((20, 10))
    np.testing.assert_array_equal(slower.test, whole.test[::2])
    assert whole.live is None
    assert slower.live is not None
    for part in np.split(brightness(slower.live), slower.live_cuts[1:]):
        assert np.diff(part).mean() == pytest.approx(2 * 200 / 600, rel=0.2)


def test_rig_says_where_something_else_begins(recipe: Recipe) -> None:
    seeds = replace(recipe.data, rig_train_seeds=(1, 2, 3), rig_validation_seeds=(4,), rig_test_seeds=(5,))
    dataset = record("rig", replace(recipe, data=replace(seeds, rig_frames=30, rig_stride=2)))
    assert dataset.cuts == (0, 30, 60)
    assert dataset.live is not None
    assert dataset.live_cuts == (0, 30, 60)
    assert (dataset.validation_cuts, dataset.validation_blocks, dataset.test_cuts) == ((0,), ("seed 4",), (0,))
    assert (dataset.fps, dataset.continuous) == (30.0, False)
