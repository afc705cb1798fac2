"""The article's networks, for images without color.

Generator and discriminator are the DCGAN that the article describes, with the sizes that fit each other; the encoder
is the discriminator's shape with a latent at its end. They are built for likeness, not for speed: TRANSPOSE_CONV and
LEAKY_RELU are just what the other generator avoids (docs/adr/0003-int8-only.md).
"""

from __future__ import annotations

from typing import Any, Final

import keras

from twin_training.networks import Clip
from twin_training.recipe import ModelConfig

LATENT_END: Final = 4.0
"""The latent is clipped here, at four deviations: the ends of the int8 range."""

ENCODED: Final = 16
"""How many of the noise values the encoder says; of the others it says 0, their mean.

Handwritten digits have no more to say: with a say in all hundred it would use each a little, and leave most of the
noise's distribution to inputs that no image ever gave.
"""

_KERNEL: Final = 5
_SLOPE: Final = 0.3
_DROPOUT: Final = 0.3
_MOMENTUM: Final = 0.95


def build_encoder(model: ModelConfig) -> tuple[keras.Model, keras.Model]:
    """Returns the encoder, which the article does not have, and itself with a second output for training.

    Input: views without color, float32 of shape (n, size, size, 1), 0 to 1. Output: latents, float32 of shape
    (n, latent), clipped to -4 to 4, 0 from value `ENCODED` on. Second output: the logarithm of the variance that each
    value before that may have around it, float32 of shape (n, ENCODED).
    """
    said = min(ENCODED, model.latent)
    inputs = keras.Input((model.size, model.size, 1), name="view")
    x = keras.layers.Rescaling(2.0, -1.0)(inputs)
    for filters in model.encoder_filters:
        x = _activated(keras.layers.Conv2D(filters, _KERNEL, 2, padding="same", use_bias=False)(x))
    x = keras.layers.Flatten()(x)
    variance = keras.layers.Dense(said, kernel_initializer="zeros", name="variance")(x)
    x = keras.layers.Dense(said)(x)
    x = Clip(name="clip")(keras.layers.Rescaling(1 / LATENT_END)(x))
    x = keras.layers.Rescaling(LATENT_END, name="said")(x)
    latent = keras.ops.pad(x, ((0, 0), (0, model.latent - said)))
    return keras.Model(inputs, latent, name="encoder"), keras.Model(inputs, [latent, variance], name="posterior")


def build_generator(model: ModelConfig) -> keras.Model:
    """Returns the generator.

    Input: noise, or latents, float32 of shape (n, latent), each value of mean 0 and deviation 1. Output: images
    without color, float32 of shape (n, size, size, 1), -1 to 1.
    """
    inputs = keras.Input((model.latent,), name="latent")
    first, *others = model.generator_filters
    side = model.size >> len(others)
    x = _activated(keras.layers.Dense(side * side * first, use_bias=False)(inputs))
    x = keras.layers.Reshape((side, side, first))(x)
    for index, filters in enumerate(others):
        stride = 1 if index == 0 else 2
        x = _activated(keras.layers.Conv2DTranspose(filters, _KERNEL, stride, padding="same", use_bias=False)(x))
    x = keras.layers.Conv2DTranspose(1, _KERNEL, 2, padding="same", use_bias=False, activation="tanh")(x)
    return keras.Model(inputs, x, name="generator")


def build_discriminator(model: ModelConfig) -> keras.Model:
    """Returns the discriminator.

    Input: images without color, float32 of shape (n, size, size, 1), -1 to 1. Output: logits, float32 of shape
    (n, 1), positive for what looks real.
    """
    inputs = keras.Input((model.size, model.size, 1), name="image")
    x = inputs
    for filters in model.discriminator_filters:
        x = keras.layers.Conv2D(filters, _KERNEL, 2, padding="same")(x)
        x = keras.layers.Dropout(_DROPOUT)(keras.layers.LeakyReLU(_SLOPE)(x))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)), name="discriminator")


def _activated(x: Any) -> Any:
    return keras.layers.LeakyReLU(_SLOPE)(keras.layers.BatchNormalization(momentum=_MOMENTUM)(x))
