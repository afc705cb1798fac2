"""The encoder of a bundle from elsewhere: what it says of a rendering that it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from twin_edge.bundle.graph_reader import read_graph
from twin_edge.errors import BundleError
from twin_edge.images import Image
from twin_edge.models.networks import State, in_channels
from twin_edge.twin.exact.program import compile_encoder
from twin_edge.twin.exact.whole import InexactError


class NearEncoder:
    """Makes states of views without a TFLite runtime, within a step of what one says; one thread uses one.

    Where nobody else has to come to the same states, as when samples are led to what views look like, that is enough.

    Args:
        content: The bytes of `encoder.tflite`, which a stranger may have made.

    Attributes:
        input_shape: Shape of the input tensor, batch included.
        output_shape: Shape of the output tensor, batch included.

    Raises:
        IntegrityError: The bytes are not a model of the form that twins have.
        BundleError: The model has layers that are not known here.
    """

    def __init__(self, content: bytes) -> None:
        graph = read_graph(content)
        try:
            self._program = compile_encoder(graph)
        except InexactError as error:
            raise BundleError(
                f"this twin's encoder runs on devices only, {error}",
                fix="train it with the recipe auto to use it elsewhere",
            ) from error
        self.input_shape = graph.tensors[graph.input].shape
        self.output_shape = graph.tensors[graph.output].shape
        taken = graph.tensors[graph.input].scales
        # Pixels are int8 values with 128 added.
        self._zero = 128 + (0 if taken is None else int(taken.zero_point[0]))

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """Element type of the input tensor."""
        return np.dtype(np.int8)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Element type of the output tensor."""
        return np.dtype(np.int8)

    def __call__(self, view: Image) -> State:
        """Returns the state of a view, uint8 RGB of shape (height, width, 3)."""
        seen = in_channels(view, self.input_shape[-1]).transpose(2, 0, 1)
        np.subtract(seen, np.float32(self._zero), out=self._program.input)
        self._program.run()
        state: State = (self._program.output + self._program.scales.zero_point[0]).astype(np.int8)
        return state
