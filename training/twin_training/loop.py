"""What every trainer does alike: step after step to the end, with checkpoints to go on from."""

from __future__ import annotations

import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.errors import TrainingError
from twin_edge.files import write_atomic
from twin_training.parts.scene import PartsLayout
from twin_training.recipe import Recipe
from twin_training.recordings import Views
from twin_training.start import Scene


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    losses: dict[str, float]
    """The last step's losses by name."""


class TwinTrainer(Protocol):
    """What a training run asks of the trainer of a family of networks."""

    encoder: keras.Model
    generator: keras.Model
    step: int
    prior_deviation: float

    @property
    def scene(self) -> Scene | PartsLayout | None:
        """What there is beside the networks: of a moving subject, or of a scene of parts; None for others."""

    def fit(
        self,
        report: Callable[[Progress], None] = ...,
        *,
        stopped: Callable[[], bool] = ...,
        checkpoint: Path | None = None,
    ) -> bool:
        """Trains from where it stands to the end of the recipe; returns whether it got there."""

    def finish(self) -> None:
        """Makes the trained networks the ones to deploy."""

    def release(self) -> None:
        """Lets go of what only training needs; there is no going on from here."""

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint."""

    def encode(self, views: Views, cuts: Sequence[int] = ...) -> npt.NDArray[Any]:
        """Returns the states of views in time order, as they are rendered, of shape (n, state length).

        Args:
            views: uint8 RGB of shape (n, size, size, 3).
            cuts: Rows at which something else begins; the first one alone by default.
        """

    def render(self, states: npt.NDArray[Any]) -> Views:
        """Returns the renderings of states, uint8 RGB of shape (n, size, size, 3)."""

    def imagine(self, count: int) -> Views:
        """Returns renderings of the prior, uint8 RGB of shape (count, size, size, 3)."""


class TrainingLoop(ABC):
    """Steps, checkpoints, and going on from one.

    All randomness of a step must come from the recipe's seed and the step's number, or from variables that are
    saved, so that a resumed run ends where an uninterrupted one would have.

    Args:
        recipe: What to train and how.

    Attributes:
        step: Steps done.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.step = 0

    @abstractmethod
    def _one_step(self) -> dict[str, float]:
        """Does step number `self.step`; returns its losses by name."""

    @abstractmethod
    def _variables(self) -> list[tf.Variable]:
        """Returns everything that a step reads and changes, always in one order."""

    def fit(
        self,
        report: Callable[[Progress], None] = lambda _progress: None,
        *,
        stopped: Callable[[], bool] = lambda: False,
        checkpoint: Path | None = None,
    ) -> bool:
        """Trains from where it stands to the end of the recipe.

        Args:
            report: Called after each step.
            stopped: Asked before each step whether to stop early.
            checkpoint: Where to save now and then, and when stopped.

        Returns:
            Whether it got to the end.

        Raises:
            TrainingError: The loss is not finite any more.
        """
        config = self.recipe.train
        while self.step < config.steps:
            if stopped():
                break
            values = self._one_step()
            self.step += 1
            if not all(np.isfinite(value) for value in values.values()):
                raise TrainingError(
                    f"the loss is not finite after {self.step} steps", fix="lower train.learning_rate in the recipe"
                )
            report(Progress(self.step, config.steps, values))
            if checkpoint is not None and self.step % config.checkpoint_every == 0:
                self.save(checkpoint)
        if checkpoint is not None:
            self.save(checkpoint)
        return self.step >= config.steps

    def release(self) -> None:
        """Lets go of what only training needs; there is no going on from here."""
        return

    def save(self, path: Path) -> None:
        """Saves everything that a resumed run needs.

        Raises:
            TwinEdgeError: The file cannot be written; an older one stays.
        """
        buffer = io.BytesIO()
        arrays = {f"v{index}": variable.numpy() for index, variable in enumerate(self._variables())}
        np.savez(buffer, step=np.int64(self.step), recipe=np.array(self.recipe.digest()), **arrays)
        write_atomic(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            TrainingError: It is not readable, or of another recipe.
        """
        try:
            # From memory: of a damaged file NumPy would leave its handle open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
                recipe, step = str(saved["recipe"]), int(saved["step"])
                arrays = [saved[f"v{index}"] for index in range(len(saved.files) - 2)]
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
            raise TrainingError(f"the checkpoint {path} is not readable", fix="train again without --resume") from error
        variables = self._variables()
        if recipe != self.recipe.digest() or len(arrays) != len(variables):
            raise TrainingError(
                f"the checkpoint {path} is of another recipe", fix="give the same recipe, or train without --resume"
            )
        for variable, value in zip(variables, arrays, strict=True):
            variable.assign(value)
        self.step = step
