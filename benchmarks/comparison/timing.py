"""Timing things in turns, so that what the machine does meanwhile is shared by all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_MS = 1e3


@dataclass(frozen=True, slots=True)
class Speed:
    """How long one thing took."""

    what: str
    """What was done."""
    runtime: str
    """What did it: a TFLite runtime, `opencv`, `ffmpeg`, or `estimate` for what was not measured."""
    threads: int
    """CPU threads."""
    ms_p50: float
    """Median, milliseconds."""
    ms_p95: float
    """95th percentile, milliseconds."""
    ratio_to_jpeg: float | None
    """Median over that of encoding a 640x480 frame as JPEG in the same rounds; None for an estimate."""


def in_turns(work: Mapping[str, Callable[[int], object]], rounds: int, warm_up: int) -> dict[str, tuple[float, float]]:
    """Does each thing once a round and times it.

    Args:
        work: What to do, by name; called with the number of the round.
        rounds: Rounds that count, at least 1.
        warm_up: Rounds before them.

    Returns:
        Median and 95th percentile of each, milliseconds of wall clock.
    """
    times = np.zeros((rounds, len(work)))
    for number in range(-warm_up, rounds):
        for column, do in enumerate(work.values()):
            start = time.perf_counter()
            do(number + warm_up)
            if number >= 0:
                times[number, column] = time.perf_counter() - start
    middle, high = np.percentile(times * _MS, (50, 95), axis=0)
    return {name: (float(middle[i]), float(high[i])) for i, name in enumerate(work)}
