"""One training run from the subject to the run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.files import write_atomic
from twin_edge.pictures import labelled_rows
from twin_training.auto import PARTS, candidates, in_fitting_size
from twin_training.baselines import best, rate_points
from twin_training.candidates import Job, best_of, evaluate, evenly_rows, train_candidates
from twin_training.diagnosis import (
    Finding,
    Stage,
    check_following,
    check_framing,
    check_recording,
    check_result,
    follow,
    stage_of,
)
from twin_training.extrapolation import extrapolate
from twin_training.loop import Progress, TwinTrainer
from twin_training.networks import multiply_accumulates
from twin_training.order0 import entropy_bytes
from twin_training.pictures import losses_png
from twin_training.recipe import Recipe
from twin_training.recordings import Dataset, Report, Views, describe_learned, record
from twin_training.run_folder import RunFolder
from twin_training.run_guard import check_may_begin
from twin_training.source import Found, describe_found, readable, settle_region
from twin_training.trainer import Trainer

_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training run ended."""

    finished: bool
    """False when it was stopped early; then a checkpoint is there to resume from."""
    step: int
    """Steps done."""
    seconds: float
    """Seconds of this call."""
    metrics: dict[str, Any]
    """What was measured, as in `metrics.json`; empty when stopped early."""


def train(
    subject: str,
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    region: str = "",
    empty: str = "",
    choose_size: bool = False,
    on_recording: Report = lambda _done, _total: None,
    on_stage: Callable[[str], None] = lambda _stage: None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    on_finding: Callable[[Finding], None] = lambda _finding: None,
    on_note: Callable[[str], None] = lambda _note: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains the twin of a subject.

    Args:
        subject: What to look at: `rig`, a camera URI, a video, a folder of images.
        recipe: What to train and how.
        folder: The run folder.
        resume: Whether to go on from the folder's checkpoint; the recipe is then to be the folder's.
        force: Whether a run that is there is replaced.
        region: What of the frames is looked at, see `twin_training.source.settle_region`; not when resumed: then it is
            the recipe's.
        empty: An image or a video of the scene without the subject; empty for none.
        choose_size: Whether the recipe `auto` is to choose the size too; not when resumed: then it is the recipe's.
        on_recording: Told about the progress of reading the subject.
        on_stage: Told what is computed before the first step.
        on_progress: Told after each training step.
        on_finding: Told what is wrong with the subject, or with the twin, as soon as that is known.
        on_note: Told what was found that is no trouble, a line each; empty for nothing.
        stopped: Asked before each step whether to stop.

    Raises:
        CameraError: The subject cannot be read.
        ConfigError: There is nothing to resume, or something that would be overwritten, or no such region.
        TrainingError: There is too little to learn from, or training diverges.
        TwinEdgeError: The folder cannot be written.
    """
    started = time.monotonic()
    run = RunFolder(folder)
    check_may_begin(folder, resume=resume, force=force)
    source = readable(subject, recipe, run.recording, on_recording, resume=resume)
    found = Found(recipe, None, None) if resume else settle_region(source, region, recipe, on_recording)
    recipe = found.recipe
    on_note(describe_found(found))
    if choose_size and found.survey is not None:
        recipe = in_fitting_size(recipe, found.survey.details, on_note)
    found = replace(found, survey=None)  # Its frames are many, and nobody looks at them again.
    dataset = record(source, recipe, on_recording, empty)
    on_note(describe_learned(dataset))
    recorded = time.monotonic()
    findings: list[Finding] = []

    def tell(found: list[Finding]) -> None:
        findings.extend(found)
        for finding in found:
            on_finding(finding)

    if recipe.model.family != "article":  # Stills: they are in no order, and nothing moves from one to the next.
        on_stage("looking at the recording")
    choices = candidates(recipe, dataset, on_note)
    job = Job(run, dataset, recorded, on_stage, on_progress, on_note, stopped)
    tried, stopped_at = train_candidates(choices, job, resume=resume)
    if stopped_at is not None:
        return Outcome(finished=False, step=stopped_at, seconds=time.monotonic() - started, metrics={})
    chosen = best_of(tried)
    on_note(f"{chosen.recipe.name} is kept" if len(tried) > 1 else "")
    recipe, trainer, history = chosen.recipe, chosen.trainer, list(chosen.history)
    assert trainer is not None  # noqa: S101 - the best one keeps it
    run.begin(recipe, resume=False)
    if recipe.model.family != "article":
        tell(check_recording(dataset, moving=recipe.model.moving, chosen=len(choices) > 1))
    tell(check_framing(found, dataset, uses_empty=recipe.model.moving or recipe.model.family == PARTS))
    stage = stage_of(trainer.start, dataset.train) if isinstance(trainer, Trainer) else None
    tell([] if stage is None else check_following(stage))
    trained = time.monotonic()
    run.write_dataset(dataset)
    run.write_models(trainer.encoder, trainer.generator)
    run.write_scene(trainer.scene)
    on_stage("baselines")
    states = trainer.encode(dataset.test, dataset.test_cuts)
    test, points = evaluate(trainer, dataset.test, states), rate_points(dataset)
    # What differences of the states would cost one by one, as those of the baselines do.
    rate = entropy_bytes(np.split(states, dataset.test_cuts[1:]))
    baseline, mean_image = best(points, rate).to_json(), points[0].to_json()
    if stage is not None:
        tell(_held_following(stage, trainer, dataset, states, {finding.kind for finding in findings}))
    tell(check_result(test, baseline, mean_image))
    metrics = {
        "subject": os.path.basename(subject),  # noqa: PTH119 - a subject may be a URI
        "recipe": recipe.name,
        "recipe_digest": recipe.digest(),
        "candidates": [one.to_json() for one in tried],
        "data_digest": dataset.digest(),
        "prior_deviation": trainer.prior_deviation,
        "extrapolation": _extrapolation(dataset, recipe, on_note),
        "region": list(recipe.data.region) or None,
        "frames": {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
        "seconds": {"recording": round(recorded - started, 1), "training": round(trained - recorded, 1)},
        "mmac": {
            "encoder": round(multiply_accumulates(trainer.encoder) / 1e6, 2),
            "generator": round(multiply_accumulates(trainer.generator) / 1e6, 2),
        },
        "test": test,
        "mean_image_test": mean_image,
        "baseline_test": baseline,
        "baselines": [point.to_json() for point in points],
        "warnings": [finding.to_json() for finding in findings],
        "history": history,
    }
    run.write_metrics(metrics)
    _write_pictures(run, trainer, dataset.test, states, history)
    run.end()
    return Outcome(finished=True, step=trainer.step, seconds=time.monotonic() - started, metrics=metrics)


def _extrapolation(dataset: Dataset, recipe: Recipe, on_note: Callable[[str], None]) -> dict[str, float] | None:
    """Returns how much harder the future is, ready for JSON; None where views are in no order of time."""
    if not dataset.continuous or recipe.model.family == "article":
        return None
    found = extrapolate(dataset.train, dataset.validation, dataset.validation_cuts, registered=recipe.model.moving)
    on_note(str(found))
    return found.to_json()


def _held_following(
    stage: Stage, trainer: TwinTrainer, dataset: Dataset, tested: npt.NDArray[Any], known: set[str]
) -> list[Finding]:
    """Returns what following looks like in each validation block and in the test, apart from kinds that are known."""
    ranges = zip(dataset.validation_cuts, (*dataset.validation_cuts[1:], len(dataset.validation)), strict=True)
    states = trainer.encode(dataset.validation, dataset.validation_cuts)
    found = []
    for block, (first, end) in zip(dataset.validation_blocks, ranges, strict=True):
        held = follow(dataset.validation[first:end], states[first:end], stage.spec)
        found += check_following(stage, held, f"the validation block {block}")
    found += check_following(stage, follow(dataset.test, tested, stage.spec))
    return [finding for finding in found if finding.kind not in known]


def _write_pictures(
    run: RunFolder, trainer: TwinTrainer, test: Views, states: npt.NDArray[Any], history: list[dict[str, float]]
) -> None:
    shown = evenly_rows(len(test), _SHOWN)
    rows = {
        "view": test[shown],
        "rendering": trainer.render(states[shown]),
        "from prior": trainer.imagine(_SHOWN),
    }
    write_atomic(run.samples, labelled_rows(rows))
    if history:
        write_atomic(run.losses, losses_png(history))
