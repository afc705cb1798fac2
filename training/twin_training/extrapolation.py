"""How much worse a twin draws what comes after its recording than what lies within it.

Validation blocks lie between training frames, so they say how well a twin interpolates. A machine repeats itself and
what comes next is no harder; a person in a recording of a minute has moved on by its end, and is drawn far worse. How
much is estimated on the training part: principal components of its beginning draw what follows, from several origins
(evaluation from a rolling origin: Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of
Forecasting 16, 2000), beside those of all of it drawing the validation blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_training.baseline import RegisteredPca, Views

_SIDE: Final = 64
_MOST_SAMPLES: Final = 1200
_MOST_LEARNED: Final = 400
_COMPONENTS: Final = 64
_ORIGINS: Final = (0.45, 0.55, 0.65, 0.75, 0.85)
_SHARE: Final = 0.12
"""Share of the samples that follow each origin and are drawn."""
_GAP: Final = 0.01
_NOISE: Final = 1.5
"""What is learned up to an origin is less than the whole recording: up to this ratio a recording repeats itself."""

_WORTH_TELLING: Final = 2.5
_LEAST: Final = 1.0
"""Squared levels: what is drawn better than that is drawn well."""

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """Squared errors of linear renderings, 0-255 squared."""

    within: float
    """Of the validation blocks: the median of the blocks' medians."""
    ahead: float
    """Of what follows training frames, at least: a standard deviation below the mean over the origins, of logarithms.
    What is fitted to it is to hold where the future is kinder than it may be."""

    @property
    def excess(self) -> float:
        """How much larger the error of frames to come is than that of the blocks, beyond noise, at least 0."""
        return max(0.0, self.ahead - _NOISE * self.within)

    def to_json(self) -> dict[str, float]:
        """Returns it as an object of JSON."""
        return {"within": self.within, "ahead": self.ahead, "excess": self.excess}

    def __str__(self) -> str:
        """Says what that means, for people; empty where it is nothing."""
        if self.ahead < _WORTH_TELLING * self.within:
            return ""
        times = self.ahead / self.within
        return (
            f"the recording does not repeat itself: what follows is at least {times:.0f} times as hard to draw as what "
            "lies between, so new frames will be drawn worse than the validation blocks; record longer"
        )


def extrapolate(train: Views, validation: Views, validation_cuts: Sequence[int], *, registered: bool) -> Extrapolation:
    """Estimates it; takes some seconds.

    Args:
        train: Training views in time order, uint8 RGB of shape (n, size, size, 3), 50 or more.
        validation: Views of the validation blocks.
        validation_cuts: Rows at which a block begins, the first one 0.
        registered: Whether the subject moves about and its views are aligned first.
    """
    known = _small(train[:: -(-len(train) // _MOST_SAMPLES)])
    pca = RegisteredPca([known], 1, registered=registered)
    views = pca.aligned(known).astype(np.float32)
    count = len(views)
    gap, block = max(1, round(_GAP * count)), max(1, int(_SHARE * count))
    logarithms = []
    for origin in _ORIGINS:
        start = int(origin * count)
        ahead = _Linear(views[:start]).errors(views[start + gap : start + gap + block])
        logarithms.append(np.log(max(float(np.median(ahead)), _LEAST)))
    whole = _Linear(views)
    blocks = np.split(_small(validation), validation_cuts[1:])
    within = [float(np.median(whole.errors(pca.aligned(held).astype(np.float32)))) for held in blocks]
    return Extrapolation(
        max(float(np.median(within)), _LEAST), float(np.exp(np.mean(logarithms) - np.std(logarithms, ddof=1)))
    )


class _Linear:
    """Principal components of views, float32 of shape (n, values)."""

    def __init__(self, views: _Floats) -> None:
        known = views[:: -(-len(views) // _MOST_LEARNED)]
        self._mean = known.mean(0)
        known = known - self._mean
        _, vectors = np.linalg.eigh(known @ known.T)
        basis = vectors[:, ::-1][:, : min(_COMPONENTS, len(known) // 2)].T @ known
        self._basis = basis / (np.linalg.norm(basis, axis=1, keepdims=True) + np.float32(1e-9))

    def errors(self, views: _Floats) -> _Floats:
        """Returns the mean squared error of drawing each of some views, float32 of shape (n,)."""
        apart = views - self._mean
        left = np.square(apart).sum(1) - np.square(apart @ self._basis.T).sum(1)
        return np.asarray(left / views.shape[1], np.float32)


def _small(views: Views) -> Views:
    return np.stack([cv2.resize(view, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for view in views])
