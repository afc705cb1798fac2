"""Evidence: numbers that tell whether a recording fits what is to be trained on it. Judged in `diagnosis`.

All of them are computed on small, gray or shrunk copies of a few hundred views, so that they take seconds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.pose import Pose
from twin_edge.quality import psnr
from twin_training.baseline import RegisteredPca, Views

_MOST: Final = 300
_MOVING_SAMPLES: Final = 80
_LEAST_CHANGE: Final = 1.0
_OVER_NOISE: Final = 2.5

_SPAN_SIDE: Final = 12
_SPAN_COMPONENTS: Final = 24
_SPAN_ROOM: Final = 0.5
_BLOCKS: Final = 5
_USUAL: Final = 90

_TILES: Final = 4
_TILE_SIDE: Final = 32
_PAIRS: Final = 40
_TEXTURED: Final = 5.0
_LEAST_TILES: Final = 5
_LEAST_SIDES: Final = 3
_LEAST_SHIFT: Final = 0.7
_SAME_SHIFT: Final = 0.75
_AGREED: Final = 0.6
_ENDS: Final = 0.1

_GAIN_SIDE: Final = 64
_GAIN_TRAIN: Final = 160
_GAIN_TEST: Final = 40
_GAIN_COMPONENTS: Final = 16

_MASK_SIDE: Final = 64
_FOREGROUND: Final = 25
_OPENING: Final = 2
_CLOSING: Final = 5
_LEAST_REGION: Final = 12
_SIMILAR: Final = 0.4
_APART: Final = 3
_MOVES: Final = 0.75

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
"""Where in each view something is, bool of shape (n, 64, 64)."""


@dataclass(frozen=True, slots=True)
class Following:
    """Views of a moving subject, and where the twin takes it to be."""

    views: Views
    """uint8 RGB of shape (n, size, size, 3)."""
    poses: list[Pose]
    """Pose of each view."""
    saturated: npt.NDArray[np.bool_]
    """Whether a pose value is at its limit, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Two separate regions in views, from left to right."""

    share: float
    """Share of the views that show two separate ones of similar size, 0-1."""
    motion: float
    """Standard deviation of the middle of the one that moves less, pixels of a mask."""


def some(views: Views, most: int = _MOST) -> Views:
    """Returns at most so many of the views, evenly spaced, in time order."""
    return views[np.unique(np.linspace(0, len(views) - 1, min(len(views), most)).round().astype(int))]


def contrast(views: Views) -> Floats:
    """Returns the standard deviation over the pixels of each view, by channel, 0-127.5, float32 of shape (n,)."""
    return np.stack([view.astype(np.float32).std((0, 1)).mean() for view in views])


def moving_share(views: Views) -> float:
    """Returns the share of cells of 4 x 4 pixels that change by more than noise does, 0-1.

    Noise is what the pixels of a cell do apart from their mean; the mean has a quarter of it.
    """
    sample = some(views, _MOVING_SAMPLES)
    side = sample.shape[1] // 4
    cells = np.stack(
        [cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA) for view in sample.astype(np.float32)]
    )
    # One pixel of each cell is enough to know the noise.
    noise = float(np.median((sample[:, ::4, ::4] - cells).std(0))) / 4
    return float((cells.std(0).max(-1) > max(_LEAST_CHANGE, _OVER_NOISE * noise)).mean())


def distances_from_span(train: Views, others: Views) -> tuple[float, Floats]:
    """Returns how far views are from what training views span.

    The distance is what is left of a small copy of a view after the closest sum of the training part's principal
    components, none of them used beyond one and a half of the range that it has there.

    Args:
        train: Training views in time order, at least ten.
        others: Views to judge, of the same size.

    Returns:
        What is usual: the 90th percentile over training views of the distance from the span of the training's other
        part, levels of 255; and the distance of each of the others, float32 of shape (n,).
    """
    blocks = np.array_split(_flat(some(train)), _BLOCKS)
    own = [
        _left_over(np.concatenate(blocks[:index] + blocks[index + 1 :]), block) for index, block in enumerate(blocks)
    ]
    return float(np.percentile(np.concatenate(own), _USUAL)), _left_over(np.concatenate(blocks), _flat(others))


def camera_motion(views: Views) -> float:
    """Returns the share of pairs of views between which the edge of the picture moves as one, 0-1.

    A camera that moves takes the texture along all edges with it; a subject does not. 0 where texture is rare. 1
    when the picture has been shifted from the beginning to the end of the recording.
    """
    lag = max(1, len(views) // _PAIRS)
    far = [_gray(view, _TILES * _TILE_SIDE) for view in views[::lag]]
    starts = np.unique(np.linspace(0, len(views) - 2, _PAIRS).round().astype(int))
    near = [tuple(_gray(views[row + turn], _TILES * _TILE_SIDE) for turn in (0, 1)) for row in starts]
    ends = max(1, round(len(far) * _ENDS))
    first, last = (np.median(np.stack(part), axis=0).astype(np.float32) for part in (far[:ends], far[-ends:]))
    if _moved(first, last):
        return 1.0
    shares = [np.mean([_moved(a, b) for a, b in pairs]) for pairs in (list(itertools.pairwise(far)), near)]
    return float(max(shares))


def registration_gain(train: Views, held: Views) -> float:
    """Returns by how many dB aligned principal components draw held views better than those of views as they are.

    Args:
        train: Training views in time order.
        held: Other views in time order.
    """
    known, unknown = (
        np.stack(
            [cv2.resize(view, (_GAIN_SIDE, _GAIN_SIDE), interpolation=cv2.INTER_AREA) for view in some(views, most)]
        )
        for views, most in ((train, _GAIN_TRAIN), (held, _GAIN_TEST))
    )
    reached = []
    for registered in (True, False):
        pca = RegisteredPca([known], _GAIN_COMPONENTS, registered=registered)
        step = pca.step(_GAIN_COMPONENTS, 0.02)
        states = pca.project(unknown).states(_GAIN_COMPONENTS, step)
        pairs = zip(unknown, states, strict=True)
        reached.append(float(np.mean([psnr(view, pca.render(state, step)) for view, state in pairs])))
    return reached[0] - reached[1]


def foregrounds(views: Views, plate: Image) -> Masks:
    """Returns where views differ from the plate, apart from specks."""
    side = (_MASK_SIDE, _MASK_SIDE)
    small = cv2.resize(plate, side, interpolation=cv2.INTER_AREA)
    opening, closing = np.ones((_OPENING, _OPENING), np.uint8), np.ones((_CLOSING, _CLOSING), np.uint8)
    masks = np.empty((len(views), *side), np.bool_)
    for index, view in enumerate(views):
        apart = cv2.absdiff(cv2.resize(view, side, interpolation=cv2.INTER_AREA), small).max(-1)
        mask = cv2.morphologyEx((apart > _FOREGROUND).astype(np.uint8), cv2.MORPH_OPEN, opening)
        masks[index] = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, closing) > 0
    return masks


def subject_masks(core: Image, poses: list[Pose]) -> Masks:
    """Returns where the subject is said to be in each view.

    Args:
        core: What of the canvas is subject, 0 or 255, uint8 of shape (size, size).
        poses: Where the subject is.
    """
    size = len(core)
    small = cv2.resize(core, (_MASK_SIDE, _MASK_SIDE), interpolation=cv2.INTER_AREA)
    masks = [cv2.warpAffine(small, pose.matrix(size, _MASK_SIDE), (_MASK_SIDE, _MASK_SIDE)) for pose in poses]
    return np.stack(masks) > 127  # noqa: PLR2004 - half of the range


def visible_shares(core: Image, poses: list[Pose]) -> Floats:
    """Returns how much of the subject is inside of each view, 0-1, float32 of shape (n,).

    Args:
        core: What of the canvas is subject, 0 or 255, uint8 of shape (size, size).
        poses: Where the subject is.
    """
    size = len(core)
    rows, columns = np.nonzero(cv2.resize(core, (_MASK_SIDE, _MASK_SIDE), interpolation=cv2.INTER_AREA))
    if not len(rows):
        return np.ones(len(poses), np.float32)
    points = np.stack([columns, rows, np.ones_like(rows)]).astype(np.float64)
    shares = []
    for pose in poses:
        places = pose.matrix(size, _MASK_SIDE) @ points
        shares.append(((places > -1) & (places < _MASK_SIDE)).all(0).mean())
    return np.array(shares, np.float32)


def outside_difference(views: Views, plate: Image, subjects: Masks) -> float:
    """Returns how far views differ from the plate beside the subject, levels of 255: the median of their medians."""
    side = (_MASK_SIDE, _MASK_SIDE)
    small = cv2.resize(plate, side, interpolation=cv2.INTER_AREA)
    wide = np.ones((_CLOSING, _CLOSING), np.uint8)
    differences = []
    for view, subject in zip(views, subjects, strict=True):
        apart = cv2.absdiff(cv2.resize(view, side, interpolation=cv2.INTER_AREA), small).max(-1)
        outside = cv2.dilate(subject.astype(np.uint8), wide) == 0
        if outside.mean() > _ENDS:
            differences.append(float(np.median(apart[outside])))
    return float(np.median(differences)) if differences else 0.0


def difference_from_scene(views: Views, empty: Image) -> float:
    """Returns how far a picture of the empty scene is from what views show of it, levels of 255.

    Every pixel that is free in some view is compared with the view that is closest to it there, the light of the whole
    picture apart; the median over the pixels is returned.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        empty: uint8 RGB of shape (size, size, 3).
    """
    side = (_MASK_SIDE, _MASK_SIDE)
    small = cv2.resize(empty, side, interpolation=cv2.INTER_AREA).astype(np.float32)
    closest = np.full(side, 255.0, np.float32)
    for view in some(views):
        shrunk = cv2.resize(view, side, interpolation=cv2.INTER_AREA).astype(np.float32)
        gains = np.median(shrunk / np.maximum(small, 1), axis=(0, 1))
        closest = np.minimum(closest, np.abs(shrunk - small * gains).max(-1))
    return float(np.median(closest))


def two_regions(masks: Masks) -> Regions:
    """Returns how often there are two separate regions of similar size, and whether both move."""
    places = []
    for mask in masks:
        count, _, boxes, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        areas = boxes[1:count, cv2.CC_STAT_AREA]
        if len(areas) < 2:  # noqa: PLR2004 - two
            continue
        largest = 1 + np.argsort(areas)[::-1][:2]
        one, other = boxes[largest]
        if min(areas[largest - 1]) < max(_LEAST_REGION, _SIMILAR * areas.max()):
            continue
        if _gap(one, other) >= _APART:
            order = largest[np.argsort(middles[largest][:, 0])]
            places.append(middles[order])
    if len(places) < 2:  # noqa: PLR2004 - no deviation of less
        return Regions(0.0, 0.0)
    spread = np.hypot(*np.stack(places).std(0).T)
    return Regions(len(places) / len(masks), float(spread.min()))


def _gap(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> int:
    """Returns the distance of two boxes (left, top, width, height) along the axis on which they are further apart."""
    along = [
        max(one[axis], other[axis]) - min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) for axis in (0, 1)
    ]
    return int(max(along))


def _flat(views: Views) -> Floats:
    side = (_SPAN_SIDE, _SPAN_SIDE)
    return np.stack([cv2.resize(view, side, interpolation=cv2.INTER_AREA).reshape(-1) for view in views]).astype(
        np.float32
    )


def _left_over(known: Floats, others: Floats) -> Floats:
    mean = known.mean(0)
    centred = known - mean
    count = min(_SPAN_COMPONENTS, max(1, len(known) // 4))
    basis = np.linalg.svd(centred, full_matrices=False)[2][:count]
    coefficients = centred @ basis.T
    low, high = coefficients.min(0), coefficients.max(0)
    room = _SPAN_ROOM / 2 * (high - low)
    drawn = np.clip((others - mean) @ basis.T, low - room, high + room) @ basis
    return np.asarray(np.sqrt(np.square(others - mean - drawn).mean(1)), np.float32)


def _gray(view: Image, side: int) -> Floats:
    gray = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)


def _moved(before: Floats, after: Floats) -> bool:
    """Whether the tiles along the edges of two pictures have the same shift between them, and not none."""
    window = cv2.createHanningWindow((_TILE_SIDE, _TILE_SIDE), cv2.CV_32F)
    shifts, sides = [], set()
    for row, column in itertools.product(range(_TILES), repeat=2):
        at = {"top": row == 0, "bottom": row == _TILES - 1, "left": column == 0, "right": column == _TILES - 1}
        if not any(at.values()):
            continue
        tile = np.s_[row * _TILE_SIDE : (row + 1) * _TILE_SIDE, column * _TILE_SIDE : (column + 1) * _TILE_SIDE]
        if min(before[tile].std(), after[tile].std()) < _TEXTURED:
            continue
        shifts.append(cv2.phaseCorrelate(before[tile], after[tile], window)[0])
        sides |= {side for side, here in at.items() if here}
    if len(shifts) < _LEAST_TILES or len(sides) < _LEAST_SIDES:
        return False
    middle = np.median(shifts, axis=0)
    agreed = (np.abs(np.array(shifts) - middle).max(1) < _SAME_SHIFT).mean()
    return bool(agreed >= _AGREED and np.hypot(*middle) >= _LEAST_SHIFT)
