"""TFLite models written by hand: whole ones for both runtimes, and forged ones that no library would write."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INT8, INT32, FLOAT32 = 9, 2, 0
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
CODES = {
    "ADD": (0, 2), "CONCATENATION": (2, 2), "CONV_2D": (3, 3), "DEPTH_TO_SPACE": (5, 2), "DEQUANTIZE": (6, 2),
    "FULLY_CONNECTED": (9, 4), "LEAKY_RELU": (98, 1), "MAX_POOL_2D": (17, 1), "MUL": (18, 1), "RESHAPE": (22, 1),
    "RESIZE_BILINEAR": (23, 1), "STRIDED_SLICE": (45, 2), "TANH": (28, 1), "QUANTIZE": (114, 1),
}  # fmt: skip
OPTION_TYPES = {
    "ADD": 11, "CONCATENATION": 10, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2, "DEPTH_TO_SPACE": 94, "DEQUANTIZE": 38,
    "FULLY_CONNECTED": 8, "LEAKY_RELU": 75, "MAXIMUM": 39, "MAX_POOL_2D": 5, "MEAN": 27, "MINIMUM": 39, "MUL": 21,
    "PAD": 22, "QUANTIZE": 89, "RESHAPE": 17, "RESIZE_BILINEAR": 15, "SPACE_TO_DEPTH": 19, "STRIDED_SLICE": 32,
    "SUB": 28, "TRANSPOSE": 26, "TRANSPOSE_CONV": 49,
}  # fmt: skip

Fields = dict[int, tuple[str, Any]]
"""Fields of a table by slot: a layout of `struct` with a number, or `ref` with what writes the rest."""


class Writer:
    """Writes tables and vectors one behind the other; what a table refers to comes after it."""

    def __init__(self) -> None:
        self.data = bytearray(8)

    def align(self, size: int, ahead: int = 0) -> None:
        while (len(self.data) + ahead) % size:
            self.data.append(0)

    def table(self, fields: Fields) -> int:
        places, size = {}, 4
        for slot, (layout, _) in sorted(fields.items()):
            width = 4 if layout == "ref" else struct.calcsize(layout)
            size += -size % width
            places[slot] = size
            size += width
        count = 1 + max(fields, default=-1)
        # The table begins at a multiple of 8, so that its longest fields are aligned.
        self.align(8, 4 + 2 * count)
        vtable = len(self.data)
        self.data += struct.pack("<HH", 4 + 2 * count, size)
        self.data += b"".join(struct.pack("<H", places.get(slot, 0)) for slot in range(count))
        at = len(self.data)
        self.data += struct.pack("<i", at - vtable) + bytes(size - 4)
        for slot, (layout, value) in fields.items():
            if layout != "ref":
                struct.pack_into(layout, self.data, at + places[slot], value)
        for slot, (layout, value) in fields.items():
            if layout == "ref":
                struct.pack_into("<I", self.data, at + places[slot], value(self) - at - places[slot])
        return at

    def vector(self, values: bytes, count: int, align: int) -> int:
        self.align(max(4, align), 4)
        at = len(self.data)
        self.data += struct.pack("<I", count) + values
        return at

    def tables(self, tables: Sequence[Fields]) -> int:
        self.align(4)
        at = len(self.data)
        self.data += struct.pack("<I", len(tables)) + bytes(4 * len(tables))
        for number, fields in enumerate(tables):
            place = at + 4 + 4 * number
            struct.pack_into("<I", self.data, place, self.table(fields) - place)
        return at


def numbers(values: Any, dtype: Any, align: int = 0) -> tuple[str, Callable[[Writer], int]]:
    array = np.ascontiguousarray(values, dtype)
    return "ref", lambda writer: writer.vector(array.tobytes(), array.size, align or array.itemsize)


def tables(fields: Sequence[Fields]) -> tuple[str, Callable[[Writer], int]]:
    return "ref", lambda writer: writer.tables(fields)


def table(fields: Fields) -> tuple[str, Callable[[Writer], int]]:
    return "ref", lambda writer: writer.table(fields)


def text(value: str) -> tuple[str, Callable[[Writer], int]]:
    return "ref", lambda writer: writer.vector(value.encode() + b"\0", len(value), 4)


@dataclass
class Model:
    """What a model is written from; tests change its fields, and those of its tables."""

    tensors: list[Fields] = field(default_factory=list)
    buffers: list[Fields] = field(default_factory=lambda: [{}])
    nodes: list[Fields] = field(default_factory=list)
    codes: list[Fields] = field(default_factory=list)
    graph: Fields = field(default_factory=dict)
    model: Fields = field(default_factory=dict)
    inputs: list[int] = field(default_factory=lambda: [0])
    outputs: list[int] = field(default_factory=list)

    def tensor(
        self, shape: Sequence[int], kind: int, scale: Any = None, zero_point: Any = 0, values: Any = None
    ) -> int:
        fields: Fields = {0: numbers(shape, "<i4"), 1: ("<b", kind), 2: ("<I", 0), 3: text(f"t{len(self.tensors)}")}
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zeros = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
            fields[4] = table({2: numbers(scales, "<f4"), 3: numbers(zeros, "<i8"), 6: ("<i", 0)})
        if values is not None:
            fields[2] = ("<I", len(self.buffers))
            self.buffers.append({0: numbers(np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8), "u1", 16)})
        self.tensors.append(fields)
        return len(self.tensors) - 1

    def node(self, name: str, inputs: Sequence[int], output: int, options: Fields | None = None) -> int:
        code, version = CODES[name]
        self.codes.append({0: ("<b", min(code, 127)), 2: ("<i", version), 3: ("<i", code)})
        fields: Fields = {0: ("<I", len(self.codes) - 1), 1: numbers(inputs, "<i4"), 2: numbers([output], "<i4")}
        if options is not None:
            fields |= {3: ("<B", OPTION_TYPES[name]), 4: table(options)}
        self.nodes.append(fields)
        self.outputs = [output]
        return output

    def content(self) -> bytes:
        """Returns the file."""
        graph = {
            0: tables(self.tensors),
            1: numbers(self.inputs, "<i4"),
            2: numbers(self.outputs, "<i4"),
            3: tables(self.nodes),
        }
        model = {0: ("<I", 3), 1: tables(self.codes), 2: tables([graph | self.graph]), 4: tables(self.buffers)}
        writer = Writer()
        root = writer.table(model | self.model)
        writer.data[:8] = struct.pack("<I", root) + b"TFL3"
        return bytes(writer.data)


def exact_weights(rng: np.random.Generator, shape: tuple[int, ...], exponent: int) -> tuple[Any, Any, Any]:
    """Returns weights, bias and the powers of two that a sum is multiplied by, such that none comes near a tie."""
    weights = 4 * rng.integers(-31, 32, shape)
    bias = 4 * rng.integers(-2000, 2000, shape[0]) + 2
    return weights.astype(np.int8), bias.astype(np.int32), np.full(shape[0], 2.0**exponent)


def weighted(
    model: Model, name: str, x: int, shapes: tuple[tuple[int, ...], tuple[int, ...]], scales: Any, arrays: Any,
    options: Fields,
) -> int:  # fmt: skip
    """Adds a layer: shapes of weights and output, scales in and out with the output's zero point, and its arrays."""
    (scale_in, scale_out, zero_point), (weights, bias, powers) = scales, arrays
    kernel = np.asarray(powers * scale_out / scale_in, np.float32)
    inputs = [
        x,
        model.tensor(shapes[0], INT8, kernel, 0, weights),
        model.tensor((shapes[0][0],), INT32, kernel * np.float32(scale_in), 0, bias),
    ]
    return model.node(name, inputs, model.tensor(shapes[1], INT8, scale_out, zero_point), options)


