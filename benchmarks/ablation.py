"""What each part of training is worth: the recipe, and the recipe without one part, on the same held-out views.

Every variant is trained from the same recording for the same, reduced number of steps; float models, no codec. Writes
benchmarks/results/ablation.json and prints a table. What is worth nothing does not belong in the recipe.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import cv2
import keras
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from twin_edge.quality import psnr, ssim
from twin_training.frechet import features_of, frechet, train_features
from twin_training.recipe import Recipe, load_recipe
from twin_training.recordings import Dataset, Views, record
from twin_training.trainer import Trainer

_RESULT: Final = Path(__file__).parent / "results" / "ablation.json"
_MEASURED: Final = 192


@dataclass(frozen=True, slots=True)
class Variant:
    """What one variant reached."""

    name: str
    """What it is without."""
    psnr_db: float
    """Mean PSNR on the held-out views, dB."""
    ssim: float
    """Mean SSIM on them."""
    sharpness: float
    """Gradient energy of the renderings over that of the views; 1 is as sharp."""
    frechet: float
    """Frechet distance of the renderings to the views, on features of a network trained on the training views."""
    prior_frechet: float
    """The same of renderings of the prior."""
    seconds: float
    """Of training."""


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """Returns the recipe and what it is without each part."""
    train = recipe.train
    without = {
        "the recipe": recipe,
        "without networks: the linear start": replace(
            recipe, train=replace(train, steps=1, learning_rate=1e-6, adversarial_weight=0.0)
        ),
        "without adversarial training": replace(recipe, train=replace(train, adversarial_weight=0.0)),
        "without training the encoder": replace(recipe, train=replace(train, encoder_rate=0.0)),
        "without the weight on change": replace(recipe, train=replace(train, rate_weight=0.0)),
    }
    if recipe.model.moving:
        without["without pose, plate and coverage"] = replace(recipe, model=replace(recipe.model, moving=False))
    return without


def measure(name: str, recipe: Recipe, dataset: Dataset, extractor: keras.Model) -> Variant:
    """Trains a variant and measures it."""
    started = time.monotonic()
    trainer = Trainer(recipe, *dataset.to_train_on(), dataset.validation)
    trainer.fit()
    trainer.finish()
    seconds = time.monotonic() - started
    rows = np.unique(np.linspace(0, len(dataset.test) - 1, _MEASURED).round().astype(int))
    views, renderings = dataset.test[rows], trainer.render(trainer.encode(dataset.test)[rows])
    real = features_of(extractor, views)
    return Variant(
        name,
        round(float(np.mean([psnr(a, b) for a, b in zip(views, renderings, strict=True)])), 2),
        round(float(np.mean([ssim(a, b) for a, b in zip(views, renderings, strict=True)])), 4),
        round(_gradient_energy(renderings) / _gradient_energy(views), 3),
        round(frechet(real, features_of(extractor, renderings)), 2),
        round(frechet(real, features_of(extractor, trainer.imagine(len(views)))), 2),
        round(seconds, 1),
    )


def main(
    subject: Annotated[str, typer.Argument(help="What to train on: a video, images:FOLDER, or rig.")],
    recipe: Annotated[str, typer.Option(help="The recipe.")] = "face",
    steps: Annotated[int, typer.Option(help="Training steps of each variant.")] = 600,
    clip: Annotated[str, typer.Option(help="Name of the subject in the results.")] = "face",
) -> None:
    """Prints what each part of training is worth."""
    base = load_recipe(recipe)
    base = replace(base, train=replace(base.train, steps=steps))
    console = Console(stderr=True)
    console.print(f"recording {subject}")
    dataset = record(subject, base)
    extractor = train_features(dataset.train, base.train.seed)
    results = []
    for name, variant in variants(base).items():
        console.print(f"{name}, {variant.train.steps} steps")
        results.append(measure(name, variant, dataset, extractor))
    known = json.loads(_RESULT.read_text()) if _RESULT.exists() else []
    entries = [entry for entry in known if entry["clip"] != clip]
    entries += [{"clip": clip, "steps": steps, **asdict(result)} for result in results]
    _RESULT.write_text(json.dumps(entries, indent=1) + "\n")
    table = Table("variant", "PSNR dB", "SSIM", "sharpness", "Frechet", "of the prior", "s")
    for one in results:
        table.add_row(one.name, *(f"{value:g}" for value in list(asdict(one).values())[1:]))
    Console(file=sys.stdout).print(table)


def _gradient_energy(images: Views) -> float:
    total = 0.0
    for image in images:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        across, down = np.diff(gray, axis=1), np.diff(gray, axis=0)
        total += float(np.square(across).mean() + np.square(down).mean())
    return total / len(images)


if __name__ == "__main__":
    typer.run(main)
