"""A TFLite graph taken apart: every operator as a float model of its own, to be run alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.interpreter import Interpreter

from twin_edge.cli.common import native_stderr_hidden

EDGES: Final = ("QUANTIZE", "DEQUANTIZE")
"""Operators that only an int8 graph has."""
LOWEST: Final = -128
HIGHEST: Final = 127
_IDENTIFIER: Final = b"TFL3"

Floats = npt.NDArray[np.float32]
"""Values of an activation, float32, or of many samples of it in the first dimension."""


@dataclass(frozen=True, slots=True)
class SingleOperator:
    """One operator of a graph, as a model of its own."""

    name: str
    """Such as `CONV_2D`."""
    inputs: tuple[int, ...]
    """Numbers of the tensors that it takes, constants left out."""
    output: int
    """Number of the tensor that it makes."""
    output_name: str
    """Name of that tensor."""
    output_scale: float
    """Of its int8 values; 0 where they stay float."""
    output_zero_point: int
    """Of its int8 values."""
    interpreter: Interpreter
    """What runs it."""

    def __call__(self, values: Sequence[Floats]) -> Floats:
        """Returns what it makes of values, one array for each input."""
        for detail, value in zip(self.interpreter.get_input_details(), values, strict=True):
            self.interpreter.set_tensor(detail["index"], value)
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"]), np.float32)

    def rounded(self, values: Floats) -> Floats:
        """Returns values as the int8 tensor of this operator's output would hold them."""
        steps = np.clip(np.rint(values / self.output_scale) + self.output_zero_point, LOWEST, HIGHEST)
        return np.asarray((steps - self.output_zero_point) * self.output_scale, np.float32)


def parse(content: bytes) -> Any:
    """Returns a model as the schema's objects."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    """Returns the file of a model that is given as the schema's objects."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """Returns the name of an operator of a TFLite model, such as `CONV_2D`; both as the schema's objects."""
    code = model.operatorCodes[operator.opcodeIndex]
    value = max(code.deprecatedBuiltinCode, code.builtinCode)
    return next((name for name, number in vars(schema.BuiltinOperator).items() if number == value), "?")


def interpreter(content: bytes) -> Interpreter:
    """Returns an interpreter for a model."""
    # TensorFlow's own interpreter, deprecated as it is: tflite-runtime cannot be loaded beside TensorFlow.
    with warnings.catch_warnings(), native_stderr_hidden():
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated", category=UserWarning)
        made = Interpreter(model_content=content, num_threads=1)
        made.allocate_tensors()
    return made


def run_model(content: bytes, samples: Sequence[Floats]) -> Floats:
    """Returns the outputs of a model with float edges, float32 with the samples in the first dimension."""
    runner, outputs = interpreter(content), []
    for sample in samples:
        runner.set_tensor(runner.get_input_details()[0]["index"], np.asarray(sample, np.float32)[np.newaxis])
        runner.invoke()
        outputs.append(np.asarray(runner.get_tensor(runner.get_output_details()[0]["index"]), np.float32))
    return np.concatenate(outputs)


def activations(operators: Sequence[SingleOperator], sample: Floats) -> dict[int, Floats]:
    """Returns the values of every activation, by the number of its tensor."""
    values = {operators[0].inputs[0]: sample}
    for operator in operators:
        values[operator.output] = operator([values[tensor] for tensor in operator.inputs])
    return values


def take_apart(content: bytes) -> list[SingleOperator]:
    """Takes a graph apart into float operators; those of an int8 graph have the weights that int8 stands for."""
    model = _as_float(parse(content))
    graph, found = model.subgraphs[0], []
    everything = list(graph.operators)
    original = parse(content).subgraphs[0].tensors
    for operator in everything:
        name = operator_name(model, operator)
        if name in EDGES:
            continue
        inputs = [int(at) for at in operator.inputs if at >= 0 and model.buffers[graph.tensors[at].buffer].data is None]
        output = int(operator.outputs[0])
        graph.operators, graph.inputs, graph.outputs = [operator], inputs, [output]
        tensor, kind = graph.tensors[output], original[output].quantization
        has_scale = kind is not None and kind.scale is not None
        found.append(
            SingleOperator(
                name,
                tuple(inputs),
                output,
                tensor.name.decode(errors="replace").split(";")[0],
                float(kind.scale[0]) if has_scale else 0.0,
                int(kind.zeroPoint[0]) if has_scale else 0,
                interpreter(packed(model)),
            )
        )
    return found


def _as_float(model: Any) -> Any:
    """Turns every int8 tensor of a graph, and the int32 biases, into float."""
    model.signatureDefs, model.metadata = [], []
    for tensor in model.subgraphs[0].tensors:
        kind = tensor.quantization
        if kind is None or kind.scale is None or tensor.type not in {schema.TensorType.INT8, schema.TensorType.INT32}:
            continue
        data = model.buffers[tensor.buffer].data
        if data is not None:
            width: Any = np.int8 if tensor.type == schema.TensorType.INT8 else np.int32
            steps = np.frombuffer(bytes(data), width).reshape(tensor.shape).astype(np.float64)
            along = [1] * len(tensor.shape)
            if len(kind.scale) > 1:
                along[kind.quantizedDimension] = len(kind.scale)
            real = (steps - kind.zeroPoint.reshape(along)) * kind.scale.reshape(along)
            model.buffers[tensor.buffer].data = np.frombuffer(real.astype(np.float32).tobytes(), np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    return model
