"""Encoder and generator of a scene of parts, from what was learned.

Both are made of what int8 kernels compute alike on every runtime (docs/adr/0011-exact-weights.md): slices, affine maps
with ReLU6 or a clip behind them, and one concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.twin.parts import TO_YCOCG
from twin_training.linear import BlockMap, Floats, LinearMap
from twin_training.manifold import CEILING, Perceptron
from twin_training.networks import Clip
from twin_training.parts.learning import Appearance, LearnedPart

PIXELS: Final = "pixels"
"""What the names of the layers end with that make pixels of coefficients: the converter gives them few bits."""
_ROOM: Final = 1.02
_MOST_WEIGHT: Final = 0.3
"""What one weight may change a pixel by, of -1 to 1, before it is shared: 31 steps of about 1.2 levels."""
_MOST_COPIES: Final = 4
_PACKAGE: Final = "twin_training"


@keras.saving.register_keras_serializable(_PACKAGE)
class Slice(keras.layers.Layer):
    """Takes a stretch of the first dimension behind the batch.

    Args:
        start: Where it begins.
        size: How long it is.
    """

    def __init__(self, start: int, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.size = start, size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns inputs[:, start : start + size]."""
        return inputs[:, self.start : self.start + self.size]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "start": self.start, "size": self.size}


def build_encoder(readings: Sequence[Perceptron], side: int) -> keras.Model:
    """Returns the encoder.

    Args:
        readings: From a part's pixels, 0 to 1, flattened, to its latent values, for each part.
        side: Height and width of a part on the sheet, pixels.

    Returns:
        A model from the sheet, float32 RGB of shape (n, parts * side, side, 3), 0 to 1, to latents, float32 of shape
        (n, values), -1 to 1.
    """
    inputs = keras.Input((len(readings) * side, side, 3), name="sheet")
    outputs = []
    for number, reading in enumerate(readings):
        x = Slice(number * side, side, name=f"part{number}")(inputs)
        *hidden, last = reading.layers
        size = side
        for depth, layer in enumerate(hidden):
            x = _convolution(layer, size, f"part{number}_reading{depth}", "relu6")(x)
            size = 1
        x = _convolution(last, size, f"part{number}_latent", None)(x)
        outputs.append(keras.layers.Flatten()(x))
    joined = keras.layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0]
    model = keras.Model(inputs, Clip(name="latent")(joined), name="encoder")
    for number, reading in enumerate(readings):
        names = [*(f"part{number}_reading{depth}" for depth in range(len(reading.layers) - 1)), f"part{number}_latent"]
        for name, known in zip(names, reading.layers, strict=True):
            layer = model.get_layer(name)
            layer.set_weights([known.weights.reshape(layer.kernel.shape), known.bias])
    return model


def build_generator(drawings: Sequence[Perceptron], pictures: Sequence[LinearMap]) -> keras.Model:
    """Returns the generator.

    Args:
        drawings: From a part's latent values to its coefficients, within -1 and 1, for each part.
        pictures: From those to its pixels, YCoCg of -1 to 1.

    Returns:
        A model from latents, float32 of shape (n, values), to the pixels of all parts, float32 of shape (n, pixels *
        3), -1 to 1.
    """
    lengths = [len(drawing.layers[0].weights) for drawing in drawings]
    inputs = keras.Input((sum(lengths),), name="latent")
    outputs, known, start = [], {}, 0
    for number, (drawing, picture, length) in enumerate(zip(drawings, pictures, lengths, strict=True)):
        x = Slice(start, length, name=f"part{number}")(inputs)
        start += length
        *hidden, last = drawing.layers
        for depth, layer in enumerate(hidden):
            name = f"part{number}_drawing{depth}"
            x = keras.layers.Dense(layer.weights.shape[1], activation="relu6", name=name)(x)
            known[name] = layer
        x = Clip()(keras.layers.Dense(last.weights.shape[1], name=f"part{number}_coefficient")(x))
        x = Clip()(keras.layers.Dense(picture.weights.shape[1], name=f"part{number}_{PIXELS}")(x))
        known |= {f"part{number}_coefficient": last, f"part{number}_{PIXELS}": picture}
        outputs.append(x)
    joined = keras.layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0]
    model = keras.Model(inputs, joined, name="generator")
    for name, layer in known.items():
        model.get_layer(name).set_weights([layer.weights, layer.bias])
    return model


def standardized(part: LearnedPart, crops: npt.NDArray[np.uint8], deviation: float) -> LearnedPart:
    """Returns a part whose latent values have mean 0 and one deviation over all crops, as int8 wants them.

    A value that never differs from another by a step of quantization says nothing, and is 0 from now on.
    """
    read = np.concatenate(
        [
            part.reading(crops[row : row + 1024].reshape(-1, crops[0].size).astype(np.float32) / 255)
            for row in range(0, len(crops), 1024)
        ]
    )
    mean, spread = read.mean(0), read.std(0)
    used = spread > 1 / 2
    gain = np.where(used, deviation / (spread + 1e-6), 0).astype(np.float32)
    *before, last = part.reading.layers
    first, *after = part.drawing.layers
    last = LinearMap(last.weights * gain, (last.bias - mean) * gain)
    back = np.where(used, spread / deviation, 0).astype(np.float32)[:, np.newaxis]
    first = LinearMap(first.weights * back, first.bias + mean @ first.weights)
    return LearnedPart(Perceptron((*before, last)), Perceptron((first, *after)), part.unit)


def drawing_and_picture(part: LearnedPart, look: Appearance, latents: Floats) -> tuple[Perceptron, LinearMap]:
    """Returns a part's maps to coefficients within -1 and 1, and from those to pixels, YCoCg of -1 to 1.

    Args:
        part: What was learned.
        look: Mean and components.
        latents: Latent values of the training views, float32 of shape (n, latents).
    """
    *hidden, last = part.drawing.layers
    most = np.abs(part.drawing(latents)).max(0) * np.float32(_ROOM) + 1e-6
    drawing = Perceptron((*hidden, LinearMap(last.weights / most, last.bias / most)))
    count = len(part.unit)
    basis = (look.basis[:count].reshape(count, -1, 3) @ TO_YCOCG).reshape(count, -1)
    weights = basis * (part.unit * most)[:, np.newaxis] / 127.5
    mean = look.mean.reshape(-1, 3) @ TO_YCOCG - np.array((127.5, 0, 0), np.float32)
    # What is too much for the few bits of one weight is shared by several that have the same input.
    copies = np.clip(np.ceil(np.abs(weights).max(1) / _MOST_WEIGHT), 1, _MOST_COPIES).astype(int)
    which = np.repeat(np.arange(count), copies)
    last = drawing.layers[-1]
    drawing = Perceptron((*hidden, LinearMap(last.weights[:, which], last.bias[which])))
    weights = weights[which] / copies[which, np.newaxis]
    return drawing, LinearMap(weights.astype(np.float32), (mean / 127.5).astype(np.float32).reshape(-1))


def _convolution(layer: LinearMap | BlockMap, size: int, name: str, activation: str | None) -> keras.layers.Conv2D:
    """Returns a convolution as large as its input: an affine map with a scale of its own for each output in int8."""
    return keras.layers.Conv2D(layer.weights.shape[1], size, activation=activation, name=name)


assert CEILING == 6.0  # noqa: S101, PLR2004 - what "relu6" cuts off at
