"""The recipe `auto`: what kind of subject a recording shows is measured, and says which twins are tried.

A machine has parts that move each by themselves; a person moves as a whole; of a crowd nothing that is seen once comes
again. The first two are drawn by different twins, the third by none. Where the measures leave it open, several twins
are trained, and the one that draws the validation blocks best is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.errors import TrainingError
from twin_edge.images import Image
from twin_edge.wording import counted
from twin_training import evidence
from twin_training.detail import look_closely
from twin_training.extrapolation import extrapolate
from twin_training.parts.regions import find_regions
from twin_training.parts.scene import evenly, light_up
from twin_training.recipe import LARGE, Recipe, TrainConfig, in_size, load_recipe
from twin_training.recordings import Dataset, Views

AUTO: Final = "auto"
PARTS: Final = "parts"
WHOLE: Final = "face"
"""The recipe of a subject that moves as a whole."""
LINEAR: Final = "linear"

_SAMPLES: Final = 400
_SIDE: Final = 64
_BLOCKS: Final = 5
_COMPONENTS: Final = 48
_STANDARD: Final = 128
_CLEARLY_WHOLE_DB: Final = 1.5
"""Gain of alignment from where on a subject surely moves as a whole."""
_MAYBE_WHOLE_DB: Final = -1.0
"""Gain of alignment from where on a subject may do so now and then."""
_FOREIGN: Final = 0.6
"""Share of the motion of a block that the other blocks explain, below which what moves is new again and again."""
_CROWD: Final = 3
"""Separate things at a time, at the median, that make such a recording one of a crowd."""
_LEAST_THING: Final = 12


@dataclass(frozen=True, slots=True)
class Kind:
    """What a recording shows, in numbers."""

    parts: int
    """Connected regions in which something moves."""
    area: float
    """Share of the picture that they cover, 0-1."""
    alignment_db: float
    """What aligning the views gains in PSNR of linear renderings of held-out views, dB."""
    ahead_db: float
    """The same of what follows the training views, see `extrapolation`, dB; measured where there is one part only."""
    explained: float
    """Share of the motion of a block that principal components of the other blocks explain, at the median."""
    things: float
    """Separate things that are away from the plate at a time, at the median."""

    @property
    def is_crowd(self) -> bool:
        """Whether unrelated things move through the picture."""
        return self.explained < _FOREIGN and self.things >= _CROWD

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that are worth trying, the likelier first."""
        if self.alignment_db >= _CLEARLY_WHOLE_DB:
            return (WHOLE, PARTS) if self.parts else (WHOLE,)
        if self.parts == 1 and max(self.alignment_db, self.ahead_db) > _MAYBE_WHOLE_DB:
            return (PARTS, WHOLE)
        return (PARTS,)

    def __str__(self) -> str:
        """Says what was found, for people."""
        where = f"{counted(self.parts, 'separate part')} on {self.area:.0%} of the picture"
        if self.alignment_db >= _CLEARLY_WHOLE_DB:
            return f"the subject moves as a whole: aligning its views makes them {self.alignment_db:.1f} dB more alike"
        return f"a fixed scene: {where}"


