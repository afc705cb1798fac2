"""Encoder, generator and discriminator.

Encoder and generator are built from what int8 kernels run fast on both TFLite runtimes (docs/adr/0003-int8-only.md):
convolutions with ReLU6, DEPTH_TO_SPACE for upsampling, and outputs that end in a clip, which the converter fuses into
the operator before it. Both start from what `twin_training.start` says.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.conditioning import FEATURE_CEILING, FEATURE_COPIES, balance, copied, copy_features, rotate
from twin_training.linear import Floats, dictionary
from twin_training.manifold import HIDDEN_NOISE
from twin_training.recipe import ModelConfig
from twin_training.start import OUTPUT, Start

_ROUNDING_NOISE: Final = 1.5 / 127.5
"""Deviation of the noise on activations in training, about one and a half int8 steps where they lie within -1 and 1.

It stands for the rounding of int8 kernels: a generator that has learned to shrug it off loses little by it.
"""

_COPIES: Final = 16
"""Coefficients on top of one for each entry of the dictionary; they go to the entries with the largest values."""

_PACKAGE: Final = "twin_training"


@keras.saving.register_keras_serializable(_PACKAGE)
class DepthToSpace(keras.layers.Layer):
    """Unfolds channels into squares of pixels: (n, h, w, b * b * c) to (n, b * h, b * w, c).

    Args:
        block: Side of a square, pixels.
    """

    def __init__(self, block: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(inputs, self.block)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable(_PACKAGE)
class RoundingNoise(keras.layers.Layer):
    """Adds uniform noise in training, as rounding does; drawing Gaussian noise would take three times as long.

    Args:
        deviation: Standard deviation of the noise.
    """

    def __init__(self, deviation: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deviation = deviation
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        if not training:
            return inputs
        reach = self.deviation * 3**0.5
        return inputs + keras.random.uniform(tf.shape(inputs), -reach, reach, seed=self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deviation": self.deviation}


@keras.saving.register_keras_serializable(_PACKAGE)
class Clip(keras.layers.Layer):
    """Clips to -1 to 1; the gradient passes through where it leads back into the range.

    A plain clip has no gradient outside, and a value that has strayed there once never comes back.
    """

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return _clip_with_gradient(inputs) if training else tf.clip_by_value(inputs, -1.0, 1.0)


@keras.saving.register_keras_serializable(_PACKAGE)
class Anchor(keras.layers.Layer):
    """Adds the anchor image, the mean view of the training recording, so that the network makes residuals only.

    Args:
        shape: Shape of the anchor, folded into depth: (height / 2, width / 2, 12).
    """

    def __init__(self, shape: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.image = self.add_weight(name="image", shape=(1, *self.shape), initializer="zeros", trainable=False)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs + self.image

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": self.shape}

    def set_anchor(self, mean_view: npt.NDArray[np.float32]) -> None:
        """Sets the anchor image, rounded as int8 will have it: the networks can then make up for that.

        Args:
            mean_view: float32 of shape (height, width, channels), -1 to 1.
        """
        rounded = np.clip(np.rint(mean_view / OUTPUT.scale), -127, 127) * np.float32(OUTPUT.scale)
        self.image.assign(tf.nn.space_to_depth(rounded[np.newaxis].astype(np.float32), 2))


@keras.saving.register_keras_serializable(_PACKAGE)
class SpectralConv(keras.layers.Layer):
    """A strided 4x4 convolution whose kernel is divided by its largest singular value.

    Spectral normalization by one step of power iteration per training step: Miyato et al., arXiv 1802.05957.

    Args:
        filters: Output channels.
        strides: Stride in both directions.
    """

    def __init__(self, filters: int, strides: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(4, 4, channels, self.filters), initializer="he_normal")
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.u = self.add_weight(name="u", shape=(1, self.filters), initializer="random_normal", trainable=False)

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), (-1, self.filters))
        u = tf.convert_to_tensor(self.u)
        v = tf.stop_gradient(tf.math.l2_normalize(tf.matmul(u, kernel, transpose_b=True)))
        if training:
            u = tf.stop_gradient(tf.math.l2_normalize(tf.matmul(v, kernel)))
            self.u.assign(u)
        sigma = tf.reduce_sum(tf.matmul(v, kernel) * u)
        normalized = tf.reshape(kernel / (sigma + 1e-6), tf.shape(self.kernel))
        return tf.nn.conv2d(inputs, normalized, self.strides, "SAME") + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@tf.custom_gradient
def _clip_with_gradient(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # Descent moves against the gradient: above the range only a positive one leads back, below a negative one.
        leads_out = ((values > 1) & (upstream < 0)) | ((values < -1) & (upstream > 0))
        return tf.where(leads_out, tf.zeros_like(upstream), upstream)

    return tf.clip_by_value(values, -1.0, 1.0), gradient


def build_encoder(model: ModelConfig) -> keras.Model:
    """Returns the encoder: two convolutions, which are linear maps with a scale for each output.

    That of a linear twin compares each block with a dictionary, and reads off what that gives: its first layer keeps
    within what ReLU6 lets through. Elsewhere the first layer is as large as the input, and bends what it gives.

    Input: crops, float32 RGB of shape (n, side, side, 3), 0 to 1. Output: float32 of shape (n, values), clipped to
    -1 to 1: the change of pose of a moving subject, then the latent.
    """
    side = model.encoder_side
    inputs = keras.Input((side, side, 3), name="view")
    first = side if model.reading else model.encoder_block
    filters = model.reading or model.encoder_entries
    x = keras.layers.Conv2D(filters, first, first, activation="relu6", name="reading_0")(inputs)
    x = keras.layers.Flatten()(keras.layers.Conv2D(model.state_length, side // first, name="reading_1")(x))
    return keras.Model(inputs, Clip(name="latent")(x), name="encoder")


def build_generator(model: ModelConfig) -> keras.Model:
    """Returns the generator: a linear one over a dictionary of blocks, with networks beside it that start at nothing.

    The first network corrects the blocks' coefficients, where neighbours know of each other; the second the picture.

    Input: latents, float32 of shape (n, latent), -1 to 1. Output: float32 of shape (n, size, size, channels), -1 to
    1: colour, and for a moving subject its coverage.
    """
    cells, half, depth = model.size // model.block, model.block // 2, 4 * model.channels
    inputs = keras.Input((model.latent,), name="latent")
    x = inputs
    for number, size in enumerate(model.drawing if model.reading else ()):
        if number:
            x = RoundingNoise(HIDDEN_NOISE)(x)
        x = keras.layers.Dense(size, activation="relu6", name=f"drawing_{number}")(x)
    features = model.drawing[-1] if model.reading else model.latent
    x = keras.layers.Dense(features + FEATURE_COPIES, trainable=False, name="drawing_principal")(x)
    # Cut off, the converter does not make one layer of this one and the next, which has far more weights.
    if model.reading:
        x = RoundingNoise(HIDDEN_NOISE)(keras.layers.ReLU(FEATURE_CEILING, name="drawing_clip")(x))
    else:
        x = Clip(name="drawing_clip")(x)
    x = keras.layers.Dense(cells * cells * (model.atoms + _COPIES), name="coefficients")(x)
    x = Clip()(keras.layers.Reshape((cells, cells, model.atoms + _COPIES))(x))
    y = RoundingNoise(_ROUNDING_NOISE)(x)
    corrected = keras.layers.Conv2D(model.hidden, 3, padding="same", kernel_initializer="he_normal", name="neighbours")
    y = Clip()(corrected(y))
    x = RoundingNoise(_ROUNDING_NOISE)(keras.layers.Concatenate()([x, y]))
    x = keras.layers.Conv2D(half * half * depth, 1, use_bias=False, name="dictionary")(x)
    # The residual is clipped as well: one int8 step of it is then one step of the output, and adding it is exact.
    x = Clip(name="residual")(DepthToSpace(half)(x))
    x = Clip()(Anchor((model.size // 2, model.size // 2, depth), name="anchor")(x))
    x = Clip()(x + _correction(x, model.refiner))
    return keras.Model(inputs, DepthToSpace(2)(x), name="generator")


def set_start(encoder: keras.Model, generator: keras.Model, start: Start, model: ModelConfig) -> None:
    """Makes encoder and generator what the closed form, or the manifold, says."""
    for layer, known in zip([layer for layer in encoder.layers if layer.weights], start.encoder.layers, strict=True):
        layer.set_weights([known.weights.reshape(layer.kernel.shape), known.bias])
    for number, known in enumerate(() if start.drawing is None else start.drawing.layers):
        generator.get_layer(f"drawing_{number}").set_weights([known.weights, known.bias])
    features = start.features
    middle = features.mean(0)
    covariance = np.asarray(np.cov(features, rowvar=False, dtype=np.float32)).reshape(len(middle), -1)
    coefficients, entries = dictionary(start.basis, model.block, model.atoms, covariance)
    which, offsets = _copies(entries, _COPIES)
    coefficients, entries = coefficients[..., which], entries[which] / np.bincount(which)[which, None, None, None]
    bias = offsets - np.tensordot(middle, coefficients, 1)
    apart = np.eye(len(middle), len(middle) + FEATURE_COPIES, dtype=np.float32)
    generator.get_layer("drawing_principal").set_weights([apart, np.zeros(apart.shape[1], np.float32)])
    kernel = apart.T @ coefficients.reshape(len(middle), -1)
    generator.get_layer("coefficients").set_weights([kernel, bias.reshape(-1)])
    # Two DEPTH_TO_SPACE follow, the last by 2: a block is cut into squares of 2x2 pixels.
    half = model.block // 2
    folded = entries.reshape(-1, half, 2, half, 2, model.channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = np.zeros((len(which) + model.hidden, folded[0].size), np.float32)
    kernel[: len(which)] = folded.reshape(len(which), -1)
    generator.get_layer("dictionary").set_weights([kernel[np.newaxis, np.newaxis]])
    generator.get_layer("anchor").set_anchor(start.mean + np.tensordot(middle, start.basis, 1))


def make_quantizable(generator: keras.Model, latents: Floats, model: ModelConfig) -> None:
    """Makes the weights of a trained generator such that few bits say them; what it draws stays the same.

    Args:
        generator: The generator, of a model of the twin family.
        latents: Latents of the training views, float32 of shape (n, latent).
        model: Its sizes.
    """
    coefficients = model.atoms + _COPIES
    balance(generator, coefficients)
    if model.reading:
        features = keras.Model(generator.input, generator.get_layer("drawing_principal").input)
        rotate(generator, features(latents, training=False).numpy(), coefficients)
    copy_features(generator, coefficients)


def _copies(entries: npt.NDArray[np.float32], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Gives the entries with the largest values `count` more coefficients, so that each draws a part of them.

    Returns:
        For each coefficient the number of its entry, int64, and what is added to it, float32: the copies of one
        coefficient are shifted against each other by parts of an int8 step, so that together they are that much finer.
    """
    which = copied(np.abs(entries).max((1, 2, 3)), count)
    copies = 1 + np.bincount(which, minlength=len(entries))
    shifts = [(np.arange(n) + 0.5) / n - 0.5 for n in copies]
    return np.repeat(np.arange(len(entries)), copies), (np.concatenate(shifts) * OUTPUT.scale).astype(np.float32)


