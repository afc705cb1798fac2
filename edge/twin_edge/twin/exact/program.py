"""Graphs turned into programs: layers that run one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.graph import PICTURE, VECTOR, Graph, Scales
from twin_edge.models.engine import Quantization
from twin_edge.twin.exact.compiler import Compiler
from twin_edge.twin.exact.layers import Layer
from twin_edge.twin.exact.whole import InexactError, quantization

_SHOWN: Final = 16
"""Bytes that one value of the output takes until it is shown: as an index, a pixel, one of several channels, a real."""


@dataclass(frozen=True, slots=True)
class Program:
    """What computes a model: put values into `input`, run all layers, and read `output`."""

    layers: tuple[Layer, ...]
    """In the order in which they run."""
    input: npt.NDArray[np.float32]
    """Real values, float32 of shape (values,), or int8 values less their zero point, (channels, rows, columns)."""
    output: npt.NDArray[np.float32]
    """int8 values less their zero point, float32 of shape (values,) or (channels, rows, columns)."""
    scales: Scales
    """What they stand for."""
    certain: bool
    """Whether every runtime comes to the same for every input, to the bit."""

    def run(self) -> None:
        """Makes the output of the input."""
        for layer in self.layers:
            layer.run()


def compile_generator(graph: Graph, latent: Quantization) -> Program:
    """Returns the program of a generator.

    Args:
        graph: From a latent, float32 of shape (1, latent), to float32.
        latent: Real values of the int8 latent.

    Raises:
        InexactError: It has an operator, or a layer, that is not one of whole numbers.
    """
    *nodes, last = graph.nodes
    compiler = Compiler(graph, latent)
    if last.name != "DEQUANTIZE" or last.output != graph.output or len(graph.tensors[graph.input].shape) != VECTOR:
        raise InexactError("it does not lead from a vector to what is dequantized")
    if graph.tensors[graph.input].dtype != np.float32:
        raise InexactError("it takes no real values")
    compiler.add(nodes)
    return _program(compiler, graph, last.inputs[0])


def compile_encoder(graph: Graph) -> Program:
    """Returns the program of an encoder: its results are within a step of those of runtimes.

    Args:
        graph: From a picture, int8 of shape (1, rows, columns, channels), to int8 of shape (1, values).

    Raises:
        InexactError: It has an operator that is not known here.
    """
    taken, made = graph.tensors[graph.input], graph.tensors[graph.output]
    if len(taken.shape) != PICTURE or len(made.shape) != VECTOR or not taken.dtype == made.dtype == np.int8:
        raise InexactError("it does not lead from a picture to a vector")
    compiler = Compiler(graph, None, near=True)
    compiler.add(graph.nodes)
    return _program(compiler, graph, graph.output)


def _program(compiler: Compiler, graph: Graph, output: int) -> Program:
    compiler.claim(_SHOWN * math.prod(graph.tensors[output].shape))
    return Program(
        tuple(compiler.layers),
        compiler.array(graph.input),
        compiler.array(output),
        quantization(graph.tensors[output]),
        compiler.certain,
    )
