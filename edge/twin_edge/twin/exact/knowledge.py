"""What can be said of real values before they are computed: which there are, how large, and who computes them alike.

Value by value, float32 is the same everywhere. A sum of several is so only where float32 holds every part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.exact.reals import FUNCTIONS, ROUNDED_UP, Limits, check_reach, copies, within

_FLOAT32_WHOLE: Final = 2.0**24
_MOST_CHOICES: Final = 4096
MOST_COUNTED: Final = 1 << 20
"""Most values of `Known.choices`: of twins' they are some ten thousand."""
_LEAST_GRAIN: Final = 2.0**-100

Choices = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the values of a tensor."""

    reach: float
    """No value is larger, either way."""
    alike: bool
    """Whether every runtime comes to the same values."""
    choices: Choices | None = None
    """Every value that an element may have, float32 of shape (elements, n), or (1, n) for all of them; None for more
    than `MOST_COUNTED`, or what is not known."""
    lifted: Lifted | None = None
    """What it is that a large number has been added to; None for none."""
    nearest: tuple[int, float] | None = None
    """Number of a tensor that these values are, rounded to steps, and the step; None for none."""

    def __post_init__(self) -> None:
        check_reach(self.reach)


@dataclass(frozen=True, slots=True)
class Lifted:
    """Values that a number has been added to which is so large that they are rounded to its last bit."""

    number: float
    """The number."""
    tensor: int
    """Which tensor they are."""
    reach: float
    """None of them is larger, either way."""


def known_constant(values: npt.NDArray[np.float32]) -> Known:
    """Returns what is known of a constant, float32 of shape (1, n) or (n,)."""
    flat = values.reshape(-1, 1)
    return Known(float(np.abs(flat).max()), alike=True, choices=flat if flat.size <= MOST_COUNTED else None)


def known_of_pair(name: str, one: Known, other: Known, first: int, limits: Limits) -> Known:
    """Returns what is known of two tensors that `FUNCTIONS` were applied to.

    Args:
        name: `ADD`, `SUB` or `MUL`.
        one: What is known of the first.
        other: What is known of the second.
        first: Number of the first.
        limits: Between what the results are held.
    """
    if name == "SUB" and other.nearest is not None and other.nearest[0] == first:
        return Known(within(other.nearest[1] / 2, limits), one.alike)
    reach = one.reach * other.reach if name == "MUL" else one.reach + other.reach
    reach, alike = within(reach * ROUNDED_UP, limits), one.alike and other.alike
    number = float(other.choices[0, 0]) if other.choices is not None and other.choices.shape == (1, 1) else None
    if number is None:
        return Known(reach, alike)
    choices = None
    if one.choices is not None:
        choices = np.clip(FUNCTIONS[name](one.choices, np.float32(number)), *_open(limits))
    if name != "ADD" or limits != (None, None):
        return Known(reach, alike, choices)
    if one.lifted is not None and one.lifted.number == -number:
        step = float(np.spacing(np.float32(abs(number))))
        choices = _multiples(step, one.lifted.reach) if choices is None else choices
        return Known(one.lifted.reach + step, alike, choices, nearest=(one.lifted.tensor, step))
    # What is so much smaller than a number that this keeps its exponent is rounded to its last bit.
    least, most = np.spacing(np.array([abs(number) - one.reach, abs(number) + one.reach], np.float32))
    rounds = one.reach < abs(number) and least == most
    return Known(reach, alike, choices, Lifted(number, first, one.reach) if rounds else None)


def known_of_dense(
    of: Known, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], limits: Limits, reach: float
) -> Known:
    """Returns what is known of what a dense layer makes, whose results are at most `reach`."""
    if of.choices is not None and copies(weights, bias):
        if len(weights) * of.choices.shape[1] > MOST_COUNTED:
            return Known(reach, of.alike)
        which = np.abs(weights).argmax(1) if len(of.choices) > 1 else np.zeros(len(weights), int)
        factors = weights[np.arange(len(weights)), np.abs(weights).argmax(1), np.newaxis]
        return Known(reach, of.alike, np.clip(of.choices[which] * factors, *_open(limits)))
    return Known(reach, of.alike and sums_are_whole(of, weights, bias))


def sums_are_whole(of: Known, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> bool:
    """Returns whether float32 holds every sum of a dense layer: whether all are multiples of one power of two."""
    if of.choices is None:
        return False
    whole = np.minimum(grain(of.choices) * grain(weights, 1), grain(bias[:, np.newaxis], 1))
    most = np.abs(weights.astype(np.float64)).sum(1) * np.abs(of.choices).max() + np.abs(bias)
    return bool((whole > _LEAST_GRAIN).all() and (most / whole < _FLOAT32_WHOLE).all())


def grain(values: npt.ArrayLike, axis: int | None = None) -> Any:
    """Returns the largest power of two that all values, or those of an axis, are multiples of; much for zeros."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    whole = (mantissas * 2.0**53).astype(np.int64)
    low = np.where(whole == 0, 1 << 62, whole & -whole).astype(np.float64)
    return np.ldexp(low, np.where(whole == 0, 40, exponents) - 53).min(axis)


def _multiples(step: float, reach: float) -> Choices | None:
    """Returns all multiples of a step up to where what is no larger than `reach` is rounded to, of shape (1, n)."""
    most = math.floor(reach / step + 1)
    if 2 * most + 1 > _MOST_CHOICES:
        return None
    every: Choices = (np.arange(-most, most + 1) * step).astype(np.float32)[np.newaxis]
    return every


def _open(limits: Limits) -> tuple[Any, Any]:
    low, high = limits
    return -np.inf if low is None else low, np.inf if high is None else high
