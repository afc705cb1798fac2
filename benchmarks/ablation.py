"""What each part of a twin is worth: the recipe, and the recipe without or with one part, on the same held-out views.

Every variant is trained from the same recording for the same, reduced number of steps; float models. What a state takes
on the wire is measured with codec tables of the variant's own. Writes benchmarks/results/ablation.json and prints a
table. What is worth nothing does not belong in the recipe.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from comparison.states import States, Stream
from twin_converters.codec_tables import Recorded, fit, sensitivity
from twin_edge.config import RunConfig
from twin_edge.images import Image
from twin_edge.quality import psnr, ssim
from twin_training.frechet import features_of, frechet, train_features
from twin_training.recipe import Recipe, TrainConfig, load_recipe
from twin_training.recordings import Dataset, Views, record
from twin_training.start import Start, prepare
from twin_training.targets import Canvases, Rows
from twin_training.trainer import Trainer

_RESULT: Final = Path(__file__).parent / "results" / "ablation.json"
_MEASURED: Final = 192
_FITTED: Final = 600
_PROBED: Final = 16
_STATES_IN_PACKET: Final = 3
_FPS: Final = 12.0
ADVERSARIAL: Final = 0.3
ENCODER_RATE: Final = 0.03
RATE_WEIGHT: Final = 0.03
WHOLE: Final = "the recipe"
EXACT: Final = "without noise on the latent"
UNSEGMENTED: Final = "without segmentation: covers all"


@dataclass(frozen=True, slots=True)
class Variant:
    """What one variant reached."""

    name: str
    """What it is without, or with."""
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
    coded_bytes: float
    """Mean bytes of a state in codec 1, at the level that a device sends by default."""
    coded_psnr_db: float
    """Mean PSNR on the same views as subscribers get them, dB."""
    seconds: float
    """Of training."""


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """Returns the recipe, what it is without each of its parts, and with those that it does not have."""
    train = recipe.train
    others = {
        WHOLE: recipe,
        "without networks: the start": replace(recipe, train=replace(train, steps=1, learning_rate=1e-6)),
        "with an adversarial end": replace(recipe, train=replace(train, adversarial_weight=ADVERSARIAL)),
    }
    exact = TrainConfig().latent_noise_steps
    if train.latent_noise_steps > exact:
        others[EXACT] = replace(recipe, train=replace(train, latent_noise_steps=exact))
    if recipe.model.reading:
        linear = replace(recipe.model, reading=0)
        others["without the manifold: a linear start"] = replace(recipe, model=linear)
    else:
        others["with training the encoder"] = replace(recipe, train=replace(train, encoder_rate=ENCODER_RATE))
        others["with a weight on change too"] = replace(
            recipe, train=replace(train, encoder_rate=ENCODER_RATE, rate_weight=RATE_WEIGHT)
        )
    if recipe.model.moving:
        others[UNSEGMENTED] = recipe
        others["without pose, plate and coverage"] = replace(recipe, model=replace(recipe.model, moving=False))
    return others


class Ablation:
    """Trains variants on one recording and measures them.

    Args:
        recipe: The whole recipe.
        dataset: What to train and measure on.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        self._recipe = recipe
        self._dataset = dataset
        self._extractor = train_features(dataset.train, recipe.train.seed)
        self._begun: Start | None = None

    def measure(self, name: str, recipe: Recipe) -> Variant:
        """Trains a variant and measures it."""
        views, cuts = self._dataset.to_train_on()
        if recipe.model == self._recipe.model and self._begun is None:
            self._begun = prepare(recipe.model, views, cuts, recipe.train.seed, manifold=recipe.manifold)
        begun = self._begun if recipe.model == self._recipe.model else None
        if begun is not None and name == UNSEGMENTED:
            begun = _unsegmented(begun, views)
        started = time.monotonic()
        trainer = Trainer(recipe, views, cuts, self._dataset.validation, begun=begun)
        trainer.fit()
        trainer.finish()
        seconds = time.monotonic() - started
        test = self._dataset.test
        rows = np.unique(np.linspace(0, len(test) - 1, _MEASURED).round().astype(int))
        states = trainer.encode(test)
        seen, renderings = test[rows], trainer.render(states[rows])
        coded_bytes, received = self._coded(trainer, states)
        real = features_of(self._extractor, seen)
        return Variant(
            name,
            _mean(psnr, seen, renderings, 2),
            _mean(ssim, seen, renderings, 4),
            round(_gradient_energy(renderings) / _gradient_energy(seen), 3),
            round(frechet(real, features_of(self._extractor, renderings)), 2),
            round(frechet(real, features_of(self._extractor, trainer.imagine(len(seen)))), 2),
            round(coded_bytes, 2),
            _mean(psnr, seen, trainer.render(received[rows]), 2),
            round(seconds, 1),
        )

    def _coded(self, trainer: Trainer, states: States) -> tuple[float, States]:
        """Returns the mean bytes of test states in codec 1, and the states that come out of it."""
        live = self._dataset.train[-_FITTED:] if self._dataset.live is None else self._dataset.live[-_FITTED:]
        known = trainer.encode(live)
        samples = known[:: max(1, len(known) // _PROBED)]
        pose = len(known[0]) - trainer.recipe.model.latent
        importance = sensitivity(lambda state: trainer.render(state[np.newaxis])[0], samples, pose)
        # As in conversion, levels are set by what is missed on views that training did not see.
        validation = self._dataset.validation
        missed = trainer.render(trainer.encode(validation)).astype(np.float32) - validation
        tables = fit([Recorded(known)], importance, float(np.square(missed).mean()))
        coded = Stream(tables, _STATES_IN_PACKET, _FPS).code([states], RunConfig().quality)
        return sum(coded.payloads) / len(states), coded.decoded[0]


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
    ablation = Ablation(base, dataset)
    results = []
    for name, variant in variants(base).items():
        console.print(f"{name}, {variant.train.steps} steps")
        results.append(ablation.measure(name, variant))
    known = json.loads(_RESULT.read_text()) if _RESULT.exists() else []
    entries = [entry for entry in known if entry["clip"] != clip]
    entries += [{"clip": clip, "steps": steps, **asdict(result)} for result in results]
    _RESULT.write_text(json.dumps(entries, indent=1) + "\n")
    table = Table("variant", "PSNR dB", "SSIM", "sharpness", "Frechet", "of the prior", "B a state", "PSNR coded", "s")
    for one in results:
        table.add_row(one.name, *(f"{value:g}" for value in list(asdict(one).values())[1:]))
    Console(file=sys.stdout).print(table)


class _Covered(Canvases):
    """Canvases that are the subject's everywhere."""

    def pictures(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Returns canvases with full coverage, uint8 of shape (n, size, size, 4)."""
        pictures = super().pictures(rows)
        pictures[..., 3] = 255
        return pictures


def _unsegmented(begun: Start, views: Views) -> Start:
    """Returns a start whose coverage is everywhere: the generator draws the background too, nothing of the plate."""
    if begun.scene is None:
        return begun
    mean, basis = begun.mean.copy(), begun.basis.copy()
    mean[..., 3], basis[..., 3] = 1, 0
    spec = begun.scene.pose
    poses = [spec.dequantize(state[: len(spec.steps)]) for state in begun.states]
    return replace(begun, targets=_Covered(views, poses, begun.scene.plate), mean=mean, basis=basis)


def _mean(quality: Callable[[Image, Image], float], views: Views, renderings: Views, digits: int) -> float:
    return round(float(np.mean([quality(a, b) for a, b in zip(views, renderings, strict=True)])), digits)


def _gradient_energy(images: Views) -> float:
    total = 0.0
    for image in images:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        across, down = np.diff(gray, axis=1), np.diff(gray, axis=0)
        total += float(np.square(across).mean() + np.square(down).mean())
    return total / len(images)


if __name__ == "__main__":
    typer.run(main)
