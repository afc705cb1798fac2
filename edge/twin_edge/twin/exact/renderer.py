"""The generator of a bundle from elsewhere, drawn with in NumPy: no other code than this project's reads its bytes."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.bundle.graph_reader import read_graph
from twin_edge.errors import BundleError
from twin_edge.images import Image
from twin_edge.models.engine import INT8_MAX, INT8_MIN, Quantization
from twin_edge.models.networks import State, to_pixels
from twin_edge.twin.exact.program import compile_generator
from twin_edge.twin.exact.whole import InexactError

_RGB: Final = 3
_FEW: Final = 4


class ExactGenerator:
    """Makes renderings of latents without a TFLite runtime; one thread uses one.

    They are every runtime's, to the bit, where that is `certain`.

    Args:
        content: The bytes of `generator.tflite`, which a stranger may have made.
        latent: Real values of the int8 latent.

    Attributes:
        input_shape: Shape of the input tensor, batch included.
        output_shape: Shape of the output tensor, batch included.
        certain: Whether that is certain for every latent: no layer sums up reals, and no sum comes near a tie. Else
            some runtime may round a value of a few states the other way.

    Raises:
        IntegrityError: The bytes are not a model of the form that twins have.
        BundleError: The model has layers that runtimes compute each in its own way.
    """

    def __init__(self, content: bytes, latent: Quantization) -> None:
        graph = read_graph(content)
        try:
            self._program = compile_generator(graph, latent)
        except InexactError as error:
            raise BundleError(
                f"this twin is shown on devices only, {error}",
                fix="train it with the recipe auto to see it from elsewhere",
            ) from error
        program = self._program
        self.input_shape = graph.tensors[graph.input].shape
        self.output_shape = graph.tensors[graph.output].shape
        self.certain = program.certain
        self._latent = latent
        self._scale, zero_point = program.scales.scale[0], int(program.scales.zero_point[0])
        steps = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.float32) - zero_point
        self._pixels = to_pixels(np.tile((steps * self._scale)[:, np.newaxis], (1, 1, 1, _FEW)))[:, :, 0]
        self._shift = zero_point - INT8_MIN
        self._indices: Image = np.zeros(program.output.shape, np.uint8)
        self._drawn: Image = np.zeros(program.output.shape, np.uint8)

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """Element type of the input tensor."""
        return np.dtype(np.float32)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Element type of the output tensor."""
        return np.dtype(np.float32)

    def values(self, latent: State) -> npt.NDArray[np.float32]:
        """Returns the output tensor, float32 of its shape, for the latent part of a state, int8 of shape (latent,)."""
        self._run(latent)
        values: npt.NDArray[np.float32] = self._program.output * self._scale
        if values.ndim == _RGB:
            values = values.transpose(1, 2, 0)
        return values[np.newaxis]

    def __call__(self, latent: State) -> Image:
        """Returns the rendering of the latent part of a state, int8 of shape (latent,).

        Returns:
            uint8 RGB of shape (height, width, 3), with coverage for a moving subject, (height, width, 4), or the pixels
            of the parts, (values,).
        """
        self._run(latent)
        # As indices of a table: everything that can come out is one of 256 values.
        output = self._program.output.reshape(len(self._indices), -1)
        indices, drawn = self._indices.reshape(output.shape), self._drawn.reshape(output.shape)
        cv2.convertScaleAbs(output, dst=indices, alpha=1, beta=self._shift)
        cv2.LUT(indices, self._pixels, dst=drawn)
        if self._drawn.ndim == 1:
            return self._drawn.copy()
        planes = list(self._drawn) if len(self._drawn) > 1 else [self._drawn[0]] * _RGB
        return np.asarray(cv2.merge(planes), np.uint8)

    def _run(self, latent: State) -> None:
        self._program.input[...] = self._latent.dequantize(latent)
        self._program.run()
