"""Weights that every runtime computes the same with, bit for bit, and that take little room.

An int8 kernel multiplies the sum that it has by a scale and rounds. Runtimes do that in different ways, once or twice,
in float or in whole numbers, ties up or to even, so that now and then they are a step apart. They cannot be when the
scale is a power of two, every weight a multiple of 4, and the bias 2 more than one: then no sum is ever near a tie,
and halving it, which is what the first of two roundings does, rounds nothing. (Where the scale is a quarter, the bias
is a multiple of 4 as well: nothing is left to round.) And an addition of values of one scale is exact everywhere.

Six bits are left of a weight; `twin_converters.rounding` makes them do. The many weights of the coefficients have just
as many as the picture needs: their steps do the picture equal harm.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tensorflow.lite.python import schema_py_generated as schema

from twin_converters.operators import (
    EDGES,
    HIGHEST,
    Floats,
    activations,
    operator_name,
    packed,
    parse,
    run_model,
    take_apart,
)
from twin_converters.rounding import Inputs, Reals, equal_harm, inputs_of, rounded_to_powers
from twin_edge.errors import ConversionError

_UNIT: Final = 4
_OFFSET: Final = 2
_QUARTER: Final = -2
"""Exponent of the scale that makes ties of sums that are 2 modulo 4; multiples of 4 leave nothing to round there."""
_MOST_BIAS: Final = 2**30
_BIAS_STEP: Final = 1 / 16
"""Step of a bias, in steps of what comes out."""
_SAMPLES: Final = 96
_SPARED_BITS: Final = 15
"""Bits of a float weight that are set to 0: what is left says it to a five-hundredth."""
_COEFFICIENTS: Final = "coefficients"
_DICTIONARY: Final = "dictionary"
PIXELS: Final = "_pixels"
"""In the names of the layers that make pixels of a part's coefficients."""

_WEIGHTED: Final = frozenset({"CONV_2D", "FULLY_CONNECTED"})
_EXACT: Final = _WEIGHTED | {"ADD", "RESHAPE", "DEPTH_TO_SPACE", "STRIDED_SLICE", "CONCATENATION", *EDGES}


def can_be_exact(content: bytes) -> bool:
    """Returns whether a model has only operators that `exact` knows."""
    model = parse(content)
    return all(operator_name(model, operator) in _EXACT for operator in model.subgraphs[0].operators)


def exact(content: bytes, float_content: bytes, samples: Sequence[Floats], tolerated: float) -> bytes:
    """Returns an int8 generator whose weights are as described above.

    Args:
        content: The quantized model; layers in float at its beginning stay float, with shorter numbers.
        float_content: The same model in float.
        samples: Real inputs, without the batch dimension; some of them are used.
        tolerated: What rounding the coefficients' weights may add to the mean squared error of an output, before what
            is made up for; outputs are -1 to 1.

    Raises:
        ConversionError: The two are not the same graph.
    """
    model, original, reference = parse(content), parse(float_content), take_apart(float_content)
    operators = [one for one in model.subgraphs[0].operators if operator_name(model, one) not in EDGES]
    known = list(original.subgraphs[0].operators)
    names = [operator_name(original, one) for one in known]
    if names != [operator_name(model, one) for one in operators]:
        raise ConversionError("the float and the int8 model do not correspond", fix="train it again")
    graph = _Graph(model, original)
    pairs = list(zip(operators, known, strict=True))
    for name, (operator, twin) in zip(names, pairs, strict=True):
        operator.inputs = operator.inputs.copy()  # What was read from a file cannot be changed.
        if name == "ADD":
            graph.share_scale(operator, twin)
    chosen = [samples[row] for row in np.linspace(0, len(samples) - 1, min(_SAMPLES, len(samples))).round().astype(int)]
    traces = [activations(reference, np.asarray(sample, np.float32)[np.newaxis]) for sample in chosen]
    sizes = graph.entry_sizes(pairs)
    values = float(np.prod(traces[0][reference[-1].output].shape))
    for place, (operator, twin) in enumerate(pairs):
        if names[place] not in _WEIGHTED:
            continue
        if graph.is_float(operator):
            graph.shorten(operator)
            continue
        kernel, one = graph.constant(twin.inputs[1]), reference[place]
        seen = inputs_of([trace[one.inputs[0]] for trace in traces], kernel.shape, one.name)
        steps = None
        if PIXELS in graph.name_of(twin.inputs[1]):  # What comes out of the last layer is named by the graph.
            # Every pixel counts alike, and so does every part of them.
            steps = equal_harm(len(kernel), seen, np.ones(1), tolerated * len(kernel))
        elif _COEFFICIENTS in one.output_name and sizes is not None:
            in_block = traces[0][reference[place + 1].output].shape[-1]
            steps = equal_harm(len(kernel), seen, sizes[:in_block], tolerated * values)
        graph.round(operator, twin, seen, steps)
    wanted = np.stack([trace[reference[-1].output][0] for trace in traces])
    graph.shift_anchor([operator for operator, _ in pairs], (wanted - run_model(packed(model), chosen)).mean(0))
    return packed(model)


