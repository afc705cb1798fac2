"""Where the parts of a scene are: connected regions in which something moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from twin_edge.twin.parts import Labels
from twin_training.parts.scene import LitScene, evenly_rows
from twin_training.recordings import Views

_THRESHOLDS: Final = (25.0, 50.0, 100.0, 200.0, 400.0)
"""Activities that a pixel of a part may need, levels^2; which one is measured."""
_NOISES: Final = 2.0
"""And at least so many variances of the noise."""
_SMALL_SHARE: Final = 0.004
"""A region with less of all motion than this is none."""
_MARGIN: Final = 3
"""Size of the brush that regions are widened with, pixels at a size of 128."""
_REFERENCE: Final = 128
_MOST_REGIONS: Final = 12
_SAMPLES: Final = 300


@dataclass(frozen=True, slots=True)
class Regions:
    """What moves by itself."""

    labels: Labels
    """The parts: 0 is the plate."""
    shares: tuple[float, ...]
    """Share of all motion in each part, strongest first, 0-1."""
    area: float
    """Share of the picture that the parts cover, 0-1."""
    left_out: float
    """Mean squared error that is left if the parts are drawn with linear components, levels^2, the noise not counted:
    what moves outside of them, and what the components that there is room for do not say."""


def find_regions(scene: LitScene, views: Views, weights: int) -> Regions:
    """Finds the parts of a scene.

    A low threshold joins what moves apart, and spends weights on what hardly moves; a high one cuts off what does. So
    several are tried, and the one is taken that leaves out least with so many weights.

    Args:
        scene: The light of the views, and how much each pixel moves.
        views: The views that it was found in, uint8 RGB of shape (n, size, size, 3).
        weights: Weights that the generator's last layers may have in all.
    """
    flat = scene.flat(views, evenly_rows(len(views), _SAMPLES))
    found = [
        Regions(labels, shares, float((labels > 0).mean()), _left_out(scene, flat, labels, weights))
        for labels, shares in _candidates(scene)
    ]
    return min(found, key=lambda one: one.left_out)


def _candidates(scene: LitScene) -> Iterator[tuple[Labels, tuple[float, ...]]]:
    size = scene.activity.shape[0]
    brush = max(1, round(_MARGIN * size / _REFERENCE))
    smooth = cv2.GaussianBlur(scene.activity, (0, 0), size / _REFERENCE)
    total = float(smooth.sum()) + 1e-9
    for threshold in sorted({max(one, _NOISES * scene.noise) for one in _THRESHOLDS}):
        mask = (smooth > threshold).astype(np.uint8)
        closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        # What rests within a part may move as well, now and then: a lamp that was seldom lit.
        contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros_like(mask), contours, -1, (1,), cv2.FILLED)
        count, found = cv2.connectedComponents(filled, connectivity=8)
        sums = np.bincount(found.ravel(), smooth.ravel(), count) / total
        kept = [label for label in np.argsort(-sums[1:]) + 1 if sums[label] >= _SMALL_SHARE][:_MOST_REGIONS]
        numbers = np.zeros(count, np.uint8)
        numbers[kept] = np.arange(1, len(kept) + 1)
        yield _widened(numbers[found], brush), tuple(float(sums[label]) for label in kept)


def _left_out(scene: LitScene, flat: Views, labels: Labels, weights: int) -> float:
    """Returns the mean squared error of linear components, spread over the parts as weights allow, levels^2."""
    outside = float((scene.activity * (labels == 0)).mean())
    energies, total = [], 0.0
    for label in range(1, int(labels.max()) + 1):
        pixels = flat[:, labels == label].reshape(len(flat), -1).astype(np.float32)
        pixels -= pixels.mean(0)
        values = np.maximum(np.linalg.eigvalsh(pixels @ pixels.T), 0) / len(flat)
        total += float(values.sum())
        energies += [(float(value) / pixels.shape[1], pixels.shape[1]) for value in values]
    left = weights
    for density, size in sorted(energies, reverse=True):
        if size <= left:
            left -= size
            total -= density * size
    return outside + total / flat[0].size


def _widened(labels: Labels, brush: int) -> Labels:
    """Returns the labels with each region widened; where regions meet, a pixel is the nearer one's."""
    if not labels.any():
        return labels
    wide = cv2.dilate((labels > 0).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (brush, brush)))
    _, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_source = np.zeros(int(nearest.max()) + 1, np.uint8)
    of_source[nearest[labels > 0]] = labels[labels > 0]
    return np.where(wide > 0, of_source[nearest], 0).astype(np.uint8)
