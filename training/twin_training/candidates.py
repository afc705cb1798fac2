"""Training one twin after the other until one is good enough, each kept with what it is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.quality import psnr, ssim
from twin_training.article.trainer import ArticleTrainer
from twin_training.diagnosis import LOST, check_following, stage_of
from twin_training.loop import Progress, TwinTrainer
from twin_training.memory import give_back
from twin_training.parts.scene import evenly
from twin_training.parts.trainer import PartsTrainer
from twin_training.recipe import Recipe
from twin_training.recordings import Dataset, Views
from twin_training.run_folder import RunFolder
from twin_training.trainer import Trainer

_EVALUATED: Final = 200
_HISTORY_EVERY: Final = 10
_SAMPLES: Final = 400
_LINEAR_COMPONENTS: Final = 32
_CLEARLY_BETTER_DB: Final = 0.5
_LOST_DB: Final = 3.0
"""What it costs on the device to lose the subject, for seconds at a time, at least."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all candidates are trained on, and who is told of it."""

    run: RunFolder
    """Where checkpoints go."""
    dataset: Dataset
    """What was recorded."""
    since_s: float
    """Monotonic time at which training began, seconds."""
    on_stage: Callable[[str], None]
    """Told what is computed before the first step."""
    on_progress: Callable[[Progress], None]
    """Told after each step."""
    on_note: Callable[[str], None]
    """Told what a candidate is worth."""
    stopped: Callable[[], bool]
    """Asked before each step whether to stop."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A twin that was trained, one of those to choose from."""

    recipe: Recipe
    """What it was trained by."""
    trainer: TwinTrainer | None
    """Its networks; None once another one was better, since together they would take several times the memory."""
    psnr_db: float
    """Mean PSNR on the validation blocks, float, dB."""
    hardest_db: float
    """The same on the block that it draws worst."""
    history: tuple[dict[str, float], ...]
    """Its losses."""
    loses_sight: bool = False
    """Whether it loses its subject from sight in the training part: then it will elsewhere, whatever the blocks say."""

    def to_json(self) -> dict[str, Any]:
        """Returns what it was compared by as an object of JSON."""
        return {
            "recipe": self.recipe.name,
            "validation_psnr_db": round(self.psnr_db, 3),
            "hardest_block_psnr_db": round(self.hardest_db, 3),
            "loses_sight": self.loses_sight,
        }

    @property
    def worth_db(self) -> float:
        """What candidates are compared by, dB."""
        return self.psnr_db - _LOST_DB * self.loses_sight


def train_candidates(
    choices: Sequence[Recipe], job: Job, *, resume: bool = False
) -> tuple[list[Candidate], int | None]:
    """Trains candidates until one is good enough.

    Args:
        choices: Their recipes, the likelier first.
        job: What to train them on.
        resume: Whether to go on from the checkpoint in the run folder, which is the first one's.

    Returns:
        Those that were trained, and None; or, when stopped early, the step at which the last one was saved.

    Raises:
        TrainingError: Training diverges, or the checkpoint is of another recipe.
        TwinEdgeError: The folder cannot be written.
    """
    tried: list[Candidate] = []
    while recipe := _next(choices, tried, job.dataset):
        job.run.begin(recipe, resume=resume)
        trainer = make_trainer(recipe, job.dataset, job.on_stage)
        if resume:
            trainer.restore(job.run.checkpoint)
        history: list[dict[str, float]] = []

        def keep(progress: Progress, history: list[dict[str, float]] = history) -> None:
            if progress.step % _HISTORY_EVERY == 0 or progress.step == progress.steps:
                entry = {"step": float(progress.step), "seconds": round(time.monotonic() - job.since_s, 2)}
                history.append(entry | {name: round(value, 6) for name, value in progress.losses.items()})
            job.on_progress(progress)

        if not trainer.fit(keep, stopped=job.stopped, checkpoint=job.run.checkpoint):
            return tried, trainer.step
        trainer.finish()
        held, lost = _on_blocks(trainer, job.dataset), len(choices) > 1 and _loses_sight(trainer, job.dataset)
        trainer.release()  # Once, whether or not it stays: what comes is drawn with what is left of it.
        tried = _best_kept([*tried, Candidate(recipe, trainer, float(np.mean(held)), min(held), tuple(history), lost)])
        del trainer
        give_back()
        if len(choices) > 1:
            but = "; tracking loses the subject" if lost else ""
            job.on_note(
                f"{recipe.name} reaches {np.mean(held):.2f} dB on the validation blocks, {min(held):.2f} dB on the "
                f"hardest{but}"
            )
    return tried, None


