"""The linear twin, in closed form: where encoder and generator start from.

Principal components say what the latent values shall mean and how they are read off a crop, least squares say what the
generator has to draw for them, and dictionaries of blocks, one on either side, keep both small. No step of gradient
descent is needed for a twin that is about as good as principal components can be; training then makes it better than
that. Left to itself, a network would need most of a training to get this far, and on frames that it has not seen it
would not get as far at all (docs/training.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_training.recordings import Views

_MOST_SAMPLES: Final = 1600
_SIDE: Final = 64
_FILL_ROUNDS: Final = 3
_RIDGES: Final = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_HELD_OUT: Final = 0.15
_ROWS_AT_ONCE: Final = 8
_VIEWS_AT_ONCE: Final = 256
_DEVIATIONS: Final = 4.0
_INT8_MAX: Final = 127
READER_RANGE: Final = 6.0
"""What a `block_reader` gives lies between 0 and this, where ReLU6 cuts off."""
_READER_ROOM: Final = 0.02
"""How much further the outputs may go than in training, on either side, as a part of their range there."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LinearMap:
    """An affine map: ``outputs = inputs @ weights + bias``."""

    weights: Floats
    """float32 of shape (inputs, outputs)."""
    bias: Floats
    """float32 of shape (outputs,)."""

    def __call__(self, inputs: Floats) -> Floats:
        """Returns the outputs of inputs, float32 of shape (n, inputs)."""
        return np.asarray(inputs @ self.weights + self.bias, np.float32)

    def with_weights(self, weights: Floats, inputs: Floats) -> LinearMap:
        """Returns a map with other weights, whose bias makes up for what that changes on average.

        Args:
            weights: float32 of the same shape.
            inputs: Typical inputs, float32 of shape (n, inputs).
        """
        return LinearMap(weights, np.asarray(self.bias + inputs.mean(0) @ (self.weights - weights), np.float32))


