"""What needs no network, at many rates: what a bundle is held against at as many bytes as it takes itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.baseline import MEAN, PCA, REGISTERED_PCA
from twin_edge.images import Image
from twin_edge.quality import psnr, ssim
from twin_training.baseline import BaselinePoint, registered_pca
from twin_training.recordings import Dataset, Views

_COMPONENTS: Final = (2, 4, 8, 16, 32, 64)
_LOSSES: Final = (0.03, 0.3, 1.0)
_MEASURED: Final = 100
_CODED_TRAIN: Final = 1500
_CODED_TEST: Final = 1000


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What a baseline reaches at a rate."""

    method: str
    """`mean`, `pca` or `registered-pca`."""
    components: int
    """How many components there are in a state, 0 for the mean image."""
    bytes: float
    """Coded bytes a frame, no framing."""
    psnr_db: float
    """Mean PSNR of the renderings of the test views, dB."""
    ssim: float
    """Mean SSIM of the same."""

    def to_json(self) -> dict[str, Any]:
        """Returns it as an object of JSON."""
        return asdict(self)


def rate_points(dataset: Dataset, components: Sequence[int] = _COMPONENTS) -> list[RatePoint]:
    """Measures all baselines of a subject on its test views.

    The time is bounded: the tables of the code are learned from the last 1500 training views, rates are those of the
    first 1000 test views, and 100 renderings of each point are compared.

    Args:
        dataset: The views; principal components are those of all training views.
        components: Numbers of components to try.
    """
    train = [part for part in np.split(dataset.train, list(dataset.cuts[1:])) if len(part) > 1]
    test = [part for part in np.split(dataset.test, list(dataset.test_cuts[1:])) if len(part)]
    few = _few(test, _CODED_TEST)
    points = [_mean_point(dataset.train, list(itertools.chain.from_iterable(few)))]
    for method in (PCA, REGISTERED_PCA):
        measured = registered_pca(
            train,
            few,
            components,
            losses=_LOSSES,
            registered=method == REGISTERED_PCA,
            most_measured=_MEASURED,
            most_coded=_CODED_TRAIN,
        )
        points += [_point(method, point) for point in measured]
    return points


def best(points: Sequence[RatePoint], most_bytes: float) -> RatePoint:
    """Returns the point of the highest PSNR among those of so many bytes a frame or less and the mean image."""
    return max(
        (point for point in points if point.bytes <= most_bytes or point.method == MEAN),
        key=lambda point: point.psnr_db,
    )


def _point(method: str, point: BaselinePoint) -> RatePoint:
    return RatePoint(
        method, point.components, round(point.coded_bytes, 3), round(point.psnr_db, 3), round(point.ssim, 4)
    )


def _mean_point(train: Views, test: Sequence[Image]) -> RatePoint:
    mean = np.rint(train.mean(0, dtype=np.float64)).astype(np.uint8)
    views = [test[row] for row in _evenly(len(test), _MEASURED)]
    return RatePoint(
        MEAN,
        0,
        0.0,
        round(float(np.mean([psnr(view, mean) for view in views])), 3),
        round(float(np.mean([ssim(view, mean) for view in views])), 4),
    )


def _few(sequences: Sequence[Views], most: int) -> list[Views]:
    """Returns the beginnings of sequences, so many views in all at most, as long as they are even."""
    share = min(1.0, most / sum(map(len, sequences)))
    return [views[: max(1, round(len(views) * share))] for views in sequences]


def _evenly(available: int, count: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, available - 1, min(count, available)).round().astype(np.int64)