def look_at(dataset: Dataset, weights: int) -> Kind:
    """Measures what kind of subject a dataset shows; takes some seconds.

    Args:
        dataset: Its training and validation views are looked at.
        weights: Weights that the last layers of a twin of parts may have.
    """
    train, held = dataset.train, dataset.validation
    sample = evenly(train, _SAMPLES)
    lit = light_up(sample)
    regions = find_regions(lit, sample, weights)
    explained = float(np.median(_explained(lit.flat(sample, np.arange(len(sample))))))
    masks = evidence.foregrounds(sample[:: max(1, len(sample) // 100)], lit.plate)
    things = float(np.median([_things(mask.astype(np.uint8)) for mask in masks]))
    longest = train if dataset.continuous else max(np.split(train, list(dataset.cuts[1:])), key=len)
    gain, parts = evidence.registration_gain(longest, held), len(regions.shares)
    ahead = _ahead_db(dataset) if parts == 1 and dataset.continuous else gain
    return Kind(parts, regions.area, gain, ahead, explained, things)


def _ahead_db(dataset: Dataset) -> float:
    """Returns what aligning the views gains in drawing what comes after them, dB: what lies between may be easy."""
    aligned, fixed = (
        extrapolate(dataset.train, dataset.validation, dataset.validation_cuts, registered=registered).ahead
        for registered in (True, False)
    )
    return 10 * float(np.log10(fixed / aligned))


def candidates(
    recipe: Recipe, dataset: Dataset, on_note: Callable[[str], None] = lambda _note: None
) -> tuple[Recipe, ...]:
    """Returns the recipes to try, the likelier first.

    Args:
        recipe: What was asked for; a recipe that is not `auto` is the only candidate.
        dataset: What was recorded.
        on_note: Told what the subject was found to be.

    Raises:
        TrainingError: It is a crowd.
    """
    if recipe.model.family != AUTO:
        return (recipe,)
    parts = _resolved(recipe, PARTS)
    kind = look_at(dataset, parts.parts.weights)
    if kind.is_crowd:
        raise TrainingError(
            f"unrelated things move through the picture, {kind.things:.0f} at a time; of what moves in one part of the "
            f"recording, the rest explains only {kind.explained:.0%}, so a twin cannot learn what comes next",
            fix="point the camera at one machine or person, or choose one with --region x,y,width,height",
        )
    on_note(str(kind))
    return tuple(parts if name == PARTS else _resolved(recipe, name) for name in (*kind.recipes, LINEAR))


def in_fitting_size(recipe: Recipe, frames: Sequence[Image], on_note: Callable[[str], None]) -> Recipe:
    """Returns the recipe in the size that the detail of a recording deserves; one that is not `auto` as it is.

    Args:
        recipe: What was asked for, with the region.
        frames: A few frames as they were recorded, uint8 BGR.
        on_note: Told what was found.
    """
    if recipe.model.family != AUTO or recipe.model.size != _STANDARD:
        return recipe
    detail = look_closely(frames, recipe.view.region)
    if detail is None:
        return recipe
    on_note(str(detail))
    return in_size(recipe, LARGE) if detail.deserves_large else recipe


def _resolved(recipe: Recipe, name: str) -> Recipe:
    """Returns a shipped recipe with the data and the size that were asked for."""
    chosen = load_recipe(name)
    scale = recipe.model.size / _STANDARD
    if scale > 1:
        chosen = in_size(chosen, LARGE)
    sizes = {
        field: getattr(recipe.model, field)
        for field in ("size", "latent", "encoder_side", "block", "atoms", "hidden", "refiner", "patch")
    }
    model = replace(chosen.model, **sizes) if scale != 1 else chosen.model
    parts = replace(chosen.parts, weights=round(chosen.parts.weights * max(1.0, scale)))
    asked = recipe.train.steps
    steps = chosen.train.steps if asked == TrainConfig().steps else asked
    train = replace(chosen.train, seed=recipe.train.seed, steps=steps)
    return replace(chosen, name=f"{AUTO}-{name}", data=recipe.data, model=model, parts=parts, train=train)


def _explained(flat: Views) -> list[float]:
    """Returns what share of the motion of each of five blocks the components of the other four explain."""
    small = np.stack([cv2.resize(view, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for view in flat])
    rows = small.reshape(len(small), -1).astype(np.float32)
    shares = []
    for block in np.array_split(np.arange(len(rows)), _BLOCKS):
        known = np.delete(rows, block, axis=0)
        mean = known.mean(0)
        known -= mean
        values, vectors = np.linalg.eigh(known @ known.T)
        count = min(_COMPONENTS, max(1, len(known) // 4))
        basis = (vectors[:, -count:] / np.sqrt(np.maximum(values[-count:], 1e-3))).T @ known
        held = rows[block] - mean
        left = held - (held @ basis.T) @ basis
        shares.append(1 - float(np.square(left).sum() / max(np.square(held).sum(), 1e-9)))
    return shares


def _things(mask: npt.NDArray[np.uint8]) -> int:
    """Returns how many separate things a mask shows."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    return sum(int(stats[label, cv2.CC_STAT_AREA]) >= _LEAST_THING for label in range(1, count))
