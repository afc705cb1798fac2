"""States that training has seen: how far a new one is from all of them, part by part.

The residual alone does not tell a part that is gone from one that is there: what encoder and generator were never asked
to tell apart, such as a gauge without a needle, may be drawn as well as anything else, from a state that no view of the
subject ever had. The distance to the nearest known state is the novelty score of nearest neighbors (Ramaswamy et al.,
"Efficient algorithms for mining outliers from large data sets", SIGMOD 2000).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class KnownStates:
    """Measures how far the parts of a state are from what they were in training.

    Args:
        states: Latents that training has seen, each part's by themselves: a row is no state of the whole, int8 of shape
            (n, latent), n at least 1.
        limits: Distance from the nearest one beyond which a part is strange, int8 steps, one for each part, > 0; the
            parts share the latent evenly.
    """

    def __init__(self, states: npt.NDArray[np.int8], limits: npt.NDArray[np.float32]) -> None:
        # One value of all states after the other: rows are long then, and sums over them fast.
        self._states = np.ascontiguousarray(states.T.reshape(len(limits), -1, len(states)), np.float32)
        self._inverse = 1 / limits.astype(np.float32)

    def __call__(self, latent: npt.NDArray[np.int8]) -> Floats:
        """Returns the distance of each part from the nearest known state, in limits, float32 of shape (parts,).

        Args:
            latent: int8 of shape (latent,).
        """
        apart = self._states - latent.reshape(*self._states.shape[:2], 1)
        # Whole numbers below 2**24: exact in float32, in whatever order they are added.
        apart *= apart
        nearest = np.minimum.reduce(np.add.reduce(apart, axis=1), axis=1)
        return np.asarray(np.sqrt(nearest, out=nearest) * self._inverse, np.float32)
