"""Mean quality over a clip."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from twin_edge.images import Image
from twin_edge.quality import psnr, ssim


def mean_quality(views: Iterable[Image], pictures: Iterable[Image]) -> tuple[float, float]:
    """Returns the mean PSNR in dB and the mean SSIM over pairs of a view and what is shown in its place.

    Args:
        views: uint8 RGB, each of shape (height, width, 3).
        pictures: As many, of the same shape.
    """
    values = [(psnr(view, picture), ssim(view, picture)) for view, picture in zip(views, pictures, strict=True)]
    means = np.mean(values, axis=0)
    return round(float(means[0]), 3), round(float(means[1]), 4)
