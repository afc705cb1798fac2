"""Which states of training a bundle of parts carries, and from what distance on another one is strange."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.models.scene import LIGHT_VALUES
from twin_edge.twin.known import Floats, KnownStates
from twin_edge.twin.light import Relighter
from twin_edge.twin.shift import shifted

MOST_KNOWN: Final = 192
"""Most states of a part that a bundle carries."""
_LEAST_LIMIT: Final = 12.0
"""int8 steps: a third of the deviation of a latent value. A lamp that was always exactly on or off is still itself when
light and camera make a little of it."""
_SHIFT: Final = np.array((28, -20), np.int8)
_DARKER: Final = -41
"""Log-gain in light's steps: 15 % less."""
_SETTLING: Final = 12
"""Views until the camera's place is known to a part of a pixel."""
_MOST: Final = 0.95
_DEVIATIONS: Final = 5.0
"""So far above the mean of the blocks' farthest states is strange. One frame in a hundred is no measure of a part where
there are several: each would be strange once in a hundred frames. Chosen on 40 episodes of the rig: with three
deviations 2.8 % of their frames were above 0.99, with five 1.7 %, and every planted fault was found as before."""
_LEAST_BLOCKS: Final = 4


def chosen(latents: npt.NDArray[np.int8], parts: int) -> npt.NDArray[np.int8]:
    """Returns states of each part from which all of its others are near, int8 of shape (n, latent), n at most 192.

    Each is the one that is farthest from those before it (Gonzalez, "Clustering to minimize the maximum intercluster
    distance", 1985).

    Args:
        latents: Latents of training views, int8 of shape (any number, latent), at least one.
        parts: How many parts share the latent evenly.
    """
    columns = []
    for values in np.split(latents, parts, axis=1):
        own = np.unique(values, axis=0).astype(np.float32)
        rows, nearest = [0], np.square(own - own[0]).sum(1)
        while len(rows) < MOST_KNOWN:
            rows.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, np.square(own - own[rows[-1]]).sum(1))
        columns.append(own[rows])
    return np.concatenate(columns, axis=1).astype(np.int8)


def on_another_day(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns what views are with 15 % less light and the camera moved by four pixels.

    Args:
        views: uint8 RGB of shape (n, height, width, 3).
    """
    light = np.zeros(LIGHT_VALUES, np.int8)
    light[0] = _DARKER
    relight = Relighter(*views.shape[1:3])
    return np.stack([shifted(relight(view, light), _SHIFT) for view in views])


def limits_of(
    known: npt.NDArray[np.int8], blocks: list[npt.NDArray[np.int8]], elsewhere: npt.NDArray[np.int8], parts: int
) -> Floats:
    """Returns from what distance on a part is strange, int8 steps, float32 of shape (parts,).

    Args:
        known: What the bundle carries.
        blocks: Latents of views that training has not seen, int8 of shape (frames, latent) for each block.
        elsewhere: Latents of training views as they would be on another day, one after the other, int8 of shape
            (n, latent): what light and camera make of a part is not strange either.
        parts: How many parts share the latent evenly.
    """
    measure = KnownStates(known, np.ones(parts, np.float32))
    apart = [np.stack([measure(latent) for latent in block]) for block in blocks]
    # Frames of a block resemble each other, so that its farthest one is all that it says about the tail.
    if len(apart) < _LEAST_BLOCKS:
        apart = np.array_split(np.concatenate(apart), _LEAST_BLOCKS)
    farthest = np.stack([block.max(0) for block in apart])
    found = farthest.mean(0) + _DEVIATIONS * farthest.std(0, ddof=1)
    moved = np.stack([measure(latent) for latent in elsewhere[min(_SETTLING, len(elsewhere) - 1) :]])
    return np.maximum(np.maximum(found.astype(np.float32), np.quantile(moved, _MOST, axis=0)), _LEAST_LIMIT)
