"""Whether the shapes and types of a graph's tensors are those that its operators make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from twin_edge.bundle.graph import PICTURE, VECTOR, Graph, Node, Tensor

MOST_PRODUCTS: Final = 1 << 32
"""Most multiplications for one picture."""
SAME: Final = 0
"""Padding of a convolution that leaves a picture its size; the other is 1, none."""
_VALID: Final = 1
_MOST_STRIDE: Final = 64
_MASKS: Final = 1 << 6

_Operands = Sequence[Tensor | None]
_INT8, _INT32, _FLOAT32 = np.dtype(np.int8), np.dtype(np.int32), np.dtype(np.float32)


def check_shapes(graph: Graph) -> None:
    """Checks the nodes of operators that are drawn with outside of devices, and how many inputs others have.

    Raises:
        ValueError: A node's tensors do not fit each other, or all nodes together multiply too much.
    """
    products = 0
    for node in graph.nodes:
        if node.name in _CHECKS:
            operands = [graph.tensors[at] if at >= 0 else None for at in node.inputs]
            try:
                products += _CHECKS[node.name](node, operands, graph.tensors[node.output])
            except ValueError as error:
                raise ValueError(f"{node.name} {error}") from error
        elif len(node.inputs) not in _INPUTS.get(node.name, ()):
            raise ValueError(f"{node.name} has another number of inputs")
    if products > MOST_PRODUCTS:
        raise ValueError(f"it takes {products >> 20} million multiplications")


def _fully_connected(node: Node, operands: _Operands, made: Tensor) -> int:
    x, weights, bias = _weighted(operands, made)
    _need(not node.options["weights_format"] and not node.options["keep_num_dims"], "stores its weights in another way")
    outputs = _sized(weights, VECTOR)[0]
    _need(x.shape == (1, weights.shape[1]) and made.shape == (1, outputs), "has tensors of other shapes")
    _need(bias is None or bias.shape == (outputs,), "has a bias of another shape")
    return math.prod(weights.shape)


def _conv_2d(node: Node, operands: _Operands, made: Tensor) -> int:
    x, kernel, bias = _weighted(operands, made)
    options = node.options
    outputs, high, wide, channels = _sized(kernel, PICTURE)
    _, rows, columns, depth = _sized(x, PICTURE)
    _need(options["dilation_w"] == 1 and options["dilation_h"] == 1, "is dilated")
    expected = (
        1,
        _length(rows, high, options["stride_h"], options["padding"]),
        _length(columns, wide, options["stride_w"], options["padding"]),
        outputs,
    )
    _need(x.shape[0] == 1 and depth == channels and made.shape == expected, "has tensors of other shapes")
    _need(bias is None or bias.shape == (outputs,), "has a bias of another shape")
    return math.prod(kernel.shape) * expected[1] * expected[2]


def _length(size: int, kernel: int, stride: int, padding: int) -> int:
    _need(1 <= stride <= _MOST_STRIDE and padding in {SAME, _VALID}, "has another stride or padding")
    _need(kernel <= size or padding == SAME, "has a kernel larger than its input")
    return -(-(size if padding == SAME else size - kernel + 1) // stride)


def _weighted(operands: _Operands, made: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns input, weights and bias, having checked that they are all whole numbers, or all real ones."""
    _need(len(operands) in {2, 3}, "has another number of inputs")
    x, weights, bias = _there(operands[0]), _there(operands[1]), operands[2] if len(operands) > 2 else None  # noqa: PLR2004
    _need(x.dtype in {_INT8, _FLOAT32} and made.dtype == x.dtype == weights.dtype, "has tensors of other types")
    _need(weights.constant is not None and (bias is None or bias.constant is not None), "has weights that change")
    _need(bias is None or bias.dtype == (_INT32 if x.dtype == _INT8 else _FLOAT32), "has a bias of another type")
    return x, weights, bias


def _add(_: Node, operands: _Operands, made: Tensor) -> int:
    one, other = _counted(operands, 2)
    _need(np.broadcast_shapes(one.shape, other.shape) == made.shape, "has tensors of other shapes")
    _need(one.dtype == other.dtype == made.dtype != _INT32, "has tensors of other types")
    return math.prod(made.shape)


def _concatenation(node: Node, operands: _Operands, made: Tensor) -> int:
    parts = _counted(operands, len(operands))
    axis = len(made.shape) - 1
    _need(node.options["axis"] in {axis, -1} and axis >= 0, "does not join along the last axis")
    _need(all(part.shape[:-1] == made.shape[:-1] and part.shape for part in parts), "has tensors of other shapes")
    _need(sum(part.shape[-1] for part in parts) == made.shape[-1], "has tensors of other shapes")
    _need(all(part.dtype == made.dtype for part in parts), "has tensors of other types")
    return 0


