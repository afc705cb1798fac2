"""What needs no network at as many bytes as a bundle takes: between the rates at which training has measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from twin_edge.baseline import BASELINES, MEAN

_UNKNOWN: Final = "unknown baseline"


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What a baseline reaches at a rate."""

    method: str
    """`mean`, `pca` or `registered-pca`."""
    bytes: float
    """Coded bytes a frame, 0 or more."""
    psnr_db: float
    """Mean PSNR on the test views, dB."""
    ssim: float
    """Mean SSIM on the same, -1 to 1."""

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> RatePoint:
        """Returns a point of a run's metrics.

        Raises:
            KeyError: A key is missing.
            ValueError: A value is none of the kind.
        """
        point = cls(str(tree["method"]), float(tree["bytes"]), float(tree["psnr_db"]), float(tree["ssim"]))
        if point.method not in BASELINES or not 0 <= point.bytes < float("inf"):
            raise ValueError(f"{_UNKNOWN} {point.method!r:.40} at {point.bytes} bytes")
        return point


def at_bytes(points: Sequence[RatePoint], rate_bytes: float) -> RatePoint | None:
    """Returns the best baseline at a rate.

    A method's quality is that of the line between its best points next to the rate, as if frames were sent now at one
    and now at the other; below its cheapest point the other end is the mean image, which costs nothing.

    Args:
        points: What was measured.
        rate_bytes: Bytes a frame, 0 or more.

    Returns:
        The method of the highest PSNR there; None without points.
    """
    mean = [point for point in points if point.method == MEAN]
    found = [
        _between([*mean, *(point for point in points if point.method == method)], method, rate_bytes)
        for method in BASELINES
        if any(point.method == method for point in points)
    ]
    return max(found, key=lambda point: point.psnr_db, default=None)


def _between(points: Sequence[RatePoint], method: str, rate_bytes: float) -> RatePoint:
    """Returns what a method reaches at a rate, by its points that are better than all cheaper ones."""
    front: list[RatePoint] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.psnr_db)):
        if not front or point.psnr_db > front[-1].psnr_db:
            front.append(point)
    rates = [point.bytes for point in front]
    return RatePoint(
        method,
        rate_bytes,
        round(float(np.interp(rate_bytes, rates, [point.psnr_db for point in front])), 3),
        round(float(np.interp(rate_bytes, rates, [point.ssim for point in front])), 4),
    )