def best_of(tried: Sequence[Candidate]) -> Candidate:
    """Returns the candidate that is worth most, the first of those that are equal."""
    return max(tried, key=lambda one: one.worth_db)


def _on_blocks(trainer: TwinTrainer, dataset: Dataset) -> list[float]:
    """Returns the mean PSNR of each validation block, dB."""
    validation, cuts = dataset.validation, dataset.validation_cuts
    states = trainer.encode(validation, cuts)
    return [
        evaluate(trainer, validation[first:end], states[first:end])["psnr_db"]
        for first, end in zip(cuts, (*cuts[1:], len(validation)), strict=True)
    ]


def _loses_sight(trainer: TwinTrainer, dataset: Dataset) -> bool:
    stage = stage_of(trainer.start, dataset.train) if isinstance(trainer, Trainer) else None
    return stage is not None and any(found.kind == LOST for found in check_following(stage))


def _best_kept(tried: list[Candidate]) -> list[Candidate]:
    """Returns the candidates with the networks of the best one only."""
    best = best_of(tried)
    return [one if one is best else replace(one, trainer=None) for one in tried]


def _next(choices: Sequence[Recipe], tried: Sequence[Candidate], dataset: Dataset) -> Recipe | None:
    """Returns the recipe to train next; None when the best of those that were tried is good enough, or none is left.

    Good enough is clearly better than principal components of the views draw the validation blocks. Parts are tried in
    any case, which takes a minute: that aligning the views helps does not tell how well the subject can be followed.
    What comes last is the linear twin: it costs little, and no bundle is to be worse than it.

    Args:
        choices: The recipes, the likelier first.
        tried: What has been trained.
        dataset: What was recorded.
    """
    if len(tried) == len(choices):
        return None
    parts_left = any(recipe.model.family == "parts" for recipe in choices[len(tried) :])
    if tried and not parts_left and _good_enough(best_of(tried), dataset):
        return None
    return choices[len(tried)]


def _good_enough(best: Candidate, dataset: Dataset) -> bool:
    return best.worth_db >= linear_psnr(dataset.train, dataset.validation) + _CLEARLY_BETTER_DB


def linear_psnr(train: Views, held: Views) -> float:
    """Returns the mean PSNR of held-out views drawn with principal components of the training views, dB."""
    known = evenly(train, _SAMPLES).reshape(-1, train[0].size).astype(np.float32)
    mean = known.mean(0)
    known -= mean
    values, vectors = np.linalg.eigh(known @ known.T)
    count = min(_LINEAR_COMPONENTS, len(known) - 1)
    basis = (vectors[:, -count:] / np.sqrt(np.maximum(values[-count:], 1e-3))).T @ known
    reached = []
    for view in evenly(held, _SAMPLES):
        drawn = ((view.reshape(-1) - mean) @ basis.T) @ basis + mean
        reached.append(psnr(view, np.rint(np.clip(drawn, 0, 255)).astype(np.uint8).reshape(view.shape)))
    return float(np.mean(reached))


def make_trainer(
    recipe: Recipe, dataset: Dataset, on_stage: Callable[[str], None] = lambda _stage: None
) -> TwinTrainer:
    """Returns the trainer of the recipe's family of networks, on a dataset's training views."""
    if recipe.model.family == "article":
        return ArticleTrainer(recipe, dataset.train)
    if recipe.model.family == "parts":
        return PartsTrainer(recipe, *dataset.to_train_on(), on_stage, dataset.empty)
    return Trainer(
        recipe,
        *dataset.to_train_on(),
        dataset.validation,
        on_stage,
        validation_cuts=dataset.validation_cuts,
        empty=dataset.empty,
    )


def evaluate(trainer: TwinTrainer, views: Views, states: npt.NDArray[Any]) -> dict[str, float]:
    """Returns PSNR (dB) and SSIM of the float models on some of the views, the latent rounded to int8 steps.

    Args:
        trainer: Renders.
        views: uint8 RGB of shape (n, size, size, 3).
        states: The state of each; all views were encoded, since a moving subject is followed from one to the next.
    """
    rows = evenly_rows(len(views), _EVALUATED)
    return _quality(views[rows], trainer.render(states[rows]))


def evenly_rows(available: int, count: int) -> npt.NDArray[np.int64]:
    """Returns at most `count` row numbers out of those available, evenly spaced."""
    return np.linspace(0, available - 1, min(count, available)).round().astype(np.int64)


def _quality(views: Views, renderings: Views) -> dict[str, float]:
    return {
        "psnr_db": round(float(np.mean([psnr(a, b) for a, b in zip(views, renderings, strict=True)])), 3),
        "ssim": round(float(np.mean([ssim(a, b) for a, b in zip(views, renderings, strict=True)])), 4),
        "frames": len(views),
    }
