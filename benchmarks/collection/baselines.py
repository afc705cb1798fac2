"""What needs no network: the mean image, and principal components, plain and registered, with the twin's own codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from collection.faults import Views
from comparison.clips import Clip
from comparison.pca_points import pca_points
from comparison.points import Point, at_bytes
from comparison.quality import mean_quality

MEAN_IMAGE: Final = "mean image"
PLAIN: Final = "pca"
REGISTERED: Final = "registered-pca"
_MOST_MEASURED: Final = 150


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one method reaches at the twin's bytes."""

    name: str
    """`mean image`, `pca` or `registered-pca`."""
    psnr_db: float
    """Mean PSNR, dB."""


def measure_baselines(clip: Clip, batch: int) -> dict[str, list[Point]]:
    """Returns the points of plain and of registered principal components, by name.

    Args:
        clip: What to learn from and to measure on.
        batch: States of a packet.
    """
    return {
        name: [one.point for one in pca_points(replace(clip, fixed=fixed), batch, most_measured=_MOST_MEASURED)]
        for name, fixed in ((PLAIN, True), (REGISTERED, False))
    }


def mean_image_psnr_db(clip: Clip) -> float:
    """Returns the mean PSNR of the mean training view on all test views, dB."""
    total = sum(views.sum(0, dtype=np.float64) for views in clip.train)
    mean = np.rint(total / sum(map(len, clip.train))).astype(np.uint8)
    views: Views = np.concatenate(clip.test)
    return mean_quality(views, (mean for _ in views))[0]


def best_at(bytes_per_frame: float, mean_image_db: float, curves: Mapping[str, Sequence[Point]]) -> Baseline:
    """Returns the baseline of the highest PSNR at no more than so many bytes a frame.

    Args:
        bytes_per_frame: What the twin takes, > 0. Between the points of a method the logarithm of the bytes counts.
        mean_image_db: PSNR of the mean image, which takes nothing.
        curves: Points of each other method, none of which beats another.
    """
    reached = [Baseline(MEAN_IMAGE, mean_image_db)]
    for name, points in curves.items():
        at = at_bytes(points, bytes_per_frame)
        if at is not None:
            reached.append(Baseline(name, round(at[0], 3)))
    return max(reached, key=lambda one: one.psnr_db)