def generator(seed: int, latent: int = 6, side: int = 5, drift: float = 1.0, exponent: int = -9) -> Model:
    """Returns a generator with every operator that twins' have, of random exact weights.

    Args:
        seed: Of the weights.
        latent: Values of its input.
        side: Rows and columns of its first picture.
        drift: How far from powers of two the factors of the first layer are.
        exponent: Of the power of two that the sums of the first layer are multiplied by.
    """
    rng, model = np.random.default_rng(seed), Model()
    scale = 2 / 255
    x = model.tensor((1, latent), FLOAT32)
    x = model.node("QUANTIZE", [x], model.tensor((1, latent), INT8, scale, -1))
    ends = [model.tensor((2,), INT32, values=np.array(ends, np.int32)) for ends in ([0, 1], [0, latent], [1, 1])]
    x = model.node(
        "STRIDED_SLICE", [x, *ends], model.tensor((1, latent - 1), INT8, scale, -1), {0: ("<i", 1), 1: ("<i", 1)}
    )
    size = side * side * 4
    weights, bias, powers = exact_weights(rng, (size, latent - 1), exponent)
    shapes, arrays = ((size, latent - 1), (1, size)), (weights, bias, powers * drift)
    x = weighted(model, "FULLY_CONNECTED", x, shapes, (scale, 0.02, -128), arrays, {0: ("<b", RELU6)})
    shape = model.tensor((4,), INT32, values=np.array([1, side, side, 4], np.int32))
    x = model.node("RESHAPE", [x, shape], model.tensor((1, side, side, 4), INT8, 0.02, -128))
    conv = {0: ("<b", 0), 1: ("<i", 1), 2: ("<i", 1), 3: ("<b", RELU_N1_TO_1), 4: ("<i", 1), 5: ("<i", 1)}
    arrays = exact_weights(rng, (3, 3, 3, 4), -8)
    y = weighted(
        model, "CONV_2D", x, ((3, 3, 3, 4), (1, side, side, 3)), (0.02, 0.02, -128), arrays, conv | {3: ("<b", 0)}
    )
    x = model.node(
        "CONCATENATION", [x, y], model.tensor((1, side, side, 7), INT8, 0.02, -128), {0: ("<i", -1), 1: ("<b", 0)}
    )
    arrays = exact_weights(rng, (8, 1, 1, 7), -8)
    x = weighted(model, "CONV_2D", x, ((8, 1, 1, 7), (1, side, side, 8)), (0.02, scale, -1), arrays, conv)
    x = model.node("DEPTH_TO_SPACE", [x], model.tensor((1, 2 * side, 2 * side, 2), INT8, scale, -1), {0: ("<i", 2)})
    anchor = model.tensor(
        (1, 2 * side, 2 * side, 2), INT8, scale, 0, rng.integers(-128, 128, 8 * side * side).astype(np.int8)
    )
    x = model.node(
        "ADD", [x, anchor], model.tensor((1, 2 * side, 2 * side, 2), INT8, scale, -1), {0: ("<b", RELU_N1_TO_1)}
    )
    model.node("DEQUANTIZE", [x], model.tensor((1, 2 * side, 2 * side, 2), FLOAT32))
    return model


def bent(seed: int) -> bytes:
    """Returns a generator with layers in float before an exact one."""
    rng, model = np.random.default_rng(seed), Model()
    x, size = model.tensor((1, 8), FLOAT32), 8
    for wide in (32, 24, 24):
        weights = (rng.normal(size=(wide, size)) / size**0.5 * 3).astype(np.float32)
        kernel = model.tensor((wide, size), FLOAT32, values=weights)
        bias = model.tensor((wide,), FLOAT32, values=rng.normal(size=wide).astype(np.float32))
        x = model.node("FULLY_CONNECTED", [x, kernel, bias], model.tensor((1, wide), FLOAT32), {0: ("<b", RELU6)})
        size = wide
    x = model.node("QUANTIZE", [x], model.tensor((1, size), INT8, 6 / 255, -128))
    arrays = exact_weights(rng, (50, size), -9)
    x = weighted(model, "FULLY_CONNECTED", x, ((50, size), (1, 50)), (6 / 255, 2 / 255, -1), arrays, {0: ("<b", NONE)})
    model.node("DEQUANTIZE", [x], model.tensor((1, 50), FLOAT32))
    return model.content()
