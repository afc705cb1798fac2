"""Weights to few bits: in steps that are powers of two, so that what comes out changes as little as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_converters.operators import Floats

LARGEST: Final = 31
"""Largest weight, in steps."""
_LEAST_EXPONENT: Final = -24
_FINER: Final = 3
_DAMPING: Final = 1e-4
_ALIKE: Final = 1e-6
_SMALL: Final = 1e-9

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What comes into a layer: second moments of it, over samples and places."""

    mean: Reals
    """float64 of shape (inputs,)."""
    moments: Reals
    """Mean of the products of two inputs, float64 of shape (inputs, inputs)."""

    @property
    def covariance(self) -> Reals:
        """float64 of shape (inputs, inputs)."""
        return self.moments - np.outer(self.mean, self.mean)


def inputs_of(values: Sequence[Floats], shape: Sequence[int], name: str) -> Inputs:
    """Returns the moments of what comes into a layer.

    Args:
        values: Its input for each sample.
        shape: Of its weights; a convolution strides by 1 and keeps the size.
        name: Its operator.
    """
    total, products, count = np.zeros(1), np.zeros((1, 1)), 0
    for value in values:
        rows = value.reshape(-1, value.shape[-1])
        if name == "CONV_2D" and shape[1] > 1:
            sizes = [1, shape[1], shape[2], 1]
            patches = tf.image.extract_patches(value, sizes, [1, 1, 1, 1], [1, 1, 1, 1], "SAME").numpy()
            rows = patches.reshape(-1, patches.shape[-1])
        total = total + rows.sum(0, dtype=np.float64)
        products = products + (rows.T @ rows).astype(np.float64)
        count += len(rows)
    return Inputs(total / count, products / count)


def rounded_to_powers(weights: Reals, unit: float, seen: Inputs, steps: Reals | None) -> tuple[Reals, Reals]:
    """Rounds weights to steps that are a unit times a power of two.

    What rounding one weight changes, those of the inputs behind it make up for; where the size of the steps is given,
    inputs are taken to have nothing in common, but for those that are always equal.

    Args:
        weights: float64 of shape (outputs, inputs).
        unit: The unit.
        seen: What comes into the layer.
        steps: How large the steps of each output's weights should be, of shape (outputs,); as small as fits when None.

    Returns:
        Whole numbers of steps, `LARGEST` at most, of the weights' shape, and the exponent for each output.
    """
    covariance = seen.covariance
    alike = np.eye(len(covariance), dtype=bool) if steps is None else _alike(seen)
    room = np.abs(weights / alike.sum(1)).max(1) / (LARGEST * unit)
    largest = np.ceil(np.log2(np.maximum(room, 2.0**_LEAST_EXPONENT)) - _SMALL)
    least = largest if steps is None else np.rint(np.log2(steps / unit))
    whole, exponents, error = np.zeros_like(weights), largest, np.full(len(weights), np.inf)
    # Cutting off the largest weights may cost less than larger steps for all of them.
    for finer in range(_FINER):
        tried = largest - finer if steps is None else np.maximum(largest - finer, least)
        real = 2.0 ** tried[:, np.newaxis] * unit
        found = _rounded(weights, real, covariance) if steps is None else _shared_out(weights, real, alike)
        missed = weights - found * real
        harm = ((missed @ covariance) * missed).sum(1)
        better = harm < error
        whole[better], error = found[better], np.minimum(harm, error)
        exponents = np.where(better, tried, exponents)
    return whole, exponents


def _alike(seen: Inputs) -> npt.NDArray[np.bool_]:
    """Returns which inputs are always equal, bool of shape (inputs, inputs)."""
    spread = np.diag(seen.covariance)
    apart = spread[:, np.newaxis] + spread - 2 * seen.covariance
    return np.asarray((apart <= _ALIKE * spread) | np.eye(len(spread), dtype=bool))


def _shared_out(weights: Reals, steps: Reals, alike: npt.NDArray[np.bool_]) -> Reals:
    """Rounds weights, and shares out what is too much for one among inputs that are always equal.

    Args:
        weights: float64 of shape (outputs, inputs).
        steps: Step of each output's weights, of shape (outputs, 1).
        alike: Which inputs are always equal, of shape (inputs, inputs).

    Returns:
        Whole numbers of steps, of the weights' shape, `LARGEST` at most.
    """
    whole = np.zeros_like(weights)
    for column in np.flatnonzero(alike.argmax(1) == np.arange(len(alike))):
        copies = np.flatnonzero(alike[column])
        left = np.rint(weights[:, copies].sum(1) / steps[:, 0])
        for copy_of_it in copies:
            whole[:, copy_of_it] = np.clip(left, -LARGEST, LARGEST)
            left -= whole[:, copy_of_it]
    return whole


def equal_harm(outputs: int, seen: Inputs, sizes: Reals, tolerated: float) -> Reals:
    """Returns the steps of each coefficient's weights that do the picture equal harm, of shape (outputs,).

    Args:
        outputs: Coefficients of all blocks, those of a block one after the other.
        seen: What comes into the layer.
        sizes: What one unit of each coefficient of a block changes.
        tolerated: The harm of all together, a sum of squares.
    """
    spread = max(float(np.trace(seen.covariance)), _SMALL)  # A subject that rests has none.
    harm = np.sqrt(12 * max(tolerated, _SMALL) / (outputs * spread))
    return np.tile(harm / (sizes + _SMALL), outputs // len(sizes))


def _rounded(weights: Reals, steps: Reals, covariance: Reals) -> Reals:
    """Rounds weights one input after the other, so that what that changes cancels out.

    GPTQ: Frantar et al., arXiv 2210.17323.

    Args:
        weights: float64 of shape (outputs, inputs).
        steps: Step of each output's weights, of shape (outputs, 1).
        covariance: Of the inputs, of shape (inputs, inputs).

    Returns:
        Whole numbers of steps, of the weights' shape, `LARGEST` at most.
    """
    count = weights.shape[1]
    damped = covariance + np.eye(count) * (_DAMPING * np.trace(covariance) / count + 1e-12)
    # Inputs that vary most come first: there are more behind them to make up for their errors.
    order = np.argsort(-np.diag(damped), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, whole = weights[:, order].copy(), np.empty_like(weights)
    for place, column in enumerate(order):
        whole[:, column] = np.clip(np.rint(left[:, place] / steps[:, 0]), -LARGEST, LARGEST)
        missed = (left[:, place] - whole[:, column] * steps[:, 0]) / upper[place, place]
        left[:, place + 1 :] -= np.outer(missed, upper[place, place + 1 :])
    return whole
