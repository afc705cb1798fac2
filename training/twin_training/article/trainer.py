"""Trains the article's networks: a DCGAN on noise, and an encoder that learns to undo its generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.models import in_channels
from twin_training.article.networks import LATENT_END, build_discriminator, build_encoder, build_generator
from twin_training.loop import TrainingLoop
from twin_training.recipe import Recipe
from twin_training.recordings import Views

LATENT_STEP: Final = 2 * LATENT_END / 255
"""Size of one int8 step of the latent."""

ARTICLE_LEARNING_RATE: Final = 1e-4
"""The article's learning rate, at which every training ends; it starts at the recipe's."""

_DIVERGENCE_WEIGHT: Final = 0.03
_RECALIBRATION_BATCHES: Final = 40


class ArticleTrainer(TrainingLoop):
    """Trains the article's generator and discriminator, and the encoder with them.

    Each step the discriminator sees real images and renderings of noise, as in the article. Beside it the encoder
    says of real images which noise would have made them, give or take, and the generator renders that as well: what
    it says is held to the noise's distribution, as in a variational autoencoder, so that the generator learns from
    both sides to render the same latents (VAE/GAN: Larsen et al., arXiv 1512.09300).

    Args:
        recipe: What to train and how.
        views: Training views, uint8 RGB of shape (n, size, size, 3), of which the luma is used.

    Attributes:
        encoder: Views without color, float32 of 0 to 1, to latents.
        generator: Latents to renderings without color, float32 of -1 to 1.
        discriminator: Images to logits.
        prior_deviation: Standard deviation of the noise.
    """

    prior_deviation = 1.0
    scene = None

    def __init__(self, recipe: Recipe, views: Views) -> None:
        super().__init__(recipe)
        keras.utils.set_random_seed(recipe.train.seed)
        self._images = _without_color(views)
        self.encoder, self._posterior = build_encoder(recipe.model)
        self.generator = build_generator(recipe.model)
        self.discriminator = build_discriminator(recipe.model)
        self._networks = [self.generator, self.discriminator, self._posterior]
        rate, discriminator_rate = recipe.train.learning_rate, recipe.train.discriminator_learning_rate
        self._rates = (rate, discriminator_rate, rate)
        self._optimizers = [keras.optimizers.Adam(rate) for rate in self._rates]
        for optimizer, network in zip(self._optimizers, self._networks, strict=True):
            optimizer.build(network.trainable_variables)
        self._averaged = self.generator.trainable_variables + self._posterior.trainable_variables
        self._average = [tf.Variable(variable, trainable=False) for variable in self._averaged]
        self._update = tf.function(self._updated, reduce_retracing=True)

    def finish(self) -> None:
        """Takes the averaged weights and recomputes the batch statistics for them."""
        if self.recipe.train.ema > 0:
            for variable, average in zip(self._averaged, self._average, strict=True):
                variable.assign(average)
        layers = [
            layer
            for network in (self.encoder, self.generator)
            for layer in network.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        rng = np.random.default_rng(self.recipe.train.seed)
        momenta = [layer.momentum for layer in layers]
        batch = max(64, self.recipe.train.batch)
        for turn in range(_RECALIBRATION_BATCHES):
            for layer in layers:
                layer.momentum = turn / (turn + 1)  # makes the running statistic the plain mean over the batches
            rows = rng.integers(0, len(self._images), batch)
            latents = self.encoder(self._images[rows].astype(np.float32) / 255, training=True)
            noise = rng.standard_normal((batch, self.recipe.model.latent)).astype(np.float32)
            self.generator(tf.concat([noise, latents], 0), training=True)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

    def encode(self, views: Views, cuts: Sequence[int] = (0,)) -> npt.NDArray[np.float32]:  # noqa: ARG002 - stills
        """Returns the latents of views, rounded to int8 steps as the device does, float32 of shape (n, latent)."""
        inputs = _without_color(views).astype(np.float32) / 255
        parts = [
            self.encoder(inputs[start : start + 64], training=False).numpy() for start in range(0, len(inputs), 64)
        ]
        return (np.rint(np.concatenate(parts) / LATENT_STEP) * LATENT_STEP).astype(np.float32)

    def render(self, latents: npt.NDArray[np.float32]) -> Views:
        """Returns the renderings of latents, uint8 RGB of shape (n, size, size, 3), of equal channels."""
        parts = [
            self.generator(latents[start : start + 64], training=False).numpy() for start in range(0, len(latents), 64)
        ]
        images = np.clip(np.rint((np.concatenate(parts) + 1) * 127.5), 0, 255).astype(np.uint8)
        return images.repeat(3, -1)

    def imagine(self, count: int) -> Views:
        """Returns renderings of noise, uint8 RGB of shape (count, size, size, 3), of equal channels."""
        noise = np.random.default_rng(self.recipe.train.seed).standard_normal((count, self.recipe.model.latent))
        return self.render(np.clip(noise, -LATENT_END, LATENT_END).astype(np.float32))

    def _one_step(self) -> dict[str, float]:
        config = self.recipe.train
        fall = 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        for rate, optimizer in zip(self._rates, self._optimizers, strict=True):
            optimizer.learning_rate.assign(ARTICLE_LEARNING_RATE + (rate - ARTICLE_LEARNING_RATE) * fall)
        rng = np.random.default_rng((config.seed, self.step))
        rows = rng.integers(0, len(self._images), config.batch)
        values = self._update(tf.constant(self._images[rows]), tf.constant([config.seed, self.step], tf.int32))
        return {name: float(value) for name, value in values.items()}

    def _updated(self, images: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        config = self.recipe.train
        inputs = tf.cast(images, tf.float32) / 255
        real = inputs * 2 - 1
        noise = tf.random.stateless_normal((config.batch, self.recipe.model.latent), seed)
        with tf.GradientTape(persistent=True) as tape:
            latents, variance = self._posterior(inputs, training=True)
            # One pass for both kinds of input: the batch statistics are then those of what is deployed.
            rendered = self.generator(tf.concat([noise, latents + self._spread(variance, seed)], 0), training=True)
            imagined, again = rendered[: config.batch], rendered[config.batch :]
            looks = self.discriminator(tf.concat([real, imagined], 0), training=True)
            looks_real, looks_imagined = looks[: config.batch], looks[config.batch :]
            values = {
                "l1": tf.reduce_mean(tf.abs(again - real)),
                "l2": tf.reduce_mean(tf.square(again - real)),
                "divergence": _divergence(latents[:, : variance.shape[1]], variance),
                "adversarial": _cross_entropy(looks_imagined, real=True),
                "discriminator": _cross_entropy(looks_real, real=True) + _cross_entropy(looks_imagined, real=False),
            }
            total = config.l1_weight * values["l1"] + config.l2_weight * values["l2"]
            total += config.adversarial_weight * values["adversarial"] + _DIVERGENCE_WEIGHT * values["divergence"]
        generator, discriminator, encoder = (network.trainable_variables for network in self._networks)
        gradients = tape.gradient(total, generator + encoder)
        judged = tape.gradient(values["discriminator"], discriminator)
        of_generator, of_discriminator, of_encoder = self._optimizers
        of_generator.apply_gradients(zip(gradients[: len(generator)], generator, strict=True))
        of_encoder.apply_gradients(zip(gradients[len(generator) :], encoder, strict=True))
        of_discriminator.apply_gradients(zip(judged, discriminator, strict=True))
        # Early averages would remember the random start: the decay rises to its value with the steps.
        done = tf.cast(self._optimizers[0].iterations, tf.float32)
        decay = tf.minimum(config.ema, (1 + done) / (10 + done))
        for variable, average in zip(self._averaged, self._average, strict=True):
            average.assign(decay * average + (1 - decay) * tf.convert_to_tensor(variable))
        return values

    def _spread(self, variance: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns noise on latents: of the encoder's variance where it says something; behind, full in every other one.

        With full noise nothing tells a latent from a draw of the prior, so what is imagined has to look like what is
        made again; without, it is the latent of a device.
        """
        noise = tf.random.stateless_normal((self.recipe.train.batch, self.recipe.model.latent), seed + 1)
        strength = tf.cast(tf.range(self.recipe.train.batch) % 2, tf.float32)[:, tf.newaxis]
        said = variance.shape[1]
        return tf.concat([noise[:, :said] * tf.exp(variance / 2), noise[:, said:] * strength], 1)

    def _variables(self) -> list[tf.Variable]:
        networks = [variable for network in self._networks for variable in network.variables]
        optimizers = [variable for optimizer in self._optimizers for variable in optimizer.variables]
        return [*networks, *optimizers, *self._average]


def _without_color(views: Views) -> npt.NDArray[np.uint8]:
    """Returns the luma of views, uint8 of shape (n, size, size, 1)."""
    return np.stack([in_channels(view, 1) for view in views])


def _cross_entropy(logits: tf.Tensor, *, real: bool) -> tf.Tensor:
    labels = tf.ones_like(logits) if real else tf.zeros_like(logits)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))


def _divergence(mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """Returns the divergence of the latents' Gaussians, of a mean and a log variance each, from the noise's, nats."""
    return tf.reduce_mean(tf.reduce_sum(tf.square(mean) + tf.exp(variance) - variance - 1, -1)) / 2
