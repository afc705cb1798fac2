"""Mixed views of a part that holds several things: each half as it was at another time.

Lamps of one tower touch, and are one region; but that two of them are never off together in a short recording does not
mean that they never will be. Where a part is a sum of few pictures, and a line can be drawn through it along which
nothing happens, both sides of the line are things of their own. Views that are cut there and joined with others show
what the recording has not shown (after CutMix: Yun et al., ICCV 2019, here within a part and between its things).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.twin.parts import Box, Labels

_SUM: Final = 0.97
"""Share of a part's energy that as many components as it has latent values explain where it is a sum of pictures: a
lamp .99, a needle or a wheel .5 to .9."""
_VALLEY: Final = 0.25
"""Along a line between two things happens at most this share of what happens along lines through either of them."""
_MIXED: Final = 400
"""Pairs of consecutive mixed views."""
_MOST_SAMPLES: Final = 600

Pixels = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PartViews:
    """A part in all views."""

    crops: Pixels
    """On the sheet, uint8 RGB of shape (n, side, side, 3)."""
    pixels: Pixels
    """Its pixels, row by row, uint8 RGB of shape (n, pixels, 3)."""
    pairs: Pairs
    """Rows of views and of those that follow them, of shape (pairs, 2)."""


def with_mixtures(part: PartViews, labels: Labels, number: int, box: Box, latents: int, seed: int) -> PartViews:
    """Returns a part with mixed views behind its own; as it is where it is one thing.

    Args:
        part: The part in all views.
        labels: All parts.
        number: Its label.
        box: The rectangle around it.
        latents: How many latent values it has.
        seed: Of what is mixed.
    """
    flat = part.pixels[:: -(-len(part.pixels) // _MOST_SAMPLES)].reshape(-1, part.pixels[0].size).astype(np.float32)
    flat -= flat.mean(0)
    energies = np.maximum(np.linalg.eigvalsh(flat @ flat.T)[::-1], 0)
    if energies[:latents].sum() < _SUM * energies.sum():
        return part
    inside = box.of(labels) == number
    activity = np.zeros(inside.shape, np.float32)
    activity[inside] = np.square(flat).mean(0).reshape(-1, 3).mean(1)
    sides = [_side(inside.shape, axis, line) for axis in (0, 1) for line in valleys(activity.sum(1 - axis))]
    if not sides:
        return part
    rng, count = np.random.default_rng(seed), len(part.pixels)
    shape = part.crops.shape[1:3]
    crops, pixels = (np.empty((2 * _MIXED, *values.shape[1:]), np.uint8) for values in (part.crops, part.pixels))
    for place in range(_MIXED):
        side = sides[rng.integers(len(sides))]
        share = cv2.resize(side.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)[..., np.newaxis]
        both = part.pairs[rng.integers(len(part.pairs), size=2)]
        for later in (0, 1):
            here, there = both[:, later]
            row = 2 * place + later
            pixels[row] = np.where(side[inside][:, np.newaxis], part.pixels[here], part.pixels[there])
            crops[row] = np.rint(share * part.crops[here] + (1 - share) * part.crops[there])
    rows = count + 2 * np.arange(_MIXED)[:, np.newaxis] + np.arange(2)
    return PartViews(
        np.concatenate([part.crops, crops]),
        np.concatenate([part.pixels, pixels]),
        np.concatenate([part.pairs, rows]),
    )


def valleys(profile: npt.NDArray[np.float32]) -> list[int]:
    """Returns where a profile is far lower than its peaks on both sides, the lowest place of each such stretch."""
    before, after = np.maximum.accumulate(profile), np.maximum.accumulate(profile[::-1])[::-1]
    low = profile < _VALLEY * np.minimum(before, after)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(np.int8)))
    return [int(start + profile[start:end].argmin()) for start, end in edges.reshape(-1, 2)]


def _side(shape: tuple[int, ...], axis: int, line: int) -> npt.NDArray[np.bool_]:
    """Returns what lies before a line, bool of a box's shape."""
    place = np.arange(shape[axis])
    return np.broadcast_to((place < line)[:, np.newaxis] if axis == 0 else place < line, shape)
