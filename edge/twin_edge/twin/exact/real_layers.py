"""Layers of reals, made with what is known of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.graph import VECTOR, Graph, Node
from twin_edge.models.engine import INT8_MAX, INT8_MIN, Quantization
from twin_edge.twin.exact.knowledge import Known, known_constant, known_of_dense, known_of_pair, sums_are_whole
from twin_edge.twin.exact.reals import Elementwise, FloatDense, check_reach
from twin_edge.twin.exact.whole import InexactError, near_tie, real_ends

_FLOAT64: Final = 8
"""Bytes of a value that sums are made of."""
_MOST_STEPS: Final = 256
"""No int8 value is as many steps from a zero point."""
_COUNTED: Final = 64
"""Bytes of a value that is counted: as it is kept, and in the float64 and int64 that it is looked at in."""


class RealLayers:
    """Makes layers of nodes whose tensors are float32, in the order in which they run.

    Args:
        graph: What is compiled.
        latent: Real values of the int8 vector that goes in; None where a picture goes in.
        array: Returns the array of a tensor.
        claim: Takes bytes off those that may still be allocated.
    """

    def __init__(
        self,
        graph: Graph,
        latent: Quantization | None,
        array: Callable[[int], npt.NDArray[np.float32]],
        claim: Callable[[int], None],
    ) -> None:
        self._graph, self._array, self._claim = graph, array, claim
        self._known: dict[int, Known] = {}
        if latent is not None:
            check_reach(_MOST_STEPS * latent.scale)
            every = latent.dequantize(np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8))
            self._known[graph.input] = Known(float(np.abs(every).max()), alike=True, choices=every[np.newaxis])

    def dense(self, node: Node, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> FloatDense:
        """Returns a dense layer.

        Raises:
            InexactError: Its weights are too large to be summed up, or nothing is known of what it takes.
        """
        of, limits = self._known_of(node.inputs[0]), real_ends(node.options["activation"])
        self._claim(2 * _FLOAT64 * sum(weights.shape))
        layer = FloatDense(
            self._array(node.inputs[0]),
            weights,
            bias,
            limits,
            reach=of.reach,
            exact=sums_are_whole(of, weights, bias),
            out=self._array(node.output),
        )
        self._learn(node.output, known_of_dense(of, weights, bias, limits, layer.reach))
        return layer

    def pair(self, node: Node) -> Elementwise:
        """Returns what works value by value.

        Raises:
            InexactError: Its tensors are of other shapes than (1, n) and (1,), or nothing is known of them.
        """
        one, other = (self._graph.tensors[at] for at in node.inputs)
        wide = self._graph.tensors[node.output].shape
        if one.shape != wide or one.constant is not None or other.shape not in {wide, (1,)} or len(wide) != VECTOR:
            raise InexactError("is of reals of other shapes")
        limits = real_ends(node.options["activation"])
        known, known_other = (self._known_of(at) for at in node.inputs)
        self._learn(node.output, known_of_pair(node.name, known, known_other, node.inputs[0], limits))
        second = self._array(node.inputs[1]) if other.constant is None else other.constant.reshape(-1)
        return Elementwise(node.name, self._array(node.inputs[0]), second, limits, self._array(node.output))

    def is_certain(self, at: int, scale: np.float32) -> bool:
        """Returns whether every runtime rounds a tensor's values to the same steps."""
        known = self._known_of(at)
        if known.choices is None or not known.alike:
            return False
        return not bool(near_tie(known.choices / np.float64(scale)).any())

    def _learn(self, at: int, known: Known) -> None:
        if known.choices is not None:
            self._claim(_COUNTED * known.choices.size)
        self._known[at] = known

    def _known_of(self, at: int) -> Known:
        constant = self._graph.tensors[at].constant
        if at not in self._known and constant is not None:
            return known_constant(constant)
        if at not in self._known:
            raise InexactError("takes reals that nothing is known of")
        return self._known[at]