def build_discriminator(model: ModelConfig) -> keras.Model:
    """Returns the discriminator over patches.

    Input: patches of images, float32 RGB of shape (n, patch, patch, 3), -1 to 1. Output: float32 of shape (n, m, m),
    positive for what looks real.
    """
    inputs = keras.Input((model.patch, model.patch, 3), name="patch")
    x = inputs
    for filters in model.discriminator_filters:
        x = keras.layers.LeakyReLU(0.2)(SpectralConv(filters)(x))
    x = SpectralConv(1, strides=1)(x)
    return keras.Model(inputs, keras.layers.Reshape((x.shape[1], x.shape[2]))(x), name="discriminator")


def multiply_accumulates(network: keras.Model) -> int:
    """Returns the multiply-accumulate operations of one forward pass over one image."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += int(np.prod(layer.output.shape[1:])) * int(np.prod(layer.kernel.shape[:3]))
        elif isinstance(layer, keras.layers.Conv2DTranspose):
            total += int(np.prod(layer.input.shape[1:])) * int(np.prod(layer.kernel.shape[:3]))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def _correction(x: Any, filters: int) -> Any:
    """Returns what two convolutions add to `x`: nothing at first."""
    y = RoundingNoise(_ROUNDING_NOISE)(x)
    y = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal")(y)
    y = RoundingNoise(_ROUNDING_NOISE * 3)(keras.layers.ReLU(6.0)(y))
    return keras.layers.Conv2D(x.shape[-1], 3, padding="same", kernel_initializer="zeros")(y)
