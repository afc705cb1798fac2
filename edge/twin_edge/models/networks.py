"""Encoder and generator: the two models of a twin, with pixels and states at their edges instead of tensors."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.engine import Model, Quantization
from twin_edge.models.runtimes import Runtime

# uint8 and int8 pixels differ by 128, which in two's complement is the top bit.
_SIGN_BIT: Final = np.uint8(0x80)

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
        self._pixels = np.zeros(self.model.input_shape, np.uint8)

    def __call__(self, view: Image) -> State:
        """Returns the state of a view, uint8 RGB of shape (height, width, 3)."""
        np.bitwise_xor(view, _SIGN_BIT, out=self._pixels[0])
        state: State = self.model.run(self._pixels.view(np.int8))[0]
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
        self._latent = latent

    def __call__(self, latent: State) -> Image:
        """Returns the rendering, uint8 RGB of shape (height, width, 3), of the latent part of a state."""
        output = self.model.run(self._latent.dequantize(latent)[np.newaxis])[0]
        # It ends at -1 to 1; adding a half before the cast rounds, and the range needs no clip.
        output += np.float32(1)
        output *= np.float32(127.5)
        output += np.float32(0.5)
        rendering: Image = output.astype(np.uint8)
        return rendering
