"""Encoder, generator and discriminator.

Encoder and generator are built from what int8 kernels run fast on both TFLite runtimes (docs/adr/0003-int8-only.md):
3x3 convolutions with folded batch normalization and ReLU6, DEPTH_TO_SPACE for upsampling, and outputs that end in a
clip, which the converter fuses into the operator before it.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.recipe import ModelConfig

LATENT_DEVIATION: Final = 0.25
"""Standard deviation of a latent value; the int8 range, -1 to 1, is four of them on either side."""

ACTIVATION_NOISE: Final = 0.06
"""Deviation of the noise on the generator's activations in training, about two and a half int8 steps of 6/255.

It stands for the rounding of int8 kernels, which TFLite runtimes do not do alike: a generator that has learned to
shrug it off renders the same on all of them, within a level or two.
"""

_PACKAGE: Final = "twin_training"

# The generator's activations start so wide that ReLU6 clips them at four deviations: they use the whole int8 range, and
# one step of it, which is what kernels disagree by, is a smaller part of what they say.
_SPREAD: Final = keras.initializers.Constant(1.5)


@keras.saving.register_keras_serializable(_PACKAGE)
class SpaceToDepth(keras.layers.Layer):
    """Folds 2x2 pixels into channels: (n, h, w, c) to (n, h/2, w/2, 4c)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.space_to_depth(inputs, 2)


@keras.saving.register_keras_serializable(_PACKAGE)
class DepthToSpace(keras.layers.Layer):
    """Unfolds channels into 2x2 pixels: (n, h, w, 4c) to (n, 2h, 2w, c)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(inputs, 2)


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
        """Sets the anchor image.

        Args:
            mean_view: float32 RGB of shape (height, width, 3), -1 to 1.
        """
        self.image.assign(tf.nn.space_to_depth(mean_view[np.newaxis], 2))


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
    """Returns the encoder.

    Input: views, float32 RGB of shape (n, size, size, 3), 0 to 1. Output: latents, float32 of shape (n, latent),
    clipped to -1 to 1, each value of deviation `LATENT_DEVIATION` over the training data.
    """
    inputs = keras.Input((model.size, model.size, 3), name="view")
    x = SpaceToDepth()(inputs)
    for index, filters in enumerate(model.encoder_filters):
        x = _block(x, filters, strides=1 if index == 0 else 2)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(model.latent, use_bias=False)(x)
    # Without center and scale of its own it keeps every value at the same spread; it folds into the dense layer.
    x = keras.layers.BatchNormalization(center=False, scale=False, momentum=0.95, name="whiten")(x)
    x = keras.layers.Rescaling(LATENT_DEVIATION)(x)
    return keras.Model(inputs, Clip(name="latent")(x), name="encoder")


def build_generator(model: ModelConfig) -> keras.Model:
    """Returns the generator.

    Input: latents, float32 of shape (n, latent), -1 to 1. Output: renderings, float32 RGB of shape
    (n, size, size, 3), -1 to 1.
    """
    inputs = keras.Input((model.latent,), name="latent")
    side = model.size >> len(model.generator_filters)
    first, *others = model.generator_filters
    x = keras.layers.Dense(side * side * first, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.95, gamma_initializer=_SPREAD)(x)
    x = keras.layers.GaussianNoise(ACTIVATION_NOISE)(keras.layers.ReLU(6.0)(x))
    x = keras.layers.Reshape((side, side, first))(x)
    for filters in others:
        x = keras.layers.GaussianNoise(ACTIVATION_NOISE)(_block(x, 4 * filters, strides=1, spread=_SPREAD))
        x = DepthToSpace()(x)
    x = keras.layers.Conv2D(12, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))(x)
    # The residual is clipped as well: one int8 step of it is then one step of the output. With a range of its own,
    # a step would be two levels of the rendering, and so would be what two runtimes' kernels disagree by.
    x = Clip(name="residual")(x)
    x = Anchor((model.size // 2, model.size // 2, 12), name="anchor")(x)
    x = DepthToSpace()(Clip()(x))
    return keras.Model(inputs, x, name="generator")


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
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def _block(x: Any, filters: int, *, strides: int, spread: str | keras.Initializer = "ones") -> Any:
    x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = keras.layers.BatchNormalization(momentum=0.95, gamma_initializer=spread)(x)
    return keras.layers.ReLU(6.0)(x)
