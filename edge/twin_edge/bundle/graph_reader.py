"""A model as plain arrays, read from the bytes of a TFLite file that a stranger may have made.

What is read is as much of the format as twins need: one graph with one input and one output, whose operators stand in
the order in which they run, with constants inside the file. A model that keeps to that becomes tensors and nodes;
everything else is refused, before a byte of it reaches other code. Notably `Buffer.offset` and `Buffer.size`: the
runtimes add the two, and a sum that wraps around passes their check (docs/adr/0016-exact-renderer.md).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.flatbuffer import Flatbuffer, Table
from twin_edge.bundle.graph import Graph, Node, Scales, Tensor
from twin_edge.bundle.options import options_of
from twin_edge.bundle.shapes import check_shapes
from twin_edge.errors import IntegrityError
from twin_edge.models.engine import INT8_MAX, INT8_MIN
from twin_edge.models.operators import NAMES

MOST_TENSORS: Final = 1024
MOST_NODES: Final = 1024
MOST_CODES: Final = 64
"""Most entries of the table of operators that nodes refer to."""
MOST_VALUES: Final = 1 << 26
"""Most values of all tensors together that are no constants."""
_MOST_RANK: Final = 6
_MOST_OPERANDS: Final = 64
_MOST_BYTES: Final = 1 << 25
_LEAST_SCALE, _MOST_SCALE = 2.0**-60, 2.0**60
_SCHEMA: Final = 3

_FLOAT32, _INT32, _INT8 = 0, 2, 9
_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    _FLOAT32: np.dtype(np.float32),
    _INT32: np.dtype(np.int32),
    _INT8: np.dtype(np.int8),
}

# Fields of the schema's tables that are read or refused, by their number.
_MODEL_VERSION, _MODEL_CODES, _MODEL_GRAPHS, _MODEL_DESCRIPTION, _MODEL_BUFFERS = 0, 1, 2, 3, 4
_MODEL_METADATA_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES, _MODEL_FIELDS = 5, 6, 7, 8
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_GRAPH, _SIGNATURE_FIELDS = 0, 1, 2, 4, 5
_CODE_OLD, _CODE_CUSTOM, _CODE_NEW, _CODE_FIELDS = 0, 1, 3, 4
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_NODES, _GRAPH_NAME, _GRAPH_FIELDS = 0, 1, 2, 3, 4, 6
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION, _TENSOR_FIELDS = 0, 1, 2, 3, 4, 9
_TENSOR_VARIABLE, _TENSOR_SPARSITY, _TENSOR_SIGNATURE = 5, 6, 7
_LEAST, _MOST, _SCALES, _ZERO_POINTS, _DETAILS_TYPE, _DETAILS, _DIMENSION, _QUANTIZATION_FIELDS = range(8)
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE, _BUFFER_FIELDS = 0, 1, 2, 3
_NODE_CODE, _NODE_INPUTS, _NODE_OUTPUTS, _NODE_TYPE, _NODE_OPTIONS, _NODE_FIELDS = 0, 1, 2, 3, 4, 14
_NODE_REFUSED: Final = (5, 7, 8, 9, 10, 11, 12)
"""Custom options, variables that change, intermediate tensors, large custom options, options of the second kind."""

_LEFT_OUT: Final = -1
_BIAS: Final = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""Which input of an operator may be left out; a runtime reads any other without a look."""


def read_graph(content: bytes) -> Graph:
    """Reads a model.

    Args:
        content: A whole `.tflite` file, untrusted, at most 32 MiB.

    Returns:
        The model; its constants are views of `content`.

    Raises:
        IntegrityError: It is not a model of the form that twins have.
    """
    try:
        return _graph(Flatbuffer(content, b"TFL3", _MOST_BYTES).root().only(_MODEL_FIELDS))
    except (struct.error, ValueError, OverflowError) as error:
        raise IntegrityError(
            f"a model is not one that twins have: {error}", fix="get the bundle again from where it was made"
        ) from error


