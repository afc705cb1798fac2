"""Int8 layers as sums of whole numbers that no runtime can round in another way.

A kernel multiplies a sum by ``scale in * scale of weights / scale out`` and rounds: once in float, or twice in whole
numbers. Where that factor is a power of two and no sum can come near a tie, all of them come to the same
(docs/adr/0011-exact-weights.md). That is looked for here, row by row, and not taken for granted; and so is whether
float32 holds every sum, so that it does not matter in which order it is summed up: else that is done in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.graph import Scales, Tensor
from twin_edge.models.engine import INT8_MAX, INT8_MIN

ACTIVATIONS: Final = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Operators that are activations too, as the format numbers those."""
_ENDS: Final[dict[int, tuple[float | None, float | None]]] = {
    0: (None, None),
    ACTIVATIONS["RELU"]: (0.0, None),
    ACTIVATIONS["RELU_N1_TO_1"]: (-1.0, 1.0),
    ACTIVATIONS["RELU6"]: (0.0, 6.0),
}
_KERNEL_ERROR: Final = 2.0**-22
"""Most that a runtime's own factor and its product are off, as a part of the result: four roundings of float32."""
_MOST_OFF: Final = 2.0**-20
"""Most that a factor may be off a power of two, as a part of it: scales are float32."""
_REACH: Final = 256.0
"""Results beyond this are cut off whatever they are exactly."""
_NEAR_TIE: Final = 1e-3
_FLOAT32_WHOLE: Final = 2.0**24
"""Below this float32 holds every whole number."""
_MOST_EXPONENT: Final = 60
_ONLY_ZEROS: Final = 31

Reals = npt.NDArray[np.float64]


class InexactError(ValueError):
    """A model has a layer that runtimes may come to different results with."""


@dataclass(frozen=True, slots=True)
class WholeMap:
    """An affine map between whole numbers: ``clip(rint(weights @ values + bias), low, high)``.

    Values are int8 less their zero point.
    """

    weights: npt.NDArray[np.floating[Any]]
    """float32 of shape (outputs, inputs), or float64 where float32 does not hold every sum."""
    bias: npt.NDArray[np.floating[Any]]
    """Of the same type, of shape (outputs,)."""
    low: float
    """Least result."""
    high: float
    """Largest result."""
    certain: bool
    """Whether no sum can come near a tie: one that does may be rounded up by one runtime and down by another."""


def whole_map(
    x: Tensor, weights: Tensor, bias: Tensor | None, made: Tensor, activation: int, *, near: bool = False
) -> WholeMap:
    """Returns what a layer computes.

    Args:
        x: What it takes, int8.
        weights: Its weights, int8 of shape (outputs, ...).
        bias: Its bias, int32 of shape (outputs,); None for none.
        made: What it makes, int8.
        activation: Its fused activation, as the format numbers them.
        near: Takes other factors than powers of two as well: results that runtimes come within a step of.

    Raises:
        InexactError: Its results are not sums of whole numbers times powers of two.
    """
    taken, kept, given = quantization(x), quantization(weights), quantization(made)
    if kept.zero_point.any() or (len(kept.scale) > 1 and kept.axis != 0):
        raise InexactError("has weights that are not symmetric")
    constant: Any = weights.constant
    whole = constant.reshape(weights.shape[0], -1)  # Of int8: there may be millions, so no copies in float64.
    added = np.zeros(len(whole)) if bias is None else np.asarray(bias.constant, np.float64)
    factors = kept.scale.astype(np.float64) * np.float64(taken.scale[0]) / np.float64(given.scale[0])
    exponents = np.rint(np.log2(factors))
    if np.abs(exponents).max() > _MOST_EXPONENT:
        raise InexactError("has scales out of all proportion")
    off = np.abs(factors / 2.0**exponents - 1)
    low, high = ends(made, activation)
    if off.max() > _MOST_OFF:
        if not near:
            raise InexactError("has scales that are no powers of two apart")
        power = np.broadcast_to(factors, added.shape)
        return WholeMap(_times(whole, power, np.float64), added * power, low, high, certain=False)
    most = float(max(INT8_MAX - taken.zero_point[0], taken.zero_point[0] - INT8_MIN))
    sums = np.abs(whole, dtype=np.int16).sum(1, dtype=np.int64) * most
    # What all numbers of a row can be halved as often as, their bits together can.
    bits = _low_bits(np.bitwise_or.reduce(whole, axis=1))
    certain = bool(_certain(bits, added, sums, exponents, off).all())
    power = np.broadcast_to(2.0**exponents, added.shape)
    # Every sum is a multiple of 1, or of a power of two that all terms have in common.
    common = 2.0 ** np.minimum(bits, _low_bits(added))
    dtype: Any = np.float32 if ((sums + np.abs(added)) / common < _FLOAT32_WHOLE).all() else np.float64
    return WholeMap(
        _times(whole, power, dtype),
        np.asarray(added * power, dtype),
        low,
        high,
        certain,
    )


