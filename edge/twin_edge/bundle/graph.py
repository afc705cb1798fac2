"""A model as plain arrays: tensors, and the nodes that make them one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

VECTOR: Final = 2
"""Dimensions of a batch of vectors, and of a matrix."""
PICTURE: Final = 4
"""Dimensions of a batch of pictures, and of the kernels of a convolution."""


@dataclass(frozen=True, slots=True)
class Scales:
    """How whole numbers of a tensor stand for real ones: ``real = scale * (whole - zero_point)``."""

    scale: npt.NDArray[np.float32]
    """Size of one step, > 0, float32 of shape (1,), or (n,) for one along an axis of n."""
    zero_point: npt.NDArray[np.int64]
    """What stands for 0, -128 to 127, int64 of the same shape."""
    axis: int
    """The axis that several of them go along."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a graph."""

    shape: tuple[int, ...]
    """Its sizes, each > 0."""
    dtype: np.dtype[Any]
    """int8, int32 or float32."""
    scales: Scales | None
    """For whole numbers that stand for real ones; None for others."""
    constant: npt.NDArray[Any] | None = field(repr=False)
    """Its values, read-only, of this shape and type; None where they are computed."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator at its place in a graph."""

    name: str
    """Such as `CONV_2D`."""
    inputs: tuple[int, ...]
    """Numbers of the tensors that it takes; -1 for a bias that is left out."""
    output: int
    """Number of the tensor that it makes."""
    options: dict[str, int]
    """Its options by name, those that are whole numbers."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: nodes in the order in which they run, each after those that make what it takes."""

    tensors: tuple[Tensor, ...]
    """All tensors."""
    nodes: tuple[Node, ...]
    """All nodes."""
    input: int
    """Number of the tensor that goes in."""
    output: int
    """Number of the tensor that comes out."""
