"""Which states of training a bundle of parts carries, and from what distance on another one is strange."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.calibration import rarely
from twin_edge.twin.known import Floats, KnownStates

MOST_KNOWN: Final = 192
"""Most states of a part that a bundle carries."""
_LEAST_LIMIT: Final = 12.0
"""int8 steps: a third of the deviation of a latent value. A lamp that was always exactly on or off is still itself when
light and camera make a little of it."""


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


def limits_of(known: npt.NDArray[np.int8], blocks: list[npt.NDArray[np.int8]], parts: int) -> Floats:
    """Returns from what distance on a part is strange, int8 steps, float32 of shape (parts,).

    Args:
        known: What the bundle carries.
        blocks: Latents of views that training has not seen, int8 of shape (frames, latent) for each block.
        parts: How many parts share the latent evenly.
    """
    measure = KnownStates(known, np.ones(parts, np.float32))
    apart = [np.stack([measure(latent) for latent in block]) for block in blocks]
    found = [rarely([block[:, part] for block in apart]) for part in range(parts)]
    return np.maximum(np.array(found, np.float32), _LEAST_LIMIT)