def quantization(tensor: Tensor) -> Scales:
    """Returns the scales of a tensor.

    Raises:
        InexactError: It has none, or a tensor that is no constant has several.
    """
    scales = tensor.scales
    if scales is None or (tensor.constant is None and len(scales.scale) > 1):
        raise InexactError("has a tensor without a scale")
    return scales


def same_scale(*tensors: Tensor) -> None:
    """Asks for tensors whose values have one and the same step.

    Raises:
        InexactError: They have not.
    """
    first = quantization(tensors[0]).scale
    if any(not np.array_equal(quantization(tensor).scale, first) for tensor in tensors) or len(first) > 1:
        raise InexactError("has tensors of several scales")


def ends(made: Tensor, activation: int) -> tuple[float, float]:
    """Returns the least and the largest value of a tensor, less its zero point, behind an activation.

    Raises:
        InexactError: The activation is an unknown one, or its end comes to lie between two values.
    """
    scales = quantization(made)
    zero, scale = int(scales.zero_point[0]), scales.scale[0]
    found = []
    for end, limit in zip(real_ends(activation), (INT8_MIN - zero, INT8_MAX - zero), strict=True):
        if end is None:
            found.append(float(limit))
            continue
        # One kernel divides and rounds ties away from 0, another multiplies by the inverse and rounds them to even.
        divided, multiplied = np.float32(end) / scale, np.float32(end) * (np.float32(1) / scale)
        away = np.trunc(divided + np.copysign(np.float32(0.5), divided))
        values = {float(np.clip(value, INT8_MIN - zero, INT8_MAX - zero)) for value in (away, np.rint(multiplied))}
        if len(values) > 1:
            raise InexactError("has an activation that ends between two values")
        found += values
    return found[0], found[1]


def real_ends(activation: int) -> tuple[float | None, float | None]:
    """Returns the least and the largest real value behind an activation, None for no end.

    Raises:
        InexactError: The activation is an unknown one.
    """
    if activation not in _ENDS:
        raise InexactError(f"has the activation {activation}")
    return _ENDS[activation]


def near_tie(steps: Reals) -> npt.NDArray[np.bool_]:
    """Returns where float kernels may round to different whole numbers."""
    return np.asarray(np.abs(np.abs(steps - np.rint(steps)) - 1 / 2) < _NEAR_TIE, np.bool_)


def _certain(bits: Reals, added: Reals, sums: Reals, exponents: Reals, off: Reals) -> npt.NDArray[np.bool_]:
    """Returns for each row whether every sum is rounded to the same by whoever rounds it.

    A sum differs from the bias by a multiple of the power of two that all weights of its row have in common, so it
    keeps a distance from the ties that lie between two results. What the first of two roundings, to half of a sum, and
    the last bits of factors can do must be less than that.
    """
    tie = -exponents - 1  # Ties are the odd multiples of 2 ** tie.
    unit = 2.0 ** np.minimum(bits, tie + 1)
    rest = np.mod(added - 2.0**tie, unit)
    distance = np.minimum(rest, unit - rest)
    result = np.minimum((sums + np.abs(added)) * 2.0**exponents, _REACH)
    # Half of an odd number is rounded by those that halve first.
    halving = np.where(np.minimum(bits, _low_bits(added)) >= 1, 0.0, 1.0)
    # Without a fraction there is nothing to be rounded.
    return np.asarray((tie < 0) | ((distance - halving) * 2.0**exponents > 2 * result * (off + _KERNEL_ERROR)))


def _times(whole: npt.NDArray[np.int8], factors: Reals, dtype: Any) -> npt.NDArray[np.floating[Any]]:
    """Returns rows of whole numbers times a factor each."""
    made: npt.NDArray[np.floating[Any]] = np.multiply(whole, factors[:, np.newaxis], dtype=dtype, casting="same_kind")
    return made


def _low_bits(numbers: npt.NDArray[Any]) -> Reals:
    """Returns how often whole numbers can be halved; 31 times for 0."""
    whole = numbers.astype(np.int64)
    lowest = np.where(whole == 0, 1 << _ONLY_ZEROS, whole & -whole)
    return np.asarray(np.log2(lowest.astype(np.float64)))
