"""Encoder and generator: the two models of a twin, with pixels and states at their edges instead of tensors."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.engine import Model, Quantization
from twin_edge.models.runtimes import Runtime

# uint8 and int8 pixels differ by 128, which in two's complement is the top bit.
_SIGN_BIT: Final = np.uint8(0x80)
_HALF_RANGE: Final = 127.5
# Int8 outputs lie halfway between two pixel values. The last bit of a float must not decide which one it is.
_UP: Final = 1 / 64

State = npt.NDArray[np.int8]
"""A twin state, int8 of shape (state length,): the pose part, then the latent part."""


class Encoder:
    """Makes states of views; one thread uses one encoder.

    Args:
        content: The verified bytes of `encoder.tflite`.
        runtime: What to run it on.
        threads: CPU threads for one inference.

    Raises:
        IncompatibleRuntimeError: The runtime cannot run it.
    """

    def __init__(self, content: bytes, runtime: Runtime, *, threads: int = 1) -> None:
        self.model = Model(content, runtime, threads=threads)
        self.input_shape = self.model.input_shape
        self._channels = self.input_shape[-1]

    def __call__(self, view: Image) -> State:
        """Returns the state of a view, uint8 RGB of shape (height, width, 3)."""
        pixels = in_channels(view, self._channels)
        state: State = self.model.run_through(
            lambda values: np.bitwise_xor(pixels, _SIGN_BIT, out=values[0].view(np.uint8)),
            lambda values: values[0].copy(),
        )
        return state


class Generator:
    """Makes renderings of latents; one thread uses one generator.

    Args:
        content: The verified bytes of `generator.tflite`.
        runtime: What to run it on.
        latent: Real values of the int8 latent.
        threads: CPU threads for one inference.

    Raises:
        IncompatibleRuntimeError: The runtime cannot run it.
    """

    def __init__(self, content: bytes, runtime: Runtime, latent: Quantization, *, threads: int = 1) -> None:
        self.model = Model(content, runtime, threads=threads)
        # By a latent's bytes: 0 to 127, and then -128 to -1.
        self._reals = latent.dequantize(np.arange(256, dtype=np.uint8).view(np.int8))

    def __call__(self, latent: State) -> Image:
        """Returns the rendering, uint8 RGB of shape (height, width, 3), of the latent part of a state."""
        return self.model.run_through(
            lambda values: self._reals.take(latent.view(np.uint8), out=values[0], mode="clip"), to_pixels
        )


def in_channels(view: Image, channels: int) -> Image:
    """Returns a view as a network takes it.

    Args:
        view: uint8 RGB of shape (height, width, 3).
        channels: 3, or 1 for a network that sees no colors.

    Returns:
        The view itself, or its luma, uint8 of shape (height, width, 1).
    """
    if channels == view.shape[-1]:
        return view
    return np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), np.uint8)[..., np.newaxis]


def to_pixels(output: npt.NDArray[np.float32]) -> Image:
    """Returns pixels, uint8, of float32 of shape (1, ..., channels): -1 to 1 becomes 0 to 255, one channel three."""
    pixels: Image = np.empty(output.shape[1:], np.uint8)
    cv2.convertScaleAbs(output[0], dst=pixels, alpha=_HALF_RANGE, beta=_HALF_RANGE + _UP)
    return pixels.repeat(3, -1) if pixels.shape[-1] == 1 else pixels
