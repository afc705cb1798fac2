"""Float layers whose sums are whole numbers, so that they do not depend on the order that a runtime sums them up in.

A dense layer in float32 comes to another last bit on every processor; where the feature that it makes lies near a tie,
that is a step in thousands of values. So its input is split in two: a coarse part, rounded to steps so large that
float32 holds every sum of it with weights of a dozen bits, and a fine one, which is what is left, rounded as well. A
large number is added and taken off again to round: every runtime does that alike, value by value. Both parts go through
the same weights, and what comes out is added up. Before it becomes int8 it is rounded to steps in the same way.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tensorflow.lite.python import schema_py_generated as schema

from twin_converters.operators import operator_name, packed, parse

_FLOAT_BITS: Final = 24
_PART_BITS: Final = 7
"""Bits of each part of an input, sign left out."""
_MOST_LATENT: Final = 2.0
"""No latent is larger, either way: they are clipped to -1 and 1, and their range is at most as wide as that of int8."""
_NEVER_MORE: Final = 1.01
_ROUNDER: Final = 1.5 * 2**23
"""What rounds to whole numbers when it is added to a float32 and taken off again."""
_ENDS: Final = {
    schema.ActivationFunctionType.RELU6: 6.0,
    schema.ActivationFunctionType.RELU_N1_TO_1: 1.0,
}
_OPTIONS: Final[dict[str, Any]] = {
    "ADD": (schema.BuiltinOptions.AddOptions, schema.AddOptionsT),
    "SUB": (schema.BuiltinOptions.SubOptions, schema.SubOptionsT),
    "MUL": (schema.BuiltinOptions.MulOptions, schema.MulOptionsT),
}


def whole_floats(content: bytes) -> bytes:
    """Returns a generator whose layers in float, if there are any that sum up, have the form described above.

    Args:
        content: A quantized generator with float layers at its beginning. One that has others than dense layers there,
            or some whose results have no ends, is left as it is.
    """
    model = parse(content)
    rewriter = _Rewriter(model)
    reach, changed = {int(model.subgraphs[0].inputs[0]): _MOST_LATENT}, False
    for operator in list(model.subgraphs[0].operators):
        name, taken, made = operator_name(model, operator), int(operator.inputs[0]), int(operator.outputs[0])
        if taken not in reach:
            break
        if name == "QUANTIZE":
            if changed:
                rewriter.round_before(operator)
            break
        if name != "FULLY_CONNECTED" or operator.builtinOptions.fusedActivationFunction not in _ENDS:
            return content
        activation = operator.builtinOptions.fusedActivationFunction
        if rewriter.sums_up(operator):
            rewriter.split(operator, reach[taken])
            changed = True
        reach[made] = _ENDS[activation]
    return packed(model) if changed else content


class _Rewriter:
    """Puts operators into a graph."""

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.subgraphs[0]

    def sums_up(self, operator: Any) -> bool:
        """Returns whether a layer does more than copying inputs."""
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0  # noqa: PLR2004
        weights = self._floats(operator.inputs[1])
        return bool((has_bias and self._floats(operator.inputs[2]).any()) or (np.count_nonzero(weights, 1) > 1).any())

    def split(self, operator: Any, reach: float) -> None:
        """Gives a dense layer weights in whole numbers, and its input in two parts.

        Args:
            operator: The layer.
            reach: No input is larger, either way.
        """
        top = math.ceil(math.log2(reach))
        coarse_step, fine_step = 2.0 ** (top - _PART_BITS), 2.0 ** (top - 2 * _PART_BITS)
        weights, bias = self._floats(operator.inputs[1]).astype(np.float64), None
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0  # noqa: PLR2004
        if has_bias:
            bias = self._floats(operator.inputs[2]).astype(np.float64)
        most = np.abs(weights).sum(1) * 2.0**top + (0 if bias is None else np.abs(bias))
        steps = 2.0 ** np.ceil(np.log2(np.maximum(most, 1e-9) * _NEVER_MORE / 2.0**_FLOAT_BITS / coarse_step))
        rounded = np.rint(weights / steps[:, np.newaxis]) * steps[:, np.newaxis]
        shape = (1, len(weights))
        at = self._index(operator)
        taken, made = int(operator.inputs[0]), int(operator.outputs[0])
        width = (1, weights.shape[1])
        kernel = self._replaced(operator.inputs[1], rounded)
        coarse, first = self._rounded(taken, width, coarse_step)
        rest = self._tensor(width)
        second = self._operator("SUB", [taken, coarse], rest)
        fine, third = self._rounded(rest, width, fine_step)
        sums, fine_sums = self._tensor(shape), self._tensor(shape)
        other = copy.deepcopy(operator)
        activation = operator.builtinOptions.fusedActivationFunction
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        other.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        units = steps * coarse_step
        added = -1 if bias is None else self._replaced(operator.inputs[2], np.rint(bias / units) * units)
        operator.inputs, operator.outputs = np.array([coarse, kernel, added], np.int32), np.array([sums], np.int32)
        other.inputs, other.outputs = np.array([fine, kernel, -1], np.int32), np.array([fine_sums], np.int32)
        last = self._operator("ADD", [sums, fine_sums], made)
        last.builtinOptions.fusedActivationFunction = activation
        self._graph.operators[at : at + 1] = [*first, second, *third, operator, other, last]

    def round_before(self, quantize: Any) -> None:
        """Brings what becomes int8 to its steps beforehand, in a way that leaves nothing to decide."""
        at, taken = self._index(quantize), int(quantize.inputs[0])
        shape = tuple(int(size) for size in self._graph.tensors[taken].shape)
        scale = np.float32(self._graph.tensors[quantize.outputs[0]].quantization.scale[0])
        steps, whole = self._tensor(shape), self._tensor(shape)
        first = self._operator("MUL", [taken, self._constant(np.float32(1) / scale, (1,))], steps)
        rounded, others = self._rounded(steps, shape, 1.0)
        last = self._operator("MUL", [rounded, self._constant(scale, (1,))], whole)
        quantize.inputs = np.array([whole], np.int32)
        self._graph.operators[at:at] = [first, *others, last]

    def _rounded(self, taken: int, shape: tuple[int, ...], step: float) -> tuple[int, list[Any]]:
        """Returns the number of a tensor that is another one rounded to steps, and what makes it."""
        lifted, made = self._tensor(shape), self._tensor(shape)
        return made, [
            self._operator("ADD", [taken, self._constant(_ROUNDER * step, (1,))], lifted),
            self._operator("ADD", [lifted, self._constant(-_ROUNDER * step, (1,))], made),
        ]

    def _index(self, operator: Any) -> int:
        return next(at for at, one in enumerate(self._graph.operators) if one is operator)

    def _floats(self, at: int) -> npt.NDArray[np.float32]:
        tensor = self._graph.tensors[at]
        return np.frombuffer(bytes(self._model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)

    def _tensor(self, shape: tuple[int, ...], buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.array(shape, np.int32), schema.TensorType.FLOAT32, buffer
        tensor.name = f"whole_{len(self._graph.tensors)}".encode()
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _replaced(self, at: int, values: npt.NDArray[np.float64]) -> int:
        """Gives a constant other values, in a tensor of its own where others hold the same ones."""
        tensor = self._graph.tensors[at]
        if sum(other.buffer == tensor.buffer for other in self._graph.tensors) > 1:
            return self._constant(values, values.shape)
        self._model.buffers[tensor.buffer].data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        return int(at)

    def _constant(self, values: npt.ArrayLike, shape: tuple[int, ...]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(values, np.float32).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(shape, len(self._model.buffers) - 1)

    def _operator(self, name: str, inputs: list[int], output: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex = self._code(name)
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        made.builtinOptionsType, options = _OPTIONS[name]
        made.builtinOptions = options()
        return made

    def _code(self, name: str) -> int:
        """Returns the number of the first version of an operator in the table, having put it there if it was not."""
        number = getattr(schema.BuiltinOperator, name)
        for at, code in enumerate(self._model.operatorCodes):
            if max(code.deprecatedBuiltinCode, code.builtinCode) == number and code.version == 1:
                return at
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode, code.builtinCode, code.version = number, number, 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1
