"""The clips that methods are compared on: what a training run was tested with."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.cameras import open_camera
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.errors import ConfigError
from twin_edge.preprocess.view import Viewer
from twin_training.recipe import Recipe, recipe_from_json
from twin_training.recordings import RIG, record

_RIG_FPS: Final = 30.0
_RIG_FRAMES: Final = 150
_DEFAULT_FPS: Final = 30.0

Views = npt.NDArray[np.uint8]
"""Consecutive views, uint8 RGB of shape (n, size, size, 3), 0-255."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A subject's views, apart in training and test."""

    name: str
    """The run's name."""
    fps: float
    """Views per second."""
    fixed: bool
    """Whether the subject stays where it is, so that it needs no pose."""
    train: tuple[Views, ...]
    """Sequences to learn from, in time order."""
    live: tuple[Views, ...]
    """Sequences of the training part at the rate of the test, for the tables of a codec."""
    test: tuple[Views, ...]
    """Sequences to measure on; for a method that learns nothing, each is a clip of its own."""

    @property
    def frames(self) -> int:
        """Number of test views."""
        return sum(map(len, self.test))

    def kbps(self, bytes_per_frame: float) -> float:
        """Returns kilobits per second."""
        return bytes_per_frame * self.fps * 8 / 1000


def load_clip(run: Path, subject: str = "") -> Clip:
    """Records a run's subject again; takes its test views from the run folder, or films the rig's test episodes.

    Args:
        run: The run folder.
        subject: What was trained on; empty looks for it by the name that the run knows, in `clips` as well.

    Raises:
        ConfigError: It is no run folder.
        TwinEdgeError: The subject is not there any more.
    """
    try:
        recipe = recipe_from_json(json.loads((run / "recipe.json").read_bytes()))
        known = str(json.loads((run / "metrics.json").read_bytes())["subject"])
        with np.load(io.BytesIO((run / "dataset.npz").read_bytes()), allow_pickle=False) as saved:
            test: Views = saved["test"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{run} is not a finished run ({error})", fix="train first: make train convert") from error
    fetched = Path("clips") / known
    subject = subject or (str(fetched) if fetched.exists() else known)  # A run knows its subject's name only.
    seen = 0

    def report(done: int, _total: int | None) -> None:
        nonlocal seen
        seen = done

    dataset = record(subject, recipe, report)
    if subject in RIG:
        data, live = recipe.data, dataset.live
        assert live is not None  # noqa: S101 - every recording of the rig has it
        return Clip(
            name=run.name,
            fps=_RIG_FPS,
            fixed=True,
            train=cut(dataset.train, data.rig_frames),
            live=cut(live, dataset.live_cuts[1] if len(dataset.live_cuts) > 1 else len(live)),
            test=tuple(film_rig(recipe, seed, _RIG_FRAMES) for seed in data.rig_test_seeds),
        )
    fps = _fps(subject, seen, recipe)
    train = (dataset.train,)
    return Clip(name=run.name, fps=fps, fixed=not recipe.model.moving, train=train, live=train, test=(test,))


def film_rig(recipe: Recipe, seed: int, frames: int) -> Views:
    """Returns consecutive views of a rig episode, as a device sees them at 30 a second."""
    rig, viewer = Rig(RigConfig(seed=seed)), Viewer(recipe.view)
    views = np.empty((frames, recipe.model.size, recipe.model.size, 3), np.uint8)
    for view in views:
        rig.step(1)
        viewer(rig.draw(), out=view)
    return views


def cut(views: Views, length: int) -> tuple[Views, ...]:
    """Cuts views into sequences of one length; the last may be shorter."""
    return tuple(views[start : start + length] for start in range(0, len(views), length))


def _fps(subject: str, frames: int, recipe: Recipe) -> float:
    """Returns the rate of the views: that of the camera, thinned out as the recording was."""
    camera = open_camera(subject)
    try:
        camera.open()
        fps = (camera.fps or _DEFAULT_FPS) / max(1, math.ceil(frames / recipe.data.max_frames))
        return fps / max(1, round(fps / recipe.data.fps)) if recipe.data.fps else fps
    finally:
        camera.close()