def _graph(model: Table) -> Graph:
    if model.whole(_MODEL_VERSION, "<I") != _SCHEMA:
        raise ValueError("it is of another version of the format")
    names = [_name(code) for code in model.tables(_MODEL_CODES, MOST_CODES)]
    graphs = model.tables(_MODEL_GRAPHS, 1)
    if not graphs:
        raise ValueError("it has no graph")
    graph = graphs[0].only(_GRAPH_FIELDS)
    # Beside what tensors hold, buffers hold a few lines on how the model was made.
    buffers = [_data(buffer) for buffer in model.tables(_MODEL_BUFFERS, MOST_TENSORS + MOST_CODES)]
    tensors = tuple(_tensor(tensor, buffers) for tensor in graph.tables(_GRAPH_TENSORS, MOST_TENSORS))
    values = sum(math.prod(tensor.shape) for tensor in tensors if tensor.constant is None)
    if values > MOST_VALUES:
        raise ValueError(f"its tensors have more than {MOST_VALUES >> 20} million values")
    inputs, outputs = (graph.numbers(slot, "<i4", _MOST_OPERANDS) for slot in (_GRAPH_INPUTS, _GRAPH_OUTPUTS))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    nodes = tuple(_node(node, names) for node in graph.tables(_GRAPH_NODES, MOST_NODES))
    _check_notes(model, len(tensors), len(buffers))
    graph.check_text(_GRAPH_NAME)
    found = Graph(tensors, nodes, int(inputs[0]), int(outputs[0]))
    _check_order(found)
    check_shapes(found)
    return found


def _check_notes(model: Table, tensors: int, buffers: int) -> None:
    """Checks what says how the model was made and what its edges are called: not used here, but by runtimes."""
    model.check_text(_MODEL_DESCRIPTION).numbers(_MODEL_METADATA_BUFFERS, "<i4", MOST_CODES)
    for note in model.tables(_MODEL_METADATA, MOST_CODES):
        if note.only(2).check_text(0).whole(1, "<I") >= buffers:
            raise ValueError("a note has a buffer that is not there")
    for signature in model.tables(_MODEL_SIGNATURES, 1):
        signature.only(_SIGNATURE_FIELDS).check_text(_SIGNATURE_KEY)
        if signature.whole(_SIGNATURE_GRAPH, "<I"):
            raise ValueError("a signature has a graph that is not there")
        for slot in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS):
            for edge in signature.tables(slot, 1):
                if edge.only(2).check_text(0).whole(1, "<I") >= tensors:
                    raise ValueError("a signature has a tensor that is not there")


def _name(code: Table) -> str:
    code.only(_CODE_FIELDS).without(_CODE_CUSTOM)
    number = max(code.whole(_CODE_OLD, "<b"), code.whole(_CODE_NEW, "<i"))
    if number not in NAMES:
        raise ValueError(f"it uses the builtin operator {number}")
    return NAMES[number]


def _data(buffer: Table) -> npt.NDArray[np.uint8]:
    buffer.only(_BUFFER_FIELDS)
    if buffer.whole(_BUFFER_OFFSET, "<Q") or buffer.whole(_BUFFER_SIZE, "<Q"):
        raise ValueError("a buffer lies outside of it")
    return buffer.numbers(_BUFFER_DATA, np.uint8, _MOST_BYTES)


