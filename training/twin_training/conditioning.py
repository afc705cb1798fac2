"""What makes a trained generator cheap to quantize, and changes nothing of what it draws.

Two things are free in a generator whose picture is a linear map of features, through coefficients of blocks: the basis
that the features are given in, and how much of a block's entry is in its coefficients. Both are chosen here, so that
few bits say the weights.
"""

from __future__ import annotations

from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from twin_training.linear import Floats

FEATURE_CEILING: Final = 6.0
"""Features of a bent twin are between 0 and this, before and after they are rotated."""
FEATURE_COPIES: Final = 96
"""Columns for copies of features. A weight that there is no room for is shared out among the copies of its feature."""

_DEVIATION: Final = FEATURE_CEILING / 12
"""Standard deviation of a rotated feature: six of them are left on either side."""
_BALANCED: Final = 0.5
_EXPONENT: Final = 0.85
_MOST_GAIN: Final = 16.0
_FLOOR: Final = 1e-7


def balance(generator: keras.Model, coefficients: int) -> None:
    """Moves size from the coefficients of weak dictionary entries into these entries.

    With coefficients that all span the int8 range, the largest entries dwarf the others, and what weights of few bits
    are rounded by is as large as the weakest. Where part of that difference is in the coefficients, it is not.

    Args:
        generator: A generator as `networks.build_generator` makes it.
        coefficients: Coefficients of a block.
    """
    dictionary = generator.get_layer("dictionary")
    (entries,) = dictionary.get_weights()
    sizes = _sizes(entries, coefficients)
    gain = np.clip(_BALANCED * sizes.max() / (sizes + _FLOOR), 1.0, _MOST_GAIN) ** _EXPONENT
    entries = entries.copy()
    entries[:, :, :coefficients] *= gain[:, np.newaxis]
    dictionary.set_weights([entries])
    neighbours = generator.get_layer("neighbours")
    kernel, bias = neighbours.get_weights()
    neighbours.set_weights([kernel * gain[:, np.newaxis], bias])
    layer = generator.get_layer("coefficients")
    kernel, bias = layer.get_weights()
    every = np.tile(gain, kernel.shape[1] // coefficients)
    layer.set_weights([kernel / every, bias / every])


def rotate(generator: keras.Model, inputs: Floats, coefficients: int) -> None:
    """Gives the features of a bent twin in the basis in which each says as much of the picture as it can.

    As they are learned, features are much alike, and weights of either sign cancel out what they share: each weight
    needs many bits. Principal features have nothing in common, the first say most, and the weights of the last are
    next to nothing.

    Args:
        generator: A generator as `networks.build_generator` makes it, of a twin that does not start linear.
        inputs: What comes into the layer `drawing_principal` for the training views, float32 of shape (n, features).
        coefficients: Coefficients of a block.
    """
    principal, layer = generator.get_layer("drawing_principal"), generator.get_layer("coefficients")
    (turn, shift), (kernel, bias) = principal.get_weights(), layer.get_weights()
    whole = turn.astype(np.float64) @ kernel
    mean, covariance = inputs.mean(0, dtype=np.float64), np.cov(inputs, rowvar=False, dtype=np.float64)
    count = len(mean)
    covariance = covariance.reshape(count, count) + np.eye(count) * (_FLOOR * np.trace(covariance) + _FLOOR)
    root = np.linalg.cholesky(covariance)
    weights = _weights(generator, coefficients)
    said = root.T @ whole
    _, basis = np.linalg.eigh((said * np.square(weights)) @ said.T)
    basis = basis[:, ::-1] * _DEVIATION
    turned = basis.T @ said / _DEVIATION**2
    new_turn = np.zeros(turn.shape)
    new_turn[:, :count] = np.linalg.solve(root.T, basis)
    new_kernel = np.zeros(kernel.shape)
    new_kernel[:count] = turned
    middle = np.full(turn.shape[1], FEATURE_CEILING / 2)
    layer.set_weights([new_kernel, bias + shift @ kernel + mean @ whole - middle @ new_kernel])
    principal.set_weights([new_turn, middle - mean @ new_turn])


def copy_features(generator: keras.Model, coefficients: int) -> None:
    """Copies the features with the largest weights, for weights that are to be shared out among copies later.

    Args:
        generator: A generator as `networks.build_generator` makes it, that has no copies yet.
        coefficients: Coefficients of a block.
    """
    principal = generator.get_layer("drawing_principal")
    turn, shift = principal.get_weights()
    kernel = generator.get_layer("coefficients").get_weights()[0]
    count = turn.shape[1] - FEATURE_COPIES
    which = copied(np.abs(kernel[:count] * _weights(generator, coefficients)).max(1), FEATURE_COPIES)
    turn[:, count:], shift[count:] = turn[:, which], shift[which]
    principal.set_weights([turn, shift])


def copied(sizes: npt.NDArray[np.float64], count: int) -> list[int]:
    """Returns which of several things to copy so that the largest share of one copy is least, in rising order.

    Args:
        sizes: How large each is, of shape (n,).
        count: How many copies to make.
    """
    copies = np.ones(len(sizes), int)
    for _ in range(count):
        copies[(sizes / copies).argmax()] += 1
    return [int(number) for number in np.repeat(np.arange(len(sizes)), copies - 1)]


def _weights(generator: keras.Model, coefficients: int) -> npt.NDArray[np.float64]:
    """Returns how much one unit of each coefficient of all blocks changes the picture, float64 of shape (n,)."""
    sizes = _sizes(generator.get_layer("dictionary").get_weights()[0], coefficients)
    return np.tile(sizes, generator.get_layer("coefficients").kernel.shape[1] // coefficients)


def _sizes(entries: Floats, coefficients: int) -> npt.NDArray[np.float64]:
    """Returns the size of the entry of each coefficient: the root of its summed square, float64 of shape (n,)."""
    return np.asarray(np.sqrt(np.square(entries.astype(np.float64)).sum((0, 1, 3)))[:coefficients])
