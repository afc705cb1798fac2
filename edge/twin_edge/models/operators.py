"""Which operators a TFLite model uses, read from its bytes, and which of them a runtime has.

An operator newer than the runtime shows up only when the interpreter is built, in the middle of a deployment. So the
list is read at conversion, written in the manifest, and read again from the model's own bytes when a bundle is
loaded, before any byte reaches an interpreter. The reader below walks just the operator table of the flatbuffer and
trusts none of its offsets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from twin_edge.errors import IncompatibleRuntimeError, IntegrityError
from twin_edge.models.runtimes import Runtime

_IDENTIFIER: Final = b"TFL3"
_MAX_OPERATORS: Final = 64

# Builtin operator codes of the TFLite schema that a deployed graph may use.
NAMES: Final[dict[int, str]] = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    20: "RELU_N1_TO_1",
    21: "RELU6",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    26: "SPACE_TO_DEPTH",
    28: "TANH",
    34: "PAD",
    39: "TRANSPOSE",
    40: "MEAN",
    41: "SUB",
    45: "STRIDED_SLICE",
    55: "MAXIMUM",
    57: "MINIMUM",
    67: "TRANSPOSE_CONV",
    98: "LEAKY_RELU",
    114: "QUANTIZE",
}

# Newest version of each that the runtime registers. Measured, not read: for every (operator, version) a model that
# holds nothing but that entry was given to the runtime's own builder (benchmarks/probe_operators.py).
_NEWEST: Final[dict[str, dict[str, int]]] = {
    "tflite": {
        "ADD": 5, "CONCATENATION": 4, "CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "DEPTH_TO_SPACE": 2, "DEQUANTIZE": 5,
        "FULLY_CONNECTED": 10, "LEAKY_RELU": 2, "LOGISTIC": 3, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
        "MINIMUM": 4, "MUL": 7, "PAD": 4, "QUANTIZE": 3, "RELU": 3, "RELU6": 3, "RELU_N1_TO_1": 1, "RESHAPE": 1,
        "RESIZE_BILINEAR": 4, "SPACE_TO_DEPTH": 2, "STRIDED_SLICE": 8, "SUB": 5, "TANH": 3, "TRANSPOSE": 6,
        "TRANSPOSE_CONV": 4,
    },
    "litert": {
        "ADD": 6, "CONCATENATION": 7, "CONV_2D": 8, "DEPTHWISE_CONV_2D": 7, "DEPTH_TO_SPACE": 2, "DEQUANTIZE": 9,
        "FULLY_CONNECTED": 14, "LEAKY_RELU": 2, "LOGISTIC": 3, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
        "MINIMUM": 4, "MUL": 8, "PAD": 6, "QUANTIZE": 6, "RELU": 3, "RELU6": 3, "RELU_N1_TO_1": 1, "RESHAPE": 1,
        "RESIZE_BILINEAR": 4, "SPACE_TO_DEPTH": 2, "STRIDED_SLICE": 8, "SUB": 5, "TANH": 3, "TRANSPOSE": 9,
        "TRANSPOSE_CONV": 5,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Operator:
    """One entry of a model's operator table."""

    name: str
    """Builtin operator, such as `CONV_2D`."""
    version: int
    """Its version, >= 1."""

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


def newest_version(runtime_name: str, operator_name: str) -> int:
    """Returns the newest version of an operator that a runtime has; 0 when it is none that twins may use."""
    return _NEWEST[runtime_name].get(operator_name, 0)


def check_operators(operators: tuple[Operator, ...], runtime: Runtime) -> None:
    """Refuses operators that the runtime lacks.

    Raises:
        IncompatibleRuntimeError: The first operator that it lacks, and the newest version it has.
    """
    for operator in operators:
        newest = newest_version(runtime.name, operator.name)
        if operator.version > newest:
            known = f"has version {newest} at most" if newest else "does not have it"
            raise IncompatibleRuntimeError(
                f"the model uses {operator}, {runtime} {known}",
                fix="pip install -U ai-edge-litert, or convert the model again for this runtime",
            )


def read_operators(content: bytes) -> tuple[Operator, ...]:
    """Reads the operator table of a TFLite flatbuffer.

    Args:
        content: A whole `.tflite` file, untrusted.

    Returns:
        The operators, sorted, each once.

    Raises:
        IntegrityError: The bytes are not a TFLite flatbuffer with a readable operator table.
        IncompatibleRuntimeError: It uses an operator that no twin may use (a custom or an unlisted one).
    """
    try:
        codes = _operator_codes(content)
    except (struct.error, ValueError) as error:
        raise IntegrityError(
            "a model is not a readable TFLite flatbuffer", fix="get the bundle again from where it was made"
        ) from error
    for code, _ in codes:
        if code not in NAMES:
            raise IncompatibleRuntimeError(
                f"a model uses the builtin operator {code}, which twins do not use",
                fix="make the bundle with twin-convert",
            )
    return tuple(sorted({Operator(NAMES[code], version) for code, version in codes}))


# --- a bounded walk over one vector of a flatbuffer: https://flatbuffers.dev/internals ------------------------------


def _operator_codes(content: bytes) -> list[tuple[int, int]]:
    """Returns (builtin code, version) of each entry of `Model.operator_codes`."""
    if content[4:8] != _IDENTIFIER:
        raise ValueError("no TFL3 identifier")
    model = _u32(content, 0)
    vector_field = _field(content, model, 1)  # Model: version, operator_codes, subgraphs, ...
    if vector_field is None:
        raise ValueError("no operator codes")
    vector = vector_field + _u32(content, vector_field)
    count = _u32(content, vector)
    if not 0 < count <= _MAX_OPERATORS:
        raise ValueError("operator count out of range")
    codes = []
    for i in range(count):
        at = vector + 4 + 4 * i
        table = at + _u32(content, at)
        # OperatorCode: deprecated_builtin_code (i8), custom_code, version (i32), builtin_code (i32).
        if _field(content, table, 1) is not None:
            raise ValueError("custom operator")
        deprecated, version, code = (_field(content, table, slot) for slot in (0, 2, 3))
        old = struct.unpack_from("<b", content, deprecated)[0] if deprecated is not None else 0
        new = _i32(content, code) if code is not None else 0
        codes.append((max(old, new), _i32(content, version) if version is not None else 1))
    return codes


def _field(content: bytes, table: int, slot: int) -> int | None:
    """Returns where field number `slot` of a table lies; None when the table leaves it out."""
    vtable = table - _i32(content, table)
    size = _u16(content, vtable)
    at = 4 + 2 * slot
    if at + 2 > size:
        return None
    offset = _u16(content, vtable + at)
    return table + offset if offset else None


def _checked(content: bytes, at: int, layout: str) -> int:
    if at < 0:  # struct counts negative offsets from the end
        raise ValueError("offset before the start")
    value: int = struct.unpack_from(layout, content, at)[0]
    return value


def _u16(content: bytes, at: int) -> int:
    return _checked(content, at, "<H")


def _u32(content: bytes, at: int) -> int:
    return _checked(content, at, "<I")


def _i32(content: bytes, at: int) -> int:
    return _checked(content, at, "<i")
