"""What keeps a run from being overwritten by mistake, or gone on with as what it is not. Loads no TensorFlow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from twin_edge.errors import ConfigError, TrainingError
from twin_training.recipe import Recipe, recipe_from_json

CHECKPOINT: Final = "checkpoint.npz"
METRICS: Final = "metrics.json"
RECIPE: Final = "recipe.json"


def check_may_begin(folder: Path, *, resume: bool, force: bool) -> None:
    """Refuses to begin where that would overwrite a run, and to go on where there is nothing to go on with.

    Args:
        folder: The run folder; need not be there.
        resume: Whether the run is to be gone on with.
        force: Whether a run that is there is to be replaced.

    Raises:
        ConfigError: One of these; says what to do.
    """
    unfinished, finished = (folder / CHECKPOINT).exists(), is_finished(folder)
    if resume and force:
        raise ConfigError("--resume and --force contradict each other", fix="give one of them")
    if resume and not unfinished:
        if finished:
            raise ConfigError(
                f"the training in {folder} has finished",
                fix=f"convert it: twin-convert {folder}, or train without --resume",
            )
        raise ConfigError(f"there is no checkpoint in {folder}", fix="train without --resume")
    if resume or force:
        return
    if unfinished:
        raise ConfigError(
            f"{folder} has a training that was stopped",
            fix="go on with it by --resume, or give another --name, or begin anew with --force",
        )
    if finished:
        raise ConfigError(
            f"{folder} has a finished training", fix="give another --name, or --force to replace it (make: FORCE=1)"
        )


def is_finished(folder: Path) -> bool:
    """Whether a training has come to its end in a run folder."""
    return (folder / METRICS).exists() and not (folder / CHECKPOINT).exists()


def read_recipe(folder: Path) -> Recipe:
    """Reads the resolved recipe of a run.

    Raises:
        TrainingError: There is none, or it is not readable.
        ConfigError: It has a value out of range.
    """
    try:
        return recipe_from_json(json.loads((folder / RECIPE).read_bytes()))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is not a run that can be resumed", fix="train without --resume") from error


def check_same(own: Recipe, asked: Recipe, folder: Path) -> None:
    """Refuses to go on with a run by another recipe than its own.

    Args:
        own: The run's resolved recipe.
        asked: What the options ask for; its region is not compared.
        folder: The run folder.

    Raises:
        ConfigError: They differ.
    """
    alike = replace(asked, data=replace(asked.data, region=own.data.region))
    if alike != own:
        raise ConfigError(
            f"the training in {folder} was begun with other settings (recipe {own.name}, size {own.model.size}, "
            f"{own.train.steps} steps)",
            fix="leave out --recipe, --size and --steps to go on with its own, or begin anew with --force",
        )