@dataclass(frozen=True, slots=True)
class BlockMap:
    """One affine map for all blocks of a square image: a convolution that strides by the size of its kernel."""

    weights: Floats
    """float32 of shape (block * block * 3, outputs of a block)."""
    bias: Floats
    """float32 of shape (outputs of a block,)."""

    def __call__(self, inputs: Floats) -> Floats:
        """Returns the outputs of images.

        Args:
            inputs: float32 of shape (n, side * side * 3).

        Returns:
            float32 of shape (n, cells * cells * outputs of a block), the cells row by row.
        """
        outputs = self.blocks(inputs) @ self.weights + self.bias
        return np.asarray(outputs.reshape(len(inputs), -1), np.float32)

    def blocks(self, inputs: Floats) -> Floats:
        """Returns the blocks of images, float32 of shape (n * cells * cells, block * block * 3)."""
        return _blocks(inputs, math.isqrt(len(self.weights) // 3))

    def with_weights(self, weights: Floats, inputs: Floats) -> BlockMap:
        """Returns a map with other weights, whose bias makes up for what that changes on average.

        Args:
            weights: float32 of the same shape.
            inputs: Typical images, float32 of shape (n, side * side * 3).
        """
        change = self.blocks(inputs).mean(0) @ (self.weights - weights)
        return BlockMap(weights, np.asarray(self.bias + change, np.float32))


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components of canvases."""

    rows: Floats
    """The components, of unit length and strongest first; float32 of shape (count, side * side * 3)."""
    coefficients: Floats
    """Coefficients of each canvas, float32 of shape (n, count): see `principal_components`."""


def principal_components(
    canvases: Views, seen: npt.NDArray[np.uint8] | None, count: int, side: int = _SIDE
) -> Components:
    """Returns the leading principal components and the coefficients of each canvas on them, strongest first.

    What a canvas does not show is filled in with what the components make of the rest, again and again: expectation
    maximization for data with holes (Roweis, "EM algorithms for PCA and SPCA", NIPS 1997).

    Args:
        canvases: uint8 RGB of shape (n, size, size, 3).
        seen: 255 where a canvas shows something, uint8 of shape (n, size, size); everywhere when None.
        count: How many components.
        side: Height and width, at most, of what the components are of.

    Returns:
        The coefficients have mean 0, each the deviation of its component, in units of the root of the summed squared
        error over all values of a canvas; with fewer components to be had, the rest is 0.
    """
    if seen is None or seen.all():
        sample = reduced(canvases[sampled_rows(len(canvases))], side)
        mean = sample.mean(0)
        across = _components(sample - mean, count).T
        parts = [
            (reduced(canvases[row : row + _VIEWS_AT_ONCE], side) - mean) @ across
            for row in range(0, len(canvases), _VIEWS_AT_ONCE)
        ]
        return _filled_up(across.T, np.concatenate(parts), count)
    return components_with_holes(reduced(canvases, side), reduced_holes(seen, side), count)


def components_with_holes(pixels: Floats, holes: npt.NDArray[np.bool_], count: int) -> Components:
    """Returns leading principal components as `principal_components` does, of canvases that are small already.

    Args:
        pixels: The canvases, see `reduced`, float32 of shape (n, values); they are overwritten.
        holes: Where they show nothing, see `reduced_holes`, bool of the same shape.
        count: How many components.
    """
    every = max(1, -(-len(pixels) // _MOST_SAMPLES))
    known, unknown = pixels[::every], holes[::every]
    sample = known.copy()
    for turn in range(_FILL_ROUNDS):
        mean = sample.mean(0)
        sample -= mean
        components = _components(sample, count)
        if turn < _FILL_ROUNDS - 1:
            rebuilt = (sample @ components.T) @ components
            rebuilt += mean
            np.copyto(sample, known)
            np.copyto(sample, rebuilt, where=unknown)
    del sample, known
    pixels -= mean
    for first in range(0, len(pixels), _VIEWS_AT_ONCE):
        part, hidden = pixels[first : first + _VIEWS_AT_ONCE], holes[first : first + _VIEWS_AT_ONCE]
        for _ in range(_FILL_ROUNDS):
            np.copyto(part, (part @ components.T) @ components, where=hidden)
    return _filled_up(components, pixels @ components.T, count)


def sampled_rows(count: int) -> npt.NDArray[np.int64]:
    """Returns which of so many views a closed form is computed from, at most 1600 rows, int64 of shape (n,)."""
    return np.arange(0, count, max(1, -(-count // _MOST_SAMPLES)))


def reduced(images: npt.NDArray[np.uint8], most: int) -> Floats:
    """Returns images of at most that side, float32 of shape (n, values), -1 to 1."""
    n, size, _, channels = images.shape
    factor = max(1, size // most)
    side = size // factor
    small = np.empty((n, side * side * channels), np.float32)
    for start in range(0, n, _VIEWS_AT_ONCE):
        part = images[start : start + _VIEWS_AT_ONCE]
        blocks = part.reshape(len(part), side, factor, side, factor, channels).mean(axis=(2, 4), dtype=np.float32)
        small[start : start + len(part)] = blocks.reshape(len(part), -1) / 127.5 - 1
    return small


def reduced_holes(seen: npt.NDArray[np.uint8], most: int) -> npt.NDArray[np.bool_]:
    """Returns where images that are `reduced` show nothing, bool of shape (n, values).

    Args:
        seen: 255 where they show something, uint8 of shape (n, size, size).
        most: Height and width, at most, of what they are reduced to.
    """
    return np.repeat(reduced(seen[..., np.newaxis], most) < 1, 3, axis=1)


def block_reader(components: Components, crops: Floats, block: int, count: int) -> BlockMap:
    """Returns what an encoder sees of the blocks of a crop: as much as the components need.

    The entries that every block is compared with are the leading principal components of the blocks of all components;
    each has its outputs within 0 and 6, so that an int8 convolution with ReLU6 gives them with all its steps.

    Args:
        components: The components that are to be read off.
        crops: Typical crops, 0 to 1, float32 of shape (n, side * side * 3).
        block: Side of a block, pixels; divides the side of the crop.
        count: Number of entries, at most as many as a block has values.
    """
    parts = _blocks(components.rows, block)
    _, vectors = np.linalg.eigh(parts.T @ parts)
    entries = vectors[:, ::-1][:, :count].astype(np.float32)
    outputs = _blocks(crops, block) @ entries
    low, high = outputs.min(0), outputs.max(0)
    gain = READER_RANGE / ((1 + 2 * _READER_ROOM) * (high - low) + 1e-6)
    weights = snapped(entries * gain)
    return BlockMap(weights, np.asarray(READER_RANGE / 2 - (low + high) / 2 * gain, np.float32))


def reader_gain(reader: BlockMap) -> Floats:
    """Returns how large a `block_reader` gives what it sees of a block, by entry, float32 of shape (entries,)."""
    return np.asarray(np.sqrt(np.square(reader.weights).sum(0)) + 1e-6, np.float32)


def component_reader(components: Components, reader: BlockMap, block: int) -> Floats:
    """Returns weights that read the coefficients of components off the outputs of a `block_reader`.

    Returns:
        float32 of shape (outputs, count); the coefficients are what they give less its mean.
    """
    # The entries are orthogonal: what each says of a block, times itself, adds up to what is seen of the block.
    seen = _blocks(components.rows, block) @ (reader.weights / np.square(reader_gain(reader)))
    return np.asarray(2 * seen.reshape(len(components.rows), -1).T, np.float32)


def snapped(weights: Floats) -> Floats:
    """Returns weights on the grid that int8 has for them: 127 steps of each output's largest weight, either way.

    Quantizing them later changes nothing any more, so that the damping, and the bias, can take account of it.
    """
    steps = np.abs(weights).max(0) / _INT8_MAX + 1e-12
    return np.asarray(np.rint(weights / steps) * steps, np.float32)


def ridge(inputs: Floats, targets: Floats, importance: Floats, dampings: Sequence[float] = _RIDGES) -> LinearMap:
    """Returns the affine map that predicts targets from inputs.

    How strongly it is damped is chosen on the last part of the samples, and all of them make the final map. Its weights
    are `snapped`: those that cancel each other out finely would not survive int8.

    Args:
        inputs: float32 of shape (n, inputs), in time order; they are centered in place, being the most memory of all.
        targets: float32 of shape (n, outputs).
        importance: How much an error of each output counts, float32 of shape (outputs,).
        dampings: Those to choose from, relative to the mean variance of an input.
    """
    first = max(1, round(len(inputs) * (1 - _HELD_OUT)))
    mean, middle = inputs.mean(0), targets.mean(0)
    inputs -= mean
    x, y = inputs, targets - middle
    gram, product = x[:first].T @ x[:first], x[:first].T @ y[:first]
    errors = []
    for damping in dampings if len(dampings) > 1 else ():
        weights = snapped(_solve(gram, product, damping))
        errors.append(float((np.square(x[first:] @ weights - y[first:]).mean(0) * importance).sum()))
    best = dampings[int(np.argmin(errors)) if errors else 0]
    gram += x[first:].T @ x[first:]
    product += x[first:].T @ y[first:]
    weights = snapped(_solve(gram, product, best))
    return LinearMap(weights, np.asarray(middle - mean @ weights, np.float32))


def drawing_basis(
    latents: Floats, canvases: npt.NDArray[np.uint8], seen: npt.NDArray[np.uint8] | None
) -> tuple[Floats, Floats]:
    """Returns what to draw for a latent: mean image and one image for each latent value, by least squares.

    Args:
        latents: float32 of shape (n, latent).
        canvases: What to draw, uint8 of shape (n, size, size, channels).
        seen: 255 where a canvas shows something, uint8 of shape (n, size, size); everywhere when None.

    Returns:
        Mean, float32 of shape (size, size, channels), and basis, float32 of shape (latent, size, size, channels), so
        that ``mean + latent @ basis`` is the canvas in -1 to 1.
    """
    every = max(1, -(-len(latents) // _MOST_SAMPLES))
    size, channels = canvases.shape[1], canvases.shape[3]
    design = np.concatenate([latents[::every], np.ones((len(latents[::every]), 1), np.float32)], 1)
    gram = design.T @ design
    inverse = np.linalg.inv(gram + 1e-4 * np.trace(gram) / len(gram) * np.eye(len(gram), dtype=np.float32)) @ design.T
    result = np.empty((design.shape[1], size, size, channels), np.float32)
    for top in range(0, size, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        wanted = (canvases[::every, rows].astype(np.float32) / 127.5 - 1).reshape(len(design), -1)
        solution = inverse @ wanted
        if seen is not None:
            holes = np.repeat(seen[::every, rows, :, np.newaxis] == 0, channels, -1).reshape(len(design), -1)
            for _ in range(_FILL_ROUNDS if holes.any() else 0):
                solution = inverse @ np.where(holes, design @ solution, wanted)
        result[:, rows] = solution.reshape(len(result), -1, size, channels)
    return result[-1], result[:-1]


def dictionary(basis: Floats, block: int, count: int, covariance: Floats) -> tuple[Floats, Floats]:
    """Splits a basis into coefficients of each block and a dictionary of blocks that all places share.

    Args:
        basis: float32 of shape (latent, size, size, channels).
        block: Side of a block, pixels.
        count: Number of dictionary entries.
        covariance: Of what the basis is multiplied with, float32 of shape (latent, latent).

    Returns:
        Coefficients, float32 of shape (latent, size / block, size / block, count), so that they stay within -1 to 1
        for latents within a few deviations, and entries, float32 of shape (count, block, block, channels).
    """
    latent, size, _, channels = basis.shape
    cells = size // block
    blocks = basis.reshape(latent, cells, block, cells, block, channels).transpose(0, 1, 3, 2, 4, 5)
    flat = blocks.reshape(-1, block * block * channels)
    _, vectors = np.linalg.eigh(flat.T @ flat)
    entries = vectors[:, ::-1][:, :count].T.astype(np.float32)
    coefficients = (flat @ entries.T).reshape(latent, cells, cells, len(entries))
    variance = np.einsum("ixya,ij,jxya->xya", coefficients, covariance, coefficients, optimize=True)
    spread = np.sqrt(np.maximum(variance, 0)).max((0, 1)) * _DEVIATIONS + 1e-6
    full = np.zeros((count, block * block * channels), np.float32)
    full[: len(entries)] = entries * spread[:, np.newaxis]
    scaled = np.zeros((latent, cells, cells, count), np.float32)
    scaled[..., : len(entries)] = coefficients / spread
    return scaled, full.reshape(count, block, block, channels)


def _filled_up(components: Floats, coefficients: Floats, count: int) -> Components:
    """Returns components with centered coefficients, both filled up with zeros to `count`."""
    rows = np.zeros((count, components.shape[1]), np.float32)
    rows[: len(components)] = components
    full = np.zeros((len(coefficients), count), np.float32)
    full[:, : len(components)] = coefficients - coefficients.mean(0)
    return Components(rows, full)


def _blocks(images: Floats, block: int) -> Floats:
    """Returns the blocks of square images, row by row, float32 of shape (n * cells * cells, block * block * 3).

    Args:
        images: float32 of shape (n, side * side * 3).
        block: Side of a block, pixels; divides the side.
    """
    cells = math.isqrt(images.shape[1] // 3) // block
    parts = images.reshape(-1, cells, block, cells, block, 3).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, block * block * 3)


def _components(centered: Floats, count: int) -> Floats:
    """Returns the leading principal components, strongest first, float32 of shape (at most count, values)."""
    # The Gram matrix of the samples has the components' subspace in it, and is far smaller than the covariance.
    values, vectors = np.linalg.eigh(centered @ centered.T)
    strongest = np.argsort(values)[::-1][: min(count, len(centered) - 1)]
    components = vectors[:, strongest].T.astype(np.float32) @ centered
    return np.asarray(components / (np.linalg.norm(components, axis=1, keepdims=True) + 1e-9), np.float32)


def _solve(gram: Floats, product: Floats, damping: float) -> Floats:
    damped = gram.copy()
    damped.flat[:: len(gram) + 1] += np.float32(damping * float(np.trace(gram)) / len(gram))
    return np.asarray(np.linalg.solve(damped, product), np.float32)
