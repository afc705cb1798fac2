"""Layers of real values before the exact ones, in a form whose sums do not depend on the order of summation."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.exact.layers import Array
from twin_edge.twin.exact.whole import InexactError

ROUNDED_UP: Final = 1 + 2.0**-23
"""How much larger than it is float32 may have a number."""
_BITS: Final = 52
"""Bits of a whole number that float64 holds, with one to spare."""
_COARSE_BITS: Final = 13
"""Bits of the first part of an input."""
_FINE_BITS: Final = 29
"""Bits of both parts together: five more than float32 has, so that only those of small inputs are cut off."""
_LEAST_BITS: Final = 10
"""Bits below 1 that a weight keeps at least."""
_MOST_REACH: Final = 2.0**60
"""No real value is larger, so that float32 holds products of two, and one in steps of any scale."""

Limits = tuple[float | None, float | None]
"""Least and largest result; None for none."""

FUNCTIONS: Final[dict[str, Any]] = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}
"""Operators that work value by value."""


class FloatDense:
    """Real weights times a vector, rounded to float32 once.

    Sums are those of whole numbers: weights and both parts of inputs, a coarse and a fine one, are multiples of powers
    of two, so that float64 holds every sum of either, and whoever computes it comes to the same. A runtime sums up in
    float32, in an order of its own.

    Args:
        x: float32 of shape (inputs,).
        weights: float32 of shape (outputs, inputs).
        bias: float32 of shape (outputs,).
        limits: Least and largest result; None for none.
        reach: No input is larger, either way.
        exact: Whether float32 holds every sum as it is.
        out: float32 of shape (outputs,).

    Attributes:
        reach: No output is larger, either way.

    Raises:
        InexactError: The weights, or results, are so large that there is no such form.
    """

    def __init__(
        self,
        x: Array,
        weights: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        limits: Limits,
        *,
        reach: float,
        exact: bool,
        out: Array,
    ) -> None:
        self._x, self._out, self._limits = x, out, limits
        self._weights, self._bias = weights.astype(np.float64), bias.astype(np.float64)
        self._input, self._sums = np.empty(x.shape), np.empty(out.shape)
        self._fine, self._fine_sums = np.empty(x.shape), np.empty(out.shape)
        most = float((np.abs(self._weights).sum(1) * reach + np.abs(self._bias)).max())
        check_reach(max(reach, most))
        self._sums_up = not exact and not copies(weights, bias)
        self._coarse_step, self._fine_step = (2.0 ** (_exponent(reach) - bits) for bits in (_COARSE_BITS, _FINE_BITS))
        if self._sums_up:
            # One bit is for what rounding adds. Fine parts are half a coarse step at most.
            room = _BITS - 1 - _exponent(most)
            kept = room + min(_log2(self._coarse_step), _log2(self._fine_step) + _COARSE_BITS)
            if kept < _LEAST_BITS:
                raise InexactError("has weights too large to be summed up exactly")
            self._weights = np.rint(self._weights * 2.0**kept) * 2.0**-kept
            unit = self._coarse_step * 2.0**-kept
            self._bias = np.rint(self._bias / unit) * unit
        self.reach = within(most * ROUNDED_UP, limits)

    def run(self) -> None:
        """Makes its output of its input."""
        self._input[...] = self._x
        if self._sums_up:
            np.divide(self._input, self._coarse_step, out=self._input)
            np.rint(self._input, out=self._input)
            np.multiply(self._input, self._coarse_step, out=self._input)
            np.subtract(self._x, self._input, out=self._fine)
            np.divide(self._fine, self._fine_step, out=self._fine)
            np.rint(self._fine, out=self._fine)
            np.multiply(self._fine, self._fine_step, out=self._fine)
            np.dot(self._weights, self._fine, out=self._fine_sums)
        np.dot(self._weights, self._input, out=self._sums)
        np.add(self._sums, self._bias, out=self._sums)
        if self._sums_up:
            np.add(self._sums, self._fine_sums, out=self._sums)
        self._out[...] = self._sums
        _limit(self._out, self._limits)


class Elementwise:
    """Two tensors of reals, or one and a number, added, subtracted or multiplied value by value: alike everywhere.

    Args:
        name: `ADD`, `SUB` or `MUL`.
        one: float32 of shape (n,).
        other: float32 of shape (n,) or (1,).
        limits: Least and largest result; None for none.
        out: float32 of shape (n,).
    """

    def __init__(self, name: str, one: Array, other: Array, limits: Limits, out: Array) -> None:
        self._function, self._one, self._other, self._out = FUNCTIONS[name], one, other, out
        self._limits = limits

    def run(self) -> None:
        """Makes its output of its input."""
        self._function(self._one, self._other, out=self._out)
        _limit(self._out, self._limits)


class Rounding:
    """Real values brought to steps.

    Args:
        x: float32 of any shape.
        scale: Size of one step.
        low: Least result, less the zero point.
        high: Largest result, less the zero point.
        out: float32 of the same shape.
    """

    def __init__(self, x: Array, scale: np.float32, low: float, high: float, out: Array) -> None:
        self._x, self._scale, self._low, self._high, self._out = x, scale, low, high, out

    def run(self) -> None:
        """Makes its output of its input."""
        np.divide(self._x, self._scale, out=self._out)
        np.rint(self._out, out=self._out)
        np.clip(self._out, self._low, self._high, out=self._out)


def copies(weights: npt.NDArray[Any], bias: npt.NDArray[Any]) -> bool:
    """Returns whether a layer sums up nothing: each output is an input, or a multiple of one."""
    return not bias.any() and bool((np.count_nonzero(weights, axis=1) <= 1).all())


def check_reach(reach: float) -> None:
    """Asks for values that are no larger than twins' can be.

    Raises:
        InexactError: They may be, or are no numbers.
    """
    if not reach <= _MOST_REACH:
        raise InexactError("has reals out of all proportion")


def within(reach: float, limits: Limits) -> float:
    """Returns how large, either way, what is held between limits can be."""
    low, high = limits
    return reach if low is None or high is None else min(reach, max(abs(low), abs(high)))


def _limit(values: Array, limits: Limits) -> None:
    low, high = limits
    if low is not None:
        np.maximum(values, low, out=values)
    if high is not None:
        np.minimum(values, high, out=values)


def _log2(power: float) -> int:
    return round(math.log2(power))


def _exponent(value: float) -> int:
    """Returns the exponent of a power of two that is no less, at least -60."""
    return math.ceil(math.log2(max(value, 2.0**-60)))