class _Graph:
    """An int8 model beside the float one that it came from, as the schema's objects."""

    def __init__(self, model: Any, original: Any) -> None:
        self._model, self._original = model, original
        self._tensors = model.subgraphs[0].tensors
        self._written: set[int] = set()

    def constant(self, at: int) -> Floats:
        """Returns a constant of the float model."""
        tensor = self._original.subgraphs[0].tensors[at]
        return np.frombuffer(bytes(self._original.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)

    def name_of(self, at: int) -> str:
        """Returns the name of a tensor of the float model."""
        return str(self._original.subgraphs[0].tensors[at].name.decode())

    def is_float(self, operator: Any) -> bool:
        """Returns whether an operator of the int8 model computes in float."""
        return bool(self._tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32)

    def entry_sizes(self, pairs: Sequence[tuple[Any, Any]]) -> Reals | None:
        """Returns how much one unit of each coefficient of a block changes the picture, float64 of shape (n,)."""
        for operator, twin in pairs:
            if any(_DICTIONARY in self._tensors[at].name.decode() for at in operator.inputs[1:2]):
                return np.asarray(np.sqrt(np.square(self.constant(twin.inputs[1]).astype(np.float64)).sum((0, 1, 2))))
        return None

    def share_scale(self, operator: Any, twin: Any) -> None:
        """Gives all that an addition takes the scale of what it makes."""
        scale = self._scale(operator.outputs[0])
        for place, at in enumerate(operator.inputs):
            tensor = self._tensors[at]
            if self._scale(at) == scale:
                continue
            if self._model.buffers[tensor.buffer].data is not None:
                steps = np.clip(np.rint(self.constant(twin.inputs[place]) / scale), -HIGHEST, HIGHEST)
                operator.inputs[place] = self._write(at, steps.astype(np.int8), np.array([scale]))
            else:
                tensor.quantization.scale, tensor.quantization.zeroPoint = np.array([scale]), np.zeros(1, np.int64)

    def shift_anchor(self, operators: Sequence[Any], missing: Floats) -> None:
        """Adds what is missing of the picture on average to the constant picture that one of the operators adds.

        Args:
            operators: All operators that have a float counterpart.
            missing: float32 of shape (height, width, channels), -1 to 1.
        """
        for operator in operators:
            for at in operator.inputs if operator_name(self._model, operator) == "ADD" else ():
                tensor = self._tensors[at]
                data = self._model.buffers[tensor.buffer].data
                if data is None:
                    continue
                _, rows, columns, _ = tensor.shape
                block = missing.shape[0] // rows
                folded = missing.reshape(rows, block, columns, block, -1).transpose(0, 2, 1, 3, 4)
                steps = np.frombuffer(bytes(data), np.int8).reshape(tensor.shape)
                steps = np.rint(steps + folded.reshape(tensor.shape) / self._scale(at))
                self._put(at, np.clip(steps, -HIGHEST, HIGHEST).astype(np.int8))

    def shorten(self, operator: Any) -> None:
        """Rounds the weights of a float layer to numbers that take less room."""
        weights = np.frombuffer(bytes(self._model.buffers[self._tensors[operator.inputs[1]].buffer].data), np.uint32)
        rounded = (weights.astype(np.uint64) + (1 << (_SPARED_BITS - 1))) >> _SPARED_BITS << _SPARED_BITS
        self._put(operator.inputs[1], rounded.astype(np.uint32))

    def round(self, operator: Any, twin: Any, seen: Inputs, steps: Reals | None) -> None:
        """Gives an operator exact weights.

        Args:
            operator: The operator.
            twin: The same in the float model.
            seen: What comes into it.
            steps: How large the steps of each output's weights should be, of shape (outputs,); as small as fits when
                None.
        """
        kernel, bias = self.constant(twin.inputs[1]), self.constant(twin.inputs[2]).astype(np.float64)
        flat = kernel.reshape(len(kernel), -1).astype(np.float64)
        scale_in, scale_out = (np.float64(self._scale(at)) for at in (operator.inputs[0], operator.outputs[0]))
        unit = scale_out / scale_in
        whole, exponents = rounded_to_powers(flat, float(_UNIT * unit), seen, steps)
        scales = (2.0**exponents * unit).astype(np.float32)
        real = scales.astype(np.float64)[:, np.newaxis] * _UNIT
        bias += (flat - whole * real) @ seen.mean
        sums = scales.astype(np.float64) * scale_in
        grain = np.maximum(_UNIT, 2.0 ** np.floor(np.log2(_BIAS_STEP * scale_out / sums)))
        offset = np.where(exponents == _QUARTER, 0, _OFFSET)
        added = np.clip(np.rint((bias / sums - offset) / grain) * grain, -_MOST_BIAS, _MOST_BIAS) + offset
        weights = (whole * _UNIT).astype(np.int8).reshape(kernel.shape)
        operator.inputs[1] = self._write(operator.inputs[1], weights, scales)
        operator.inputs[2] = self._write(operator.inputs[2], added.astype(np.int32), sums.astype(np.float32))

    def _scale(self, at: int) -> np.float32:
        return np.float32(self._tensors[at].quantization.scale[0])

    def _write(self, at: int, values: npt.NDArray[Any], scales: Floats) -> int:
        """Puts constants in the place of others, in a tensor of their own where two operators share one."""
        if at in self._written:
            self._tensors.append(copy.deepcopy(self._tensors[at]))
            at = len(self._tensors) - 1
        self._written.add(at)
        kind = self._tensors[at].quantization
        kind.scale, kind.zeroPoint, kind.quantizedDimension = scales, np.zeros(len(scales), np.int64), 0
        kind.min = kind.max = None
        self._put(at, values)
        return at

    def _put(self, at: int, values: npt.NDArray[Any]) -> None:
        tensor = self._tensors[at]
        buffer = copy.copy(self._model.buffers[tensor.buffer])
        if sum(other.buffer == tensor.buffer for other in self._tensors) > 1:
            tensor.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)
        else:
            self._model.buffers[tensor.buffer] = buffer
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
