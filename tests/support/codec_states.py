"""States that move like those of a real subject, and tables fitted to them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from twin_converters.codec_tables import Recorded, fit
from twin_edge.twin.codec import CodecTables

LENGTH = 9


def walk(count: int, seed: int) -> np.ndarray:
    """Returns states that wander about their mean, int8 of shape (count, LENGTH), some values faster than others."""
    random = np.random.default_rng(seed)
    speed = np.linspace(0.02, 0.6, LENGTH)
    states = np.zeros((count, LENGTH))
    states[0] = random.normal(size=LENGTH)
    for row in range(1, count):
        states[row] = states[row - 1] * (1 - speed) + random.normal(size=LENGTH) * np.sqrt(speed * (2 - speed))
    return np.clip(np.rint(states * 32 + 5), -128, 127).astype(np.int8)


IMPORTANCE = np.geomspace(0.3, 0.003, LENGTH)
MSE = 60.0


@lru_cache(maxsize=1)
def fitted() -> CodecTables:
    """Returns tables for live states and sparse ones."""
    return fit([Recorded(walk(200, 1)), Recorded(walk(400, 2)[::8], sparse=True)], IMPORTANCE, MSE)
