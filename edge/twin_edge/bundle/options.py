"""Options of operators: what each may have, and in what range.

Every operator that a model may use is here, also those that only devices run: a runtime follows the offsets of whatever
options a node has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twin_edge.bundle.flatbuffer import Table

_NONE: Final = 0
"""What the format's union of options calls none."""
_MOST_SIZE: Final = 1 << 12
"""Most rows or columns of a stride, a window or a block where shapes do not say more."""
_MOST_SLOPE: Final = 1.0
_MOST_RANK: Final = 6


@dataclass(frozen=True, slots=True)
class _Field:
    """One option: how it is stored, what it is without being stored, and between what it must lie."""

    layout: str
    default: int = 0
    low: int = -(1 << 31)
    high: int = (1 << 31) - 1


_VECTOR, _SLOPE, _REFUSED = _Field("vector"), _Field("slope"), _Field("refused")
_ENUM, _FLAG, _NUMBER = _Field("<b"), _Field("<B"), _Field("<i")
_SIZE, _DILATION = _Field("<i", 0, 1, _MOST_SIZE), _Field("<i", 1, 1, _MOST_SIZE)
_PADDING: Final = _Field("<b", 0, 0, 1)
_POT: Final = _Field("<B", 1)

# What the union of options calls an operator's, and its fields in the order of the schema.
_OPTIONS: Final[dict[str, tuple[int, dict[str, _Field]]]] = {
    "ADD": (11, {"activation": _ENUM, "pot_scale_int16": _POT}),
    "CONCATENATION": (10, {"axis": _NUMBER, "activation": _ENUM}),
    "CONV_2D": (
        1,
        {
            "padding": _ENUM,
            "stride_w": _NUMBER,
            "stride_h": _NUMBER,
            "activation": _ENUM,
            "dilation_w": _Field("<i", 1),
            "dilation_h": _Field("<i", 1),
            "bias_type": _ENUM,
        },
    ),
    "DEPTHWISE_CONV_2D": (
        2,
        {
            "padding": _PADDING,
            "stride_w": _SIZE,
            "stride_h": _SIZE,
            "multiplier": _Field("<i", 0, 0, _MOST_SIZE),
            "activation": _ENUM,
            "dilation_w": _DILATION,
            "dilation_h": _DILATION,
        },
    ),
    "DEPTH_TO_SPACE": (94, {"block": _NUMBER}),
    "DEQUANTIZE": (38, {}),
    "FULLY_CONNECTED": (
        8,
        {
            "activation": _ENUM,
            "weights_format": _ENUM,
            "keep_num_dims": _FLAG,
            "asymmetric_inputs": _FLAG,
            "bias_type": _ENUM,
        },
    ),
    "LEAKY_RELU": (75, {"slope": _SLOPE}),
    "LOGISTIC": (_NONE, {}),
    "MAXIMUM": (39, {}),
    "MAX_POOL_2D": (
        5,
        {
            "padding": _PADDING,
            "stride_w": _SIZE,
            "stride_h": _SIZE,
            "window_w": _SIZE,
            "window_h": _SIZE,
            "activation": _ENUM,
        },
    ),
    "MEAN": (27, {"keep_dims": _FLAG}),
    "MINIMUM": (39, {}),
    "MUL": (21, {"activation": _ENUM}),
    "PAD": (22, {}),
    "QUANTIZE": (89, {}),
    "RELU": (_NONE, {}),
    "RELU6": (_NONE, {}),
    "RELU_N1_TO_1": (_NONE, {}),
    "RESHAPE": (17, {"new_shape": _VECTOR}),
    "RESIZE_BILINEAR": (
        15,
        {"old_height": _REFUSED, "old_width": _REFUSED, "align_corners": _FLAG, "half_pixel_centers": _FLAG},
    ),
    "SPACE_TO_DEPTH": (19, {"block": _SIZE}),
    "STRIDED_SLICE": (
        32,
        {
            "begin_mask": _NUMBER,
            "end_mask": _NUMBER,
            "ellipsis_mask": _NUMBER,
            "new_axis_mask": _NUMBER,
            "shrink_axis_mask": _NUMBER,
            "offset": _FLAG,
        },
    ),
    "SUB": (28, {"activation": _ENUM, "pot_scale_int16": _POT}),
    "TANH": (_NONE, {}),
    "TRANSPOSE": (26, {}),
    "TRANSPOSE_CONV": (
        49,
        {"padding": _PADDING, "stride_w": _SIZE, "stride_h": _SIZE, "activation": _ENUM, "bias_type": _ENUM},
    ),
}


def options_of(name: str, kind: int, table: Table | None) -> dict[str, int]:
    """Returns the options of a node by name, those that are whole numbers.

    Args:
        name: Its operator.
        kind: What the node says its options are, by the number in the union of options.
        table: Its options; None for none.

    Raises:
        ValueError: They are those of another operator, lead out of the file, or are out of range.
    """
    if name not in _OPTIONS:
        raise ValueError(f"{name} has options that are not known here")
    wanted, fields = _OPTIONS[name]
    if kind not in {_NONE, wanted} or (kind == _NONE) != (table is None):
        raise ValueError(f"{name} has the options of another operator")
    if table is not None:
        table.only(len(fields))
    found = {}
    for slot, (option, field) in enumerate(fields.items()):
        if field.layout not in {"<b", "<B", "<i"}:
            if table is not None:
                _check(table, slot, field)
            continue
        value = field.default if table is None else table.whole(slot, field.layout, field.default)
        if not field.low <= value <= field.high:
            raise ValueError(f"{name} has the {option} {value}")
        found[option] = value
    return found


def _check(table: Table, slot: int, field: _Field) -> None:
    """Checks what nothing here makes use of, but runtimes do."""
    if field == _VECTOR:
        table.numbers(slot, "<i4", _MOST_RANK)
    elif field == _SLOPE:
        table.real(slot, _MOST_SLOPE)
    else:
        table.without(slot)
