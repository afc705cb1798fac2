"""Learning the parts: to read few numbers off each, and to draw it from them.

Every part is an autoencoder between its cut-out and its principal coefficients, with hidden layers on either side
(Kramer, "Nonlinear principal component analysis using autoassociative neural networks", AIChE Journal 1991), learned
for what it will cost: quantization stands in as uniform noise, and what changes from one view to the next is weighed
against the error of the whole picture, as in end-to-end optimized compression (Ballé et al., arXiv 1611.01704).

The views of a step are drawn for each part by themselves, and evenly over what the part does: a state that it is
rarely in is learned as well as a usual one, and so is every combination of the parts, whether it was seen or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.linear import Floats, LinearMap
from twin_training.manifold import HIDDEN_NOISE, Perceptron
from twin_training.recipe import PartsConfig

_MOST_SAMPLES: Final = 1500
_SCALE: Final = 4.0
"""Steps of quantization in one unit of what the layers pass on; they learn best around one."""
_DENSITY_VALUES: Final = 3
_BINS_IN_DEVIATION: Final = 1.0
_DIMMING: Final = 0.03
_TINT: Final = 0.015
_GRAIN: Final = 0.02
_LEVELS: Final = 255.0
_HELD: Final = 0.9
_SIZES: Final = (0.3, 3.0)
"""Sizes of small and large changes to begin with, steps."""
_LEAST_CHANCE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Appearance:
    """What one part looks like in the training views."""

    crops: npt.NDArray[np.uint8]
    """The part on the sheet, uint8 RGB of shape (n, side, side, 3)."""
    mean: Floats
    """Mean of its pixels, levels, float32 of shape (pixels * 3,)."""
    basis: Floats
    """Principal components, strongest first, of unit length, float32 of shape (count, pixels * 3)."""
    coefficients: Floats
    """Of each view, levels, float32 of shape (n, count)."""
    energies: Floats
    """Mean squared coefficient of all components that there are, strongest first, levels^2, float32 of shape (m,)."""


@dataclass(frozen=True, slots=True)
class LearnedPart:
    """The networks of one part."""

    reading: Perceptron
    """From the crop, 0 to 1, flattened, to latent values, in steps of quantization."""
    drawing: Perceptron
    """From those to coefficients in units of `unit`; the last map is linear."""
    unit: Floats
    """Size of each coefficient in levels, float32 of shape (count,)."""


def appearance(crops: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8], most: int) -> Appearance:
    """Returns a part's principal components.

    Args:
        crops: The part on the sheet, uint8 RGB of shape (n, side, side, 3).
        pixels: The part's pixels in the views, uint8 of shape (n, pixels, 3).
        most: Most components.
    """
    flat = pixels.reshape(len(pixels), -1)
    every = max(1, -(-len(flat) // _MOST_SAMPLES))
    sample = flat[::every].astype(np.float32)
    mean = sample.mean(0)
    sample -= mean
    values, vectors = np.linalg.eigh(sample @ sample.T)
    order = np.argsort(values)[::-1]
    energies = np.maximum(values[order], 0) / len(sample)
    count = min(most, len(sample) - 1)
    basis = vectors[:, order[:count]].T.astype(np.float32) @ sample
    basis /= np.linalg.norm(basis, axis=1, keepdims=True) + 1e-9
    coefficients = np.concatenate([(flat[row : row + 512] - mean) @ basis.T for row in range(0, len(flat), 512)])
    return Appearance(crops, mean, basis, coefficients, energies.astype(np.float32))


def share_out(parts: Sequence[Appearance], weights: int, most: int) -> list[int]:
    """Returns how many components each part gets: those that say most for each weight of the generator.

    Args:
        parts: All parts.
        weights: Weights that the last layers may have in all.
        most: Most components of a part.
    """
    offers = sorted(
        (
            (float(energy) / len(part.mean), number, len(part.mean))
            for number, part in enumerate(parts)
            for energy in part.energies[: min(most, len(part.basis))]
        ),
        reverse=True,
    )
    counts, left = [0] * len(parts), weights
    for _, number, size in offers:
        if size <= left:
            counts[number] += 1
            left -= size
    return [max(2, min(count, len(part.basis))) for count, part in zip(counts, parts, strict=True)]


def evenly_over(coefficients: Floats) -> npt.NDArray[np.float64]:
    """Returns the chance of each view to be drawn: the inverse root of how many are like it, float64 of shape (n,)."""
    leading = coefficients[:, :_DENSITY_VALUES]
    place = np.rint(leading / (_BINS_IN_DEVIATION * leading.std(0) + 1e-6)).astype(np.int64)
    _, inverse, counts = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    chance = 1 / np.sqrt(counts[inverse.ravel()])
    return np.asarray(chance / chance.sum(), np.float64)


class Rate:
    """What latent values will cost, as an entropy coder would have it that knows how they change.

    Each value's change is a mixture of two Laplace distributions, one for when it rests and one for when it moves; all
    of it is learned along (Ballé et al., arXiv 1802.01436, with a factorized prior).

    Args:
        values: How many.

    Attributes:
        held: How much of a value is expected to stay, float32 of shape (values,).
        variables: Everything that is learned.
    """

    def __init__(self, values: int) -> None:
        self.held = tf.Variable(np.full(values, _HELD, np.float32))
        self._sizes = tf.Variable(np.tile(np.log(np.array(_SIZES, np.float32))[:, np.newaxis], (1, values)))
        self._odds = tf.Variable(np.zeros(values, np.float32))
        self.variables = [self.held, self._sizes, self._odds]

    def bits(self, changes: tf.Tensor) -> tf.Tensor:
        """Returns the mean bits of changes, float32 of shape (n, values), in steps of quantization."""
        far = tf.abs(changes)[:, tf.newaxis]
        size = tf.exp(self._sizes)
        inner, outer = tf.abs(far - 0.5) / size, (far + 0.5) / size
        beyond = 0.5 * (tf.exp(-inner) - tf.exp(-outer))
        within = 1 - 0.5 * (tf.exp(-inner) + tf.exp(-outer))
        chances = tf.where(far > 1 / 2, beyond, within)
        share = tf.sigmoid(self._odds)
        chance = share * chances[:, 0] + (1 - share) * chances[:, 1]
        return tf.reduce_mean(tf.reduce_sum(-tf.math.log(chance + _LEAST_CHANCE), 1)) / np.float32(np.log(2.0))


class PartNetworks:
    """The networks of one part while they learn.

    Args:
        config: Sizes.
        part: What it looks like.
        count: Components that it is drawn with.
        number: Which part it is, from 0.

    Attributes:
        variables: Everything that is learned.
        state: All of that, and where the noise has come to.
    """

    def __init__(self, config: PartsConfig, part: Appearance, count: int, number: int) -> None:
        self._latents = config.latents
        sample = part.crops[:: max(1, len(part.crops) // 600)].reshape(-1, part.crops[0].size).astype(np.float32) / 255
        self._mean = sample.mean(0)
        self._spread = np.float32(2 * sample.std(0).mean() + 1e-3)
        self._crops = tf.constant(part.crops)
        self._unit = np.float32(np.sqrt(np.square(part.coefficients[:, :count]).mean()) + 1e-6)
        self._targets = tf.constant(part.coefficients[:, :count] / self._unit)
        self._reading = _dense((sample.shape[1], *config.reading, config.latents), f"reading_{number}")
        self._drawing = _dense((config.latents, *config.drawing, count), f"drawing_{number}")
        self._size = np.square(self._unit)
        self._rate = Rate(config.latents)
        self.variables = [*self._rate.variables, *self._reading.trainable_variables, *self._drawing.trainable_variables]
        self.state = [*self._rate.variables, *self._reading.variables, *self._drawing.variables]

    def loss(self, rows: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how well a part is drawn, and for how much.

        Args:
            rows: Rows of the views, in pairs of one and the next, int64 of shape (batch,).
            key: Seed of the noise, int32 of shape (2,).

        Returns:
            The summed squared error over the part's values, levels^2, and about how many bits a view takes.
        """
        crops = tf.cast(tf.gather(self._crops, rows), tf.float32) / _LEVELS
        count = rows.shape[0]
        dim = 1 + tf.random.stateless_uniform((count, 1, 1, 1), key, -_DIMMING, _DIMMING)
        tint = 1 + tf.random.stateless_uniform((count, 1, 1, 3), key + 1, -_TINT, _TINT)
        crops = crops * dim * tint + tf.random.stateless_normal(tf.shape(crops), key + 2, 0.0, _GRAIN)
        seen = (tf.reshape(crops, (count, -1)) - self._mean) / self._spread
        read = self._reading(seen, training=True) * _SCALE
        coded = read + tf.random.stateless_uniform(tf.shape(read), key + 3, -0.5, 0.5)
        missed = self._drawing(coded / _SCALE, training=True) - tf.gather(self._targets, rows)
        error = self._size * tf.reduce_mean(tf.reduce_sum(tf.square(missed), 1))
        pairs = tf.reshape(coded, (-1, 2, self._latents))
        return error, self._rate.bits(pairs[:, 1] - self._rate.held * pairs[:, 0])

    def learned(self) -> LearnedPart:
        """Returns the networks as they are now."""
        first, *middle, last = _maps(self._reading)
        first = LinearMap(first.weights / self._spread, first.bias - (self._mean / self._spread) @ first.weights)
        last = LinearMap(last.weights * np.float32(_SCALE), last.bias * np.float32(_SCALE))
        start, *rest = _maps(self._drawing)
        start = LinearMap(start.weights / np.float32(_SCALE), start.bias)
        unit = np.full(rest[-1].bias.shape, self._unit, np.float32)
        return LearnedPart(Perceptron((first, *middle, last)), Perceptron((start, *rest)), unit)


def _dense(sizes: tuple[int, ...], name: str) -> keras.Sequential:
    layers: list[keras.layers.Layer] = []
    for size in sizes[1:-1]:
        layers += [keras.layers.Dense(size, activation="relu6"), keras.layers.GaussianNoise(HIDDEN_NOISE)]
    return keras.Sequential([keras.Input((sizes[0],)), *layers, keras.layers.Dense(sizes[-1])], name=name)


def _maps(network: keras.Sequential) -> list[LinearMap]:
    layers = [layer for layer in network.layers if layer.weights]
    return [LinearMap(*(np.asarray(value) for value in layer.get_weights())) for layer in layers]
