"""Layers and arrays of a graph: a layer of each node, an array for every tensor."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.graph import PICTURE, VECTOR, Graph, Node, Tensor
from twin_edge.bundle.shapes import SAME, ranges_of
from twin_edge.models.engine import INT8_MAX, INT8_MIN, Quantization
from twin_edge.twin.exact.layers import Blocks, Clip, Convolution, Copy, Dense, Layer, Sum
from twin_edge.twin.exact.real_layers import RealLayers
from twin_edge.twin.exact.reals import Rounding
from twin_edge.twin.exact.whole import (
    ACTIVATIONS,
    InexactError,
    WholeMap,
    ends,
    quantization,
    same_scale,
    whole_map,
)

_MOST_KERNEL: Final = 64
MOST_BYTES: Final = 1 << 29
"""Most bytes that are allocated for a model: arrays, weights with all copies that are made of them, and what is known
of reals. What lies there for a moment while something is looked at counts as if it stayed."""
_WEIGHT: Final = {"int8": 24, "float32": 96}
"""Bytes of a weight by its type: as it is used, and in the float64 and int64 that reals are looked at in."""
_FLOAT32, _FLOAT64 = 4, 8
_LEAST_RATIO: Final = 2.0**-60


class Compiler:
    """Makes layers of nodes, and arrays of tensors.

    Args:
        graph: What is compiled.
        latent: Real values of the int8 vector that goes in; None where a picture goes in.
        near: Whether layers will do whose results runtimes come within a step of.

    Attributes:
        layers: The layers so far, in the order in which they run.
        certain: Whether every runtime comes to the same results with them.
    """

    def __init__(self, graph: Graph, latent: Quantization | None, *, near: bool = False) -> None:
        self._graph, self._near = graph, near
        self.certain = True
        self._left = MOST_BYTES
        self._arrays: dict[int, npt.NDArray[np.float32]] = {}
        self._padded: dict[int, npt.NDArray[np.float32]] = {}
        self._margins: dict[int, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0), (0, 0)])
        for node in graph.nodes:
            if node.name == "CONV_2D" and self._leaves_size(node):
                self._margins[node.inputs[0]] = [
                    (max(before, one[0]), max(after, one[1]))
                    for (before, after), one in zip(self._margins[node.inputs[0]], self._around(node), strict=True)
                ]
        self.layers: list[Layer] = []
        self._reals = RealLayers(graph, latent, self.array, self.claim)
        self._makers: dict[str, Callable[[Node], None]] = {
            "ADD": self._add,
            "CONCATENATION": self._concatenation,
            "CONV_2D": self._conv_2d,
            "DEPTH_TO_SPACE": self._depth_to_space,
            "FULLY_CONNECTED": self._fully_connected,
            "MUL": self._add,
            "QUANTIZE": self._quantize,
            "RESHAPE": self._reshape,
            "STRIDED_SLICE": self._strided_slice,
            "SUB": self._add,
            **dict.fromkeys(ACTIVATIONS, self._activation),
        }

    def add(self, nodes: Sequence[Node]) -> None:
        """Makes the layers of nodes.

        Raises:
            InexactError: One of them has none.
        """
        for node in nodes:
            if node.name not in self._makers:
                raise InexactError(f"{node.name} has no form that every runtime computes alike")
        for node in nodes:
            if node.name == "CONCATENATION":
                self._share(node)
        for node in nodes:
            try:
                self._makers[node.name](node)
            except InexactError as error:
                raise InexactError(f"{node.name} {error}") from error

    def array(self, at: int) -> npt.NDArray[np.float32]:
        """Returns the array of a tensor: of shape (values,), or (channels, rows, columns)."""
        if at not in self._arrays:
            tensor = self._graph.tensors[at]
            if len(tensor.shape) not in {VECTOR, PICTURE} or tensor.shape[0] != 1:
                raise InexactError(f"has a tensor of shape {tensor.shape}")
            if tensor.dtype == np.int32:
                raise InexactError("has a tensor of another type")
            if len(tensor.shape) == PICTURE:
                _, rows, columns, channels = tensor.shape
                (top, bottom), (left, right) = self._margins[at]
                self.claim(_FLOAT32 * channels * (top + rows + bottom) * (left + columns + right))
                whole = np.zeros((channels, top + rows + bottom, left + columns + right), np.float32)
                self._padded[at] = whole
                made = whole[:, top : top + rows, left : left + columns]
            else:
                self.claim(_FLOAT32 * tensor.shape[1])
                made = np.zeros(tensor.shape[1:], np.float32)
            if tensor.constant is not None:
                same_scale(tensor)
                values = tensor.constant[0]
                made[...] = values.transpose(2, 0, 1) if len(tensor.shape) == PICTURE else values
                made -= int(quantization(tensor).zero_point[0])
            self._arrays[at] = made
        return self._arrays[at]

    def claim(self, size: int) -> None:
        """Takes bytes off those that may still be allocated.

        Raises:
            InexactError: There are no more of them.
        """
        self._left -= size
        if self._left < 0:
            raise InexactError("takes more memory than twins do")

    def _tensor(self, at: int) -> Tensor:
        return self._graph.tensors[at]

    def _weights(self, node: Node) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        bias = node.inputs[2] if len(node.inputs) > 2 else -1  # noqa: PLR2004
        weights = self._tensor(node.inputs[1])
        self.claim(_WEIGHT[weights.dtype.name] * math.prod(weights.shape))
        return (
            self._tensor(node.inputs[0]),
            weights,
            self._tensor(bias) if bias >= 0 else None,
            self._tensor(node.output),
        )

    def _fully_connected(self, node: Node) -> None:
        x, weights, bias, made = self._weights(node)
        activation = node.options["activation"]
        taken, out = self.array(node.inputs[0]), self.array(node.output)
        if x.dtype == np.float32:
            added: Any = np.zeros(weights.shape[0], np.float32) if bias is None else bias.constant
            constant: Any = weights.constant
            self.layers.append(self._reals.dense(node, constant, added))
        else:
            self.claim(_FLOAT64 * (taken.size + out.size))
            self.layers.append(
                Dense(taken, self._whole(whole_map(x, weights, bias, made, activation, near=self._near)), out)
            )

    def _whole(self, weights: WholeMap) -> WholeMap:
        self.certain &= weights.certain
        return weights

    def _leaves_size(self, node: Node) -> bool:
        options, kernel = node.options, self._tensor(node.inputs[1]).shape
        around = (options["padding"] == SAME and max(kernel[1:3]) < _MOST_KERNEL) or kernel[1:3] == (1, 1)
        return around and options["stride_w"] == options["stride_h"] == 1

    def _around(self, node: Node) -> list[tuple[int, int]]:
        """Returns the zeros before and after rows and columns that a convolution sees."""
        sizes = self._tensor(node.inputs[1]).shape[1:3]
        return [((size - 1) // 2, size - 1 - (size - 1) // 2) for size in sizes]

    def _conv_2d(self, node: Node) -> None:
        x, kernel, bias, made = self._weights(node)
        if x.dtype != np.int8:
            raise InexactError("is one of reals")
        weights = self._whole(whole_map(x, kernel, bias, made, node.options["activation"], near=self._near))
        size, of, to = (kernel.shape[1], kernel.shape[2]), self.array(node.inputs[0]), self.array(node.output)
        self.claim(_FLOAT64 * (2 * to.size + (of.shape[1] + size[0]) * of.shape[2] * of.shape[0] * size[1]))
        if self._leaves_size(node):
            # Others may see more zeros around it than this one. What lies within another array has none around it.
            around = zip(self._margins[node.inputs[0]], self._around(node), strict=True)
            (top, bottom), (left, right) = ((there[0] - own[0], there[1] - own[1]) for there, own in around)
            seen = self._padded.get(node.inputs[0], of)
            seen = seen[:, top : seen.shape[1] - bottom, left : seen.shape[2] - right]
            self.layers.append(Convolution(seen, weights, size, to))
        elif of.shape[1:] == (to.shape[1] * size[0], to.shape[2] * size[1]):
            self.layers.append(Blocks(of, weights, size, to))
        else:
            raise InexactError("has another stride")

    def _add(self, node: Node) -> None:
        tensors = [self._tensor(at) for at in (*node.inputs, node.output)]
        if tensors[-1].dtype == np.float32:
            self.layers.append(self._reals.pair(node))
            return
        if node.name != "ADD":
            raise InexactError("is one of int8")
        if any(tensor.shape != tensors[-1].shape or tensor.dtype != np.int8 for tensor in tensors):
            raise InexactError("adds what is of another shape")
        same_scale(*tensors)
        low, high = ends(tensors[-1], node.options["activation"])
        one, other, out = (self.array(at) for at in (*node.inputs, node.output))
        self.layers.append(Sum(one, other, low, high, out))

    def _concatenation(self, node: Node) -> None:
        if node.options["activation"]:
            raise InexactError("has an activation")
        out, start = self.array(node.output), 0
        for at in node.inputs:
            part = self.array(at)
            self._same(at, node.output)
            # A part that was given its place in the whole from the start is there already.
            if not np.may_share_memory(part, out):
                self.layers.append(Copy(part, out[start : start + len(part)]))
            start += len(part)

    def _share(self, node: Node) -> None:
        """Lets vectors that are joined be parts of what they are joined to."""
        if len(self._tensor(node.output).shape) != VECTOR or len(set(node.inputs)) < len(node.inputs):
            return
        out, start = self.array(node.output), 0
        for at in node.inputs:
            size = self._tensor(at).shape[-1]
            if at not in self._arrays and self._tensor(at).constant is None and at != self._graph.input:
                self._arrays[at] = out[start : start + size]
            start += size

    def _same(self, at: int, other: int) -> None:
        """Asks for tensors that stand for the same real values."""
        one, two = self._tensor(at), self._tensor(other)
        if one.dtype == np.float32:
            return
        same_scale(one, two)
        if not np.array_equal(quantization(one).zero_point, quantization(two).zero_point):
            raise InexactError("has tensors of several zero points")

    def _reshape(self, node: Node) -> None:
        at = node.inputs[0]
        self._same(at, node.output)
        of, to = self.array(at), self.array(node.output)
        if of.ndim == to.ndim:
            if of.shape != to.shape:
                raise InexactError("turns one picture into another")
            self.layers.append(Copy(of, to))
        elif of.ndim == 1:
            channels, rows, columns = to.shape
            self.layers.append(Copy(of.reshape(rows, columns, channels).transpose(2, 0, 1), to))
        else:
            channels, rows, columns = of.shape
            self.layers.append(Copy(of, to.reshape(rows, columns, channels).transpose(2, 0, 1)))

    def _depth_to_space(self, node: Node) -> None:
        at, block = node.inputs[0], node.options["block"]
        self._same(at, node.output)
        of, to = self.array(at), self.array(node.output)
        channels, rows, columns = to.shape[0], of.shape[1], of.shape[2]
        squares = of.reshape(block, block, channels, rows, columns).transpose(2, 3, 0, 4, 1)
        strides = (to.strides[0], to.strides[1] * block, to.strides[1], to.strides[2] * block, to.strides[2])
        places = np.lib.stride_tricks.as_strided(to, (channels, rows, block, columns, block), strides)
        self.layers.append(Copy(squares, places))

    def _strided_slice(self, node: Node) -> None:
        at = node.inputs[0]
        self._same(at, node.output)
        of = self.array(at)
        operands = [self._tensor(one) for one in node.inputs]
        _, *cuts = (slice(*pair) for pair in ranges_of(node, operands, operands[0].shape))
        taken = of[tuple(cuts[-1:] + cuts[:-1])]
        if node.output in self._arrays or any(map(any, self._margins[node.output])):
            self.layers.append(Copy(taken, self.array(node.output)))
        else:
            self._arrays[node.output] = taken  # Nothing is moved: it lies where it is.

    def _activation(self, node: Node) -> None:
        at, (low, high) = node.inputs[0], ends(self._tensor(node.output), ACTIVATIONS[node.name])
        ratio = quantization(self._tensor(at)).scale[0] / quantization(self._tensor(node.output)).scale[0]
        if not self._near:
            self._same(at, node.output)
        if not _LEAST_RATIO <= ratio <= 1 / _LEAST_RATIO:
            raise InexactError("has scales out of all proportion")
        self.layers.append(Clip(self.array(at), float(ratio), low, high, self.array(node.output)))

    def _quantize(self, node: Node) -> None:
        made = self._tensor(node.output)
        scales = quantization(made)
        zero = int(scales.zero_point[0])
        at = node.inputs[0]
        self.certain &= self._reals.is_certain(at, scales.scale[0])
        of, to = self.array(at), self.array(node.output)
        self.layers.append(Rounding(of, scales.scale[0], INT8_MIN - zero, INT8_MAX - zero, to))
