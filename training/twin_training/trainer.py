"""The training itself: encoder, generator and discriminator on the training views."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.errors import TrainingError
from twin_edge.files import write_atomic
from twin_training import losses
from twin_training.networks import LATENT_DEVIATION, build_discriminator, build_encoder, build_generator
from twin_training.principal import principal_coefficients
from twin_training.recipe import Recipe
from twin_training.recordings import Views
from twin_training.schedule import Phase, phase_at

LATENT_STEP: Final = 2 / 255
"""Size of one int8 step of the latent."""

_RECALIBRATION_BATCHES: Final = 40


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training run stands."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    losses: dict[str, float]
    """The last step's losses by name."""


class Trainer:
    """Trains the networks of one recipe on one set of views.

    All randomness of a step comes from the seed and the step's number, so that a resumed run ends where an
    uninterrupted one would have.

    Args:
        recipe: What to train and how.
        views: Training views, uint8 RGB of shape (n, size, size, 3).

    Attributes:
        encoder: Views, float32 of 0 to 1, to latents of -1 to 1.
        generator: Latents to renderings, float32 of -1 to 1.
        discriminator: Patches to how real they look.
        step: Steps done.
    """

    def __init__(self, recipe: Recipe, views: Views) -> None:
        keras.utils.set_random_seed(recipe.train.seed)
        self.recipe = recipe
        self.step = 0
        self._views = views
        self.encoder = build_encoder(recipe.model)
        self.generator = build_generator(recipe.model)
        self.discriminator = build_discriminator(recipe.model)
        mean_view = views.mean(0, dtype=np.float64).astype(np.float32) / 127.5 - 1
        self.generator.get_layer("anchor").set_anchor(mean_view)
        self._targets = principal_coefficients(views, recipe.model.latent) * np.float32(LATENT_DEVIATION)
        self._weights = tf.constant(losses.motion_weights(views, recipe.train.motion_weight))
        self._optimizer = keras.optimizers.Adam(recipe.train.learning_rate, beta_2=0.99)
        self._critic_optimizer = keras.optimizers.Adam(
            recipe.train.discriminator_learning_rate, beta_1=0.5, beta_2=0.99
        )
        self._trained = self.encoder.trainable_variables + self.generator.trainable_variables
        self._optimizer.build(self._trained)
        self._critic_optimizer.build(self.discriminator.trainable_variables)
        self._average = [tf.Variable(variable, trainable=False) for variable in self._trained]
        self._twin_step = tf.function(self._twin_update, reduce_retracing=True)
        self._critic_step = tf.function(self._critic_update, reduce_retracing=True)

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
            values = self._one_step(phase_at(self.step, config))
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

    def finish(self) -> None:
        """Takes the averaged weights, recomputes the batch statistics for them, and orders the latent by its worth."""
        if self.recipe.train.ema > 0:
            for variable, average in zip(self._trained, self._average, strict=True):
                variable.assign(average)
        self._recalibrate()
        self._order_latent()

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

    def encode(self, views: Views) -> npt.NDArray[np.float32]:
        """Returns the latents of views, rounded to int8 steps as the device does, float32 of shape (n, latent)."""
        parts = [
            self.encoder(views[start : start + 32].astype(np.float32) / 255, training=False).numpy()
            for start in range(0, len(views), 32)
        ]
        return (np.rint(np.concatenate(parts) / LATENT_STEP) * LATENT_STEP).astype(np.float32)

    def render(self, latents: npt.NDArray[np.float32]) -> Views:
        """Returns the renderings of latents, uint8 RGB of shape (n, size, size, 3)."""
        parts = [
            self.generator(latents[start : start + 32], training=False).numpy() for start in range(0, len(latents), 32)
        ]
        return np.clip(np.rint((np.concatenate(parts) + 1) * 127.5), 0, 255).astype(np.uint8)

    def imagine(self, count: int) -> Views:
        """Returns renderings of the prior, uint8 RGB of shape (count, size, size, 3)."""
        prior = np.random.default_rng(self.recipe.train.seed).normal(0, LATENT_DEVIATION, (count, self.latent_length))
        return self.render(np.clip(prior, -1, 1).astype(np.float32))

    @property
    def latent_length(self) -> int:
        """Length of the latent."""
        return self.recipe.model.latent

    def _one_step(self, phase: Phase) -> dict[str, float]:
        config = self.recipe.train
        rng = np.random.default_rng((config.seed, self.step))
        rows = rng.integers(0, len(self._views), config.batch)
        views = tf.constant(self._views[rows])
        seed = tf.constant([config.seed, self.step], tf.int32)
        self._optimizer.learning_rate.assign(phase.learning_rate)
        values = self._twin_step(
            views,
            tf.constant(self._targets[rows]),
            seed,
            tf.constant(phase.principal_weight),
            tf.constant(phase.principal),
            adversarial=phase.adversarial,
        )
        if phase.adversarial:
            values |= self._critic_step(views, seed, penalized=phase.r1)
        return {name: float(value) for name, value in values.items()}

    def _twin_update(
        self,
        views: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        principal_weight: tf.Tensor,
        principal: tf.Tensor,
        *,
        adversarial: bool,
    ) -> dict[str, tf.Tensor]:
        config = self.recipe.train
        inputs = tf.cast(views, tf.float32) / 255
        if config.jitter_gain > 0:
            # Another light is not another view: the encoder sees it and the rendering is to follow it.
            gain = tf.random.stateless_uniform((tf.shape(views)[0], 1, 1, 1), seed + 1, -1.0, 1.0)
            inputs = tf.clip_by_value(inputs * (1 + config.jitter_gain * gain), 0.0, 1.0)
        wanted = inputs * 2 - 1
        half = config.latent_noise_steps * LATENT_STEP
        with tf.GradientTape() as tape:
            latents = self.encoder(inputs, training=True)
            held = tf.reduce_mean(tf.square(latents - targets)) / LATENT_DEVIATION**2
            noise = tf.random.stateless_uniform(tf.shape(latents), seed, -half, half)
            source = tf.where(principal, targets, latents)
            renderings = self.generator(tf.clip_by_value(source + noise, -1.0, 1.0), training=True)
            total, values = losses.reconstruction_loss(wanted, renderings, self._weights, config)
            total += principal_weight * held
            total += config.decorrelation_weight * losses.decorrelation_loss(latents, LATENT_DEVIATION)
            if adversarial:
                generated = tf.concat([renderings, self._from_prior(seed)], 0)
                looks = self.discriminator(self._patches(generated, seed + 2), training=False)
                values["adversarial"] = losses.generator_loss(looks)
                total += config.adversarial_weight * values["adversarial"]
        gradients = tape.gradient(total, self._trained)
        self._optimizer.apply_gradients(zip(gradients, self._trained, strict=True))
        # Early averages would remember the random start: the decay rises to its value with the steps.
        done = tf.cast(self._optimizer.iterations, tf.float32)
        decay = tf.minimum(config.ema, (1 + done) / (10 + done))
        for variable, average in zip(self._trained, self._average, strict=True):
            average.assign(decay * average + (1 - decay) * tf.convert_to_tensor(variable))
        values["principal"] = held
        return values

    def _critic_update(self, views: tf.Tensor, seed: tf.Tensor, *, penalized: bool) -> dict[str, tf.Tensor]:
        config = self.recipe.train
        inputs = tf.cast(views, tf.float32) / 255
        latents = self.encoder(inputs, training=False)
        generated = tf.concat([self.generator(latents, training=False), self._from_prior(seed + 3)], 0)
        real_patches = self._patches(inputs * 2 - 1, seed + 4)
        generated_patches = self._patches(generated, seed + 5)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            real = self.discriminator(real_patches, training=True)
            loss = losses.discriminator_loss(real, self.discriminator(generated_patches, training=True))
            total = loss
            if penalized:
                with tf.GradientTape() as inner:
                    inner.watch(real_patches)
                    score = tf.reduce_sum(self.discriminator(real_patches, training=False))
                slope = tf.reduce_sum(tf.square(inner.gradient(score, real_patches)), (1, 2, 3))
                total += config.r1_weight * tf.reduce_mean(slope) / tf.cast(tf.size(real[0]), tf.float32)
        self._critic_optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return {"discriminator": loss}

    def _from_prior(self, seed: tf.Tensor) -> tf.Tensor:
        """Returns renderings of the prior: without them the generator would be judged as a decoder only."""
        count = max(1, round(self.recipe.train.batch * self.recipe.train.prior_share))
        prior = tf.random.stateless_normal((count, self.latent_length), seed + 6, 0.0, LATENT_DEVIATION)
        return self.generator(tf.clip_by_value(prior, -1.0, 1.0), training=False)

    def _patches(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns one patch of every image, all from one random place: cheaper than whole images, and more varied."""
        size, patch = self.recipe.model.size, self.recipe.model.patch
        corner = tf.random.stateless_uniform((2,), seed, 0, size - patch + 1, tf.int32)
        return images[:, corner[0] : corner[0] + patch, corner[1] : corner[1] + patch, :]

    def _recalibrate(self) -> None:
        """Recomputes the batch normalization's statistics, which belong to the weights before they were averaged."""
        normalizations = [
            layer
            for network in (self.encoder, self.generator)
            for layer in network.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        rng = np.random.default_rng(self.recipe.train.seed)
        batch = max(32, self.recipe.train.batch)
        momenta = [layer.momentum for layer in normalizations]
        for turn in range(_RECALIBRATION_BATCHES):
            for layer in normalizations:
                layer.momentum = turn / (turn + 1)  # makes the running statistic the plain mean over the batches
            rows = rng.integers(0, len(self._views), batch)
            latents = self.encoder(self._views[rows].astype(np.float32) / 255, training=True)
            self.generator(latents, training=True)
        for layer, momentum in zip(normalizations, momenta, strict=True):
            layer.momentum = momentum

    def _order_latent(self) -> None:
        """Puts the latent values in the order of what holding each of them at its mean costs, the dearest first."""
        sample = self._views[:: max(1, len(self._views) // 64)][:64]
        latents = self.encode(sample)
        full = self.render(latents).astype(np.float32)
        costs = []
        for index in range(self.latent_length):
            held = latents.copy()
            held[:, index] = latents[:, index].mean()
            costs.append(float(np.square(self.render(held) - full).mean()))
        order = np.argsort(costs)[::-1]
        dense = next(layer for layer in self.encoder.layers if isinstance(layer, keras.layers.Dense))
        dense.kernel.assign(dense.kernel.numpy()[:, order])
        whiten = self.encoder.get_layer("whiten")
        whiten.moving_mean.assign(whiten.moving_mean.numpy()[order])
        whiten.moving_variance.assign(whiten.moving_variance.numpy()[order])
        first = next(layer for layer in self.generator.layers if isinstance(layer, keras.layers.Dense))
        first.kernel.assign(first.kernel.numpy()[order])

    def _variables(self) -> list[tf.Variable]:
        return [
            *self.encoder.variables,
            *self.generator.variables,
            *self.discriminator.variables,
            *self._optimizer.variables,
            *self._critic_optimizer.variables,
            *self._average,
        ]