def _reshape(_: Node, operands: _Operands, made: Tensor) -> int:
    _need(1 <= len(operands) <= 2, "has another number of inputs")  # noqa: PLR2004
    x = _there(operands[0])
    _need(x.dtype == made.dtype and math.prod(x.shape) == math.prod(made.shape), "changes size or type")
    if len(operands) > 1:
        wanted = _numbers(operands[1], len(made.shape))
        _need(all(size in {-1, there} for size, there in zip(wanted, made.shape, strict=True)), "wants another shape")
    return 0


def _depth_to_space(node: Node, operands: _Operands, made: Tensor) -> int:
    (x,) = _counted(operands, 1)
    block = node.options["block"]
    _, rows, columns, channels = _sized(x, PICTURE)
    _need(1 <= block <= _MOST_STRIDE and channels % (block * block) == 0, "has another block")
    expected = (x.shape[0], rows * block, columns * block, channels // (block * block))
    _need(made.shape == expected and made.dtype == x.dtype, "has tensors of other shapes")
    return 0


def _activation(_: Node, operands: _Operands, made: Tensor) -> int:
    (x,) = _counted(operands, 1)
    _need(x.shape == made.shape and x.dtype == made.dtype, "has tensors of other shapes")
    return 0


def _strided_slice(node: Node, operands: _Operands, made: Tensor) -> int:
    _need(len(operands) == 4, "has another number of inputs")  # noqa: PLR2004
    x = _there(operands[0])
    _need(made.shape == tuple(end - begin for begin, end in ranges_of(node, operands, x.shape)), "has another shape")
    _need(made.dtype == x.dtype, "has tensors of other types")
    return 0


def ranges_of(node: Node, operands: _Operands, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Returns from where to where a `STRIDED_SLICE` takes a tensor, along each axis.

    Args:
        node: The node.
        operands: What it takes: the tensor, where it begins, where it ends, and strides.
        shape: Shape of the tensor.

    Raises:
        ValueError: It takes something else than such ranges.
    """
    options, rank = node.options, len(shape)
    odd = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset")
    _need(not any(options[name] for name in odd), "takes more than ranges")
    _need(0 <= options["begin_mask"] < _MASKS and 0 <= options["end_mask"] < _MASKS, "has another mask")
    begins, ends, strides = (_numbers(operand, rank) for operand in operands[1:])
    found = []
    for axis, size in enumerate(shape):
        begin = 0 if options["begin_mask"] >> axis & 1 else begins[axis]
        end = size if options["end_mask"] >> axis & 1 else ends[axis]
        _need(0 <= begin < end <= size and strides[axis] == 1, "takes more than ranges")
        found.append((begin, end))
    return tuple(found)


def _quantize(_: Node, operands: _Operands, made: Tensor) -> int:
    (x,) = _counted(operands, 1)
    _need(x.shape == made.shape, "has tensors of other shapes")
    _need(x.dtype == _FLOAT32 and made.dtype == _INT8 and made.scales is not None, "has tensors of other types")
    return 0


def _dequantize(_: Node, operands: _Operands, made: Tensor) -> int:
    (x,) = _counted(operands, 1)
    _need(x.shape == made.shape, "has tensors of other shapes")
    _need(x.dtype == _INT8 and made.dtype == _FLOAT32 and x.scales is not None, "has tensors of other types")
    return 0


def _need(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(otherwise)


def _there(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("lacks an input")
    return tensor


def _counted(operands: _Operands, count: int) -> list[Tensor]:
    _need(len(operands) == count and count > 0, "has another number of inputs")
    return [_there(operand) for operand in operands]


def _sized(tensor: Tensor, rank: int) -> tuple[int, ...]:
    _need(len(tensor.shape) == rank, f"has a tensor of {len(tensor.shape)} dimensions")
    return tensor.shape


def _numbers(tensor: Tensor | None, count: int) -> list[int]:
    """Returns the whole numbers of a constant of shape (count,)."""
    constant: Any = _there(tensor).constant
    _need(constant is not None and constant.dtype == _INT32 and constant.shape == (count,), "has other arguments")
    return [int(number) for number in constant]


_CHECKS: Final[dict[str, Callable[[Node, _Operands, Tensor], int]]] = {
    "ADD": _add,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": _dequantize,
    "FULLY_CONNECTED": _fully_connected,
    "QUANTIZE": _quantize,
    "MUL": _add,
    "RELU": _activation,
    "RELU6": _activation,
    "RELU_N1_TO_1": _activation,
    "RESHAPE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _add,
}

# How many inputs those have that only devices run.
_INPUTS: Final[dict[str, tuple[int, ...]]] = {
    "DEPTHWISE_CONV_2D": (2, 3),
    "LEAKY_RELU": (1,),
    "LOGISTIC": (1,),
    "MAXIMUM": (2,),
    "MAX_POOL_2D": (1,),
    "MEAN": (2,),
    "MINIMUM": (2,),
    "PAD": (2,),
    "RESIZE_BILINEAR": (2,),
    "SPACE_TO_DEPTH": (1,),
    "TANH": (1,),
    "TRANSPOSE": (2,),
    "TRANSPOSE_CONV": (3, 4),
}