def _tensor(tensor: Table, buffers: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    tensor.only(_TENSOR_FIELDS).without(_TENSOR_SPARSITY).check_text(_TENSOR_NAME)
    tensor.numbers(_TENSOR_SIGNATURE, "<i4", _MOST_RANK)
    if tensor.whole(_TENSOR_VARIABLE, "<B"):
        raise ValueError("a tensor is a variable")
    kind, place = tensor.whole(_TENSOR_TYPE, "<b"), tensor.whole(_TENSOR_BUFFER, "<I")
    if kind not in _DTYPES:
        raise ValueError(f"a tensor has the type {kind}")
    if place >= len(buffers):
        raise ValueError("a tensor has a buffer that is not there")
    shape = tuple(int(size) for size in tensor.numbers(_TENSOR_SHAPE, "<i4", _MOST_RANK))
    dtype, data = _DTYPES[kind], buffers[place]
    if any(size < 1 for size in shape) or math.prod(shape) > MOST_VALUES:
        raise ValueError(f"a tensor has the shape {shape}")
    constant = None
    if len(data):
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"a tensor of shape {shape} has {len(data)} bytes")
        constant = data.view(dtype.newbyteorder("<")).reshape(shape)
        if dtype == np.float32 and not np.isfinite(constant).all():
            raise ValueError("a constant is not finite")
    scales = _scales(tensor.table(_TENSOR_QUANTIZATION), shape, dtype)
    return Tensor(shape, dtype, scales, constant)


def _scales(table: Table | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Scales | None:
    if table is None:
        return None
    table.only(_QUANTIZATION_FIELDS).without(_DETAILS_TYPE, _DETAILS)
    for slot in (_LEAST, _MOST):
        table.numbers(slot, "<f4", MOST_VALUES)
    scale = table.numbers(_SCALES, "<f4", MOST_VALUES)
    zero_point = table.numbers(_ZERO_POINTS, "<i8", MOST_VALUES)
    if not len(scale):
        return None
    axis = table.whole(_DIMENSION, "<i")
    several = shape[axis] if 0 <= axis < len(shape) else 1
    if dtype == np.float32 or len(scale) != len(zero_point) or len(scale) not in {1, several}:
        raise ValueError(f"a tensor of shape {shape} has {len(scale)} scales and {len(zero_point)} zero points")
    if not ((scale >= _LEAST_SCALE) & (scale <= _MOST_SCALE)).all():  # Nor is what is no number.
        raise ValueError("a scale is out of range")
    low, high = (INT8_MIN, INT8_MAX) if dtype == np.int8 else (0, 0)
    if not ((zero_point >= low) & (zero_point <= high)).all():
        raise ValueError("a zero point is out of range")
    return Scales(scale, zero_point, axis)


def _node(node: Table, names: Sequence[str]) -> Node:
    node.only(_NODE_FIELDS).without(*_NODE_REFUSED)
    code = node.whole(_NODE_CODE, "<I")
    if code >= len(names):
        raise ValueError("a node has an operator that is not there")
    name = names[code]
    inputs, outputs = (node.numbers(slot, "<i4", _MOST_OPERANDS) for slot in (_NODE_INPUTS, _NODE_OUTPUTS))
    if len(outputs) != 1:
        raise ValueError(f"{name} has {len(outputs)} outputs")
    options = options_of(name, node.whole(_NODE_TYPE, "<B"), node.table(_NODE_OPTIONS))
    return Node(name, tuple(int(at) for at in inputs), int(outputs[0]), options)


def _check_order(graph: Graph) -> None:
    """Refuses nodes that take what has not been made before them, or make what is there already."""
    count = len(graph.tensors)
    if not 0 <= graph.input < count or graph.tensors[graph.input].constant is not None:
        raise ValueError("its input is none")
    known = {at for at, tensor in enumerate(graph.tensors) if tensor.constant is not None} | {graph.input}
    made = set()
    for node in graph.nodes:
        left_out = [place for place, at in enumerate(node.inputs) if at == _LEFT_OUT]
        if any(_BIAS.get(node.name) != place for place in left_out):
            raise ValueError(f"{node.name} lacks an input")
        if not all(at in known or at == _LEFT_OUT for at in node.inputs):
            raise ValueError(f"{node.name} takes what is not there yet")
        if not 0 <= node.output < count or node.output in known:
            raise ValueError(f"{node.name} makes what is there already")
        known.add(node.output)
        made.add(node.output)
    if graph.output not in made:
        raise ValueError("nothing makes its output")
