"""The layers of a generator in NumPy: each takes what lies in arrays, and leaves what it makes in another.

A tensor's array holds int8 values less their zero point, as float32, whatever sums are made in; pictures with their
channels first, (channels, rows, columns), so that a convolution is a few products of matrices that lie as they are.
Nothing is allocated by a run.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from twin_edge.twin.exact.whole import WholeMap

Array = npt.NDArray[np.floating[Any]]


class Layer(Protocol):
    """One layer, ready to run."""

    def run(self) -> None:
        """Makes its output of its input."""


class Dense:
    """Weights times a vector.

    Args:
        x: float32 of shape (inputs,).
        weights: The map.
        out: float32 of shape (outputs,).
    """

    def __init__(self, x: Array, weights: WholeMap, out: Array) -> None:
        self._x, self._map, self._out = x, weights, out
        dtype = weights.weights.dtype
        self._input = x if x.dtype == dtype and x.flags.c_contiguous else np.empty(x.shape, dtype)
        self._sums = np.empty(out.shape, dtype)

    def run(self) -> None:
        """Makes its output of its input."""
        if self._input is not self._x:
            self._input[...] = self._x
        np.dot(self._map.weights, self._input, out=self._sums)
        _finish(self._sums, self._map.bias, self._map, self._out)


class Convolution:
    """A convolution of stride 1 that leaves a picture its size.

    Args:
        padded: The picture with zeros around it, of shape (channels, rows + high - 1, columns + wide - 1).
        weights: The map; of each row first the kernel's rows, then its columns, then channels.
        kernel: The kernel's height and width.
        out: float32 of shape (outputs, rows, columns).
    """

    def __init__(self, padded: Array, weights: WholeMap, kernel: tuple[int, int], out: Array) -> None:
        high, wide = kernel
        outputs, rows, columns = out.shape
        channels, tall = padded.shape[0], padded.shape[1]
        dtype = weights.weights.dtype
        # The columns of a kernel are laid side by side, its rows are the same array from another place on.
        side_by_side = np.empty((wide, channels, tall, columns), dtype)
        self._copies = [(side_by_side[at], padded[:, :, at : at + columns]) for at in range(wide)]
        flat = side_by_side.reshape(wide * channels, tall * columns)
        by_row = weights.weights.reshape(outputs, high, wide * channels)
        size = rows * columns
        self._products = [
            (np.ascontiguousarray(by_row[:, at]), flat[:, at * columns : at * columns + size]) for at in range(high)
        ]
        self._map, self._bias, self._out = weights, weights.bias[:, np.newaxis], out
        self._sums, self._term = np.empty((outputs, size), dtype), np.empty((outputs, size), dtype)

    def run(self) -> None:
        """Makes its output of its input."""
        for to, of in self._copies:
            to[...] = of
        first, *others = self._products
        np.matmul(*first, out=self._sums)
        for one in others:
            np.matmul(*one, out=self._term)
            np.add(self._sums, self._term, out=self._sums)
        _finish(self._sums, self._bias, self._map, self._out)


class Blocks:
    """A convolution whose stride is its kernel: the same weights for every block of a picture.

    Args:
        x: The picture, float32 of shape (channels, rows * high, columns * wide).
        weights: The map; of each row first the kernel's rows, then its columns, then channels.
        kernel: The kernel's height and width.
        out: float32 of shape (outputs, rows, columns).
    """

    def __init__(self, x: Array, weights: WholeMap, kernel: tuple[int, int], out: Array) -> None:
        high, wide = kernel
        outputs, rows, columns = out.shape
        self._blocks = x.reshape(len(x), rows, high, columns, wide).transpose(2, 4, 0, 1, 3)
        self._laid_out = np.empty(self._blocks.shape, weights.weights.dtype)
        self._matrix = self._laid_out.reshape(-1, rows * columns)
        self._map, self._bias, self._out = weights, weights.bias[:, np.newaxis], out
        self._sums = np.empty((outputs, rows * columns), weights.weights.dtype)

    def run(self) -> None:
        """Makes its output of its input."""
        self._laid_out[...] = self._blocks
        np.matmul(self._map.weights, self._matrix, out=self._sums)
        _finish(self._sums, self._bias, self._map, self._out)


class Clip:
    """Values brought to other steps and held between two ends.

    Args:
        x: float32 of any shape.
        ratio: How many steps of what comes out one of what goes in is.
        low: Least result.
        high: Largest result.
        out: float32 of the same shape.
    """

    def __init__(self, x: Array, ratio: float, low: float, high: float, out: Array) -> None:
        self._x, self._ratio, self._low, self._high, self._out = x, ratio, low, high, out

    def run(self) -> None:
        """Makes its output of its input."""
        np.multiply(self._x, self._ratio, out=self._out)
        np.rint(self._out, out=self._out)
        np.clip(self._out, self._low, self._high, out=self._out)


class Sum:
    """One tensor added to another.

    Args:
        one: float32 of any shape.
        other: float32 of the same shape.
        low: Least result.
        high: Largest result.
        out: float32 of the same shape.
    """

    def __init__(self, one: Array, other: Array, low: float, high: float, out: Array) -> None:
        self._one, self._other, self._out, self._low, self._high = one, other, out, low, high

    def run(self) -> None:
        """Makes its output of its input."""
        np.add(self._one, self._other, out=self._out)
        np.maximum(self._out, self._low, out=self._out)
        np.minimum(self._out, self._high, out=self._out)


class Copy:
    """Values put to other places: a slice, a part of what is joined, a shape of another order.

    Args:
        of: Where they lie, float32 of any shape.
        to: Where they go, float32 of the same shape.
    """

    def __init__(self, of: Array, to: Array) -> None:
        self._of, self._to = of, to

    def run(self) -> None:
        """Makes its output of its input."""
        self._to[...] = self._of


def _finish(sums: Array, bias: Array, weights: WholeMap, out: Array) -> None:
    np.add(sums, bias, out=sums)
    np.rint(sums, out=sums)
    np.maximum(sums, weights.low, out=sums)
    np.minimum(sums.reshape(out.shape), weights.high, out=out, casting="same_kind")
