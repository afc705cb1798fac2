"""The article's kind of generator at the twin's output size, through the converter as the article uses it.

    python -m comparison.dcgan FOLDER

Dense, then 4x4 transposed convolutions of stride 2 with batch normalization and LeakyReLU, then tanh. Written into
FOLDER: for each width a `.tflite` of the default converter (float32) and one of plain post-training int8, and
`dcgan.json`. In a process of its own: TensorFlow and tflite-runtime cannot share one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf

NOISE: Final = 100
SIZE: Final = 128
_FIRST_SIDE: Final = 4
WIDTHS: Final = {"article": 512, "article, MACs of a twin": 344}
"""Channels of the first layer, halved by each one after it."""


def build(width: int) -> keras.Model:
    """Returns the generator: float32 of shape (n, 100) to float32 of shape (n, 128, 128, 3), -1 to 1; n is 1."""
    inputs = keras.Input((NOISE,), batch_size=1)  # Another batch would keep the delegates away.
    x = keras.layers.Dense(_FIRST_SIDE * _FIRST_SIDE * width, use_bias=False)(inputs)
    x = keras.layers.LeakyReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Reshape((_FIRST_SIDE, _FIRST_SIDE, width))(x)
    side = _FIRST_SIDE
    while side < SIZE // 2:
        width //= 2
        x = keras.layers.Conv2DTranspose(width, 4, 2, padding="same", use_bias=False)(x)
        x = keras.layers.LeakyReLU()(keras.layers.BatchNormalization()(x))
        side *= 2
    x = keras.layers.Conv2DTranspose(3, 4, 2, padding="same", activation="tanh")(x)
    return keras.Model(inputs, x)


def multiply_accumulates(model: keras.Model) -> int:
    """Returns the multiply-accumulates of one image: each input of a transposed convolution meets its whole kernel."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += int(np.prod(layer.input.shape[1:3])) * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


def convert(model: keras.Model, *, int8: bool) -> bytes:
    """Returns the `.tflite` of the default converter, or that of post-training quantization with int8 edges."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        samples = np.random.default_rng(0).normal(size=(64, 1, NOISE)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    return bytes(converter.convert())


def main(folder: Path) -> None:
    """Writes the models."""
    keras.utils.set_random_seed(1)
    entries = []
    for name, width in WIDTHS.items():
        model = build(width)
        for int8 in (False, True):
            kind = "int8" if int8 else "float32"
            file = f"dcgan_{width}_{kind}.tflite"
            (folder / file).write_bytes(convert(model, int8=int8))
            entries.append(
                {
                    "what": f"generator, {name}, {kind}",
                    "file": file,
                    "mmac": round(multiply_accumulates(model) / 1e6, 1),
                }
            )
    (folder / "dcgan.json").write_text(json.dumps(entries))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
