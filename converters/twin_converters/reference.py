"""The float models, as the reference that the quantized ones are held against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class FloatModel:
    """A float SavedModel with the signature `serve` for a single sample.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self._model = tf.saved_model.load(str(path))

    def __call__(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the outputs of samples, float32, both with the samples in the first dimension."""
        return np.concatenate([self._model.serve(tf.constant(sample[np.newaxis])).numpy() for sample in samples])


def to_pixels(output: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Returns generator outputs of -1 to 1 as uint8 pixels."""
    return np.clip(np.rint((output + 1) * 127.5), 0, 255).astype(np.uint8)
