"""The bent twin: where encoder and generator of a machine start from when a linear one would need too many values.

A wheel that turns draws a closed curve through the space of pictures: a linear twin follows it with a value for each
harmonic, and each costs its bits in every frame, although one angle says it all. So the principal coefficients of the
views are learned by an autoencoder with hidden layers on either side (Kramer, "Nonlinear principal component analysis
using autoassociative neural networks", AIChE Journal 1991), and for what it will cost: quantization stands in as
uniform noise, and what changes from one view to the next is weighed against the error, as in end-to-end optimized
compression (Ballé et al., arXiv 1611.01704). Between coefficients instead of pictures that takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training import linear
from twin_training.linear import BlockMap, Floats, LinearMap
from twin_training.recipe import ManifoldConfig, ModelConfig

COEFFICIENTS: Final = 256
"""Principal coefficients that are learned."""

PICTURE_SIDE: Final = 128
"""Height and width, at most, of the pictures that they are the coefficients of."""

CEILING: Final = 6.0
"""Where hidden values are cut off (ReLU6): int8 kernels fuse that into the layer before."""

HIDDEN_NOISE: Final = 0.6 * CEILING / 255
"""Deviation of the noise on hidden values in training, six tenths of an int8 step: it stands for their rounding."""

_SCALE: Final = 4.0
"""Steps of quantization in one unit of what the layers pass on; they learn best around one."""
_WARMUP: Final = 200
_FLOOR: Final = 6.0
"""Mean squared error, in levels, from where on less error is worth little."""
_LEVELS: Final = 127.5
_ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Affine maps with ReLU6 between them."""

    layers: tuple[LinearMap | BlockMap, ...]
    """The maps, in order."""
    ends_bent: bool = False
    """Whether ReLU6 follows the last map too."""

    def __call__(self, inputs: Floats) -> Floats:
        """Returns the outputs of inputs, float32 of shape (n, inputs)."""
        values = inputs
        for number, layer in enumerate(self.layers):
            values = layer(values)
            if self.ends_bent or number < len(self.layers) - 1:
                values = np.clip(values, 0.0, CEILING)
        return values


@dataclass(frozen=True, slots=True)
class Manifold:
    """What was learned."""

    reading: Perceptron
    """From a crop, 0 to 1, flattened, to latent values in steps of quantization."""
    drawing: Perceptron
    """From those to the features that a picture is a linear map of."""


def learn_manifold(
    model: ModelConfig, config: ManifoldConfig, crops: Floats, coefficients: Floats, seed: int
) -> Manifold:
    """Learns to read few values off a crop that say the principal coefficients of the view.

    Args:
        model: Sizes.
        config: How long to learn, and what bits are worth.
        crops: What the encoder sees, 0 to 1, float32 of shape (pairs, 2, inputs): views and the ones that follow.
        coefficients: Principal coefficients of the views, float32 of shape (pairs, 2, count), views in -1 to 1.
        seed: Seed of all randomness.
    """
    keras.utils.set_random_seed(seed)
    mean, spread = crops.mean((0, 1)), np.float32(2 * crops.std((0, 1)).mean() + 1e-6)
    unit = np.float32(np.sqrt(np.square(coefficients).mean()) + 1e-6)
    reading = _dense((crops.shape[2], model.reading, model.latent), "reading")
    drawing = _dense((model.latent, *model.drawing, coefficients.shape[2]), "drawing")
    held = tf.Variable(np.full(model.latent, 0.5, np.float32))  # how much of a value the codec expects to stay
    variables = [*reading.trainable_variables, *drawing.trainable_variables, held]
    optimizer = keras.optimizers.Adam(config.learning_rate)
    optimizer.build(variables)
    # Errors over all values of a view, in levels.
    level = np.float32(np.square(unit * _LEVELS) / (3 * min(model.size, PICTURE_SIDE) ** 2))

    @tf.function
    def step(seen: tf.Tensor, wanted: tf.Tensor, rate: tf.Tensor, key: tf.Tensor) -> None:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            read = reading(tf.reshape((seen - mean) / spread, (-1, seen.shape[2])), training=True) * _SCALE
            coded = read + tf.random.stateless_uniform(tf.shape(read), key, -0.5, 0.5)
            missed = drawing(coded / _SCALE, training=True) - tf.reshape(wanted / unit, (-1, wanted.shape[2]))
            error = level * tf.reduce_mean(tf.reduce_sum(tf.square(missed), 1))
            pairs = tf.reshape(coded, (-1, 2, model.latent))
            change = tf.abs(pairs[:, 1] - held * pairs[:, 0])
            bits = tf.reduce_mean(tf.reduce_sum(tf.math.log1p(2 * change), 1)) / np.float32(np.log(2.0))
            # The logarithm of the error is what PSNR is about: a bit is then worth so many dB, whatever the error.
            total = tf.math.log(error + _FLOOR) + config.bit_weight * bits
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))

    rng = np.random.default_rng(seed)
    for number in range(config.steps):
        rows = rng.integers(0, len(crops), config.batch // 2)
        rate = config.learning_rate * min(1.0, (number + 1) / _WARMUP) * (1 - number / config.steps)
        step(crops[rows], coefficients[rows], tf.constant(rate, tf.float32), tf.constant([seed, number], tf.int32))
    first, second = _maps(reading)
    first = LinearMap(first.weights / spread, first.bias - (mean / spread) @ first.weights)
    second = LinearMap(second.weights * np.float32(_SCALE), second.bias * np.float32(_SCALE))
    start, *rest, _ = _maps(drawing)  # The last map is a matter of least squares, from features to pictures.
    start = LinearMap(start.weights / np.float32(_SCALE), start.bias)
    return Manifold(Perceptron((first, second)), Perceptron((start, *rest), ends_bent=True))


def standardized(manifold: Manifold, crops: npt.NDArray[np.uint8], deviation: float) -> Manifold:
    """Returns a manifold whose latent values have mean 0 and one deviation over all crops, as int8 wants them."""
    read = np.concatenate(
        [
            manifold.reading(crops[row : row + _ROWS_AT_ONCE].reshape(-1, crops[0].size).astype(np.float32) / 255)
            for row in range(0, len(crops), _ROWS_AT_ONCE)
        ]
    )
    mean, gain = read.mean(0), (deviation / (read.std(0) + 1e-6)).astype(np.float32)
    *before, last = manifold.reading.layers
    first, *after = manifold.drawing.layers
    last = LinearMap(last.weights * gain, (last.bias - mean) * gain)
    first = LinearMap(first.weights / gain[:, np.newaxis], first.bias + mean @ first.weights)
    return Manifold(Perceptron((*before, last)), Perceptron((first, *after), ends_bent=True))


def _dense(sizes: tuple[int, ...], name: str) -> keras.Sequential:
    layers: list[keras.layers.Layer] = []
    for size in sizes[1:-1]:
        layers += [keras.layers.Dense(size, activation="relu6"), keras.layers.GaussianNoise(HIDDEN_NOISE)]
    return keras.Sequential([keras.Input((sizes[0],)), *layers, keras.layers.Dense(sizes[-1])], name=name)


def _maps(network: keras.Sequential) -> list[LinearMap]:
    return [
        linear.LinearMap(*(np.asarray(value) for value in layer.get_weights()))
        for layer in network.layers
        if layer.weights
    ]
