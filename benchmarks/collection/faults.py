"""Faults planted into views, at known places and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Views = npt.NDArray[np.uint8]
"""Consecutive views, uint8 RGB of shape (n, height, width, 3), 0-255."""
Place = tuple[int, int]
"""Column and row of a view."""

DISC_SHARE: Final = 0.15
"""Diameter of the disc, of the view's width."""
REGION_SHARE: Final = 0.25
"""Side of the region that freezes or is missing, of the view's width."""
BLUR_SHARE: Final = 0.02
"""Standard deviation of the defocus, of the view's width."""
TURN_DEG: Final = 5.0
DARKER, BRIGHTER = 0.9, 1.1
VISIBLE: Final = 8.0
"""A region counts as changed when its values differ by this much on average, of 255."""
_MOST_PLACES: Final = 4
_SMOOTHING: Final = 0.06
_ACTIVE: Final = 0.4
"""Places with less than this share of the highest activity are not of the subject."""
_DARK, _PALE = 20, 235
_MIDDLE: Final = 110
_MOST_VIEWS: Final = 400


@dataclass(frozen=True, slots=True)
class Scene:
    """What planting needs to know of a subject."""

    places: tuple[Place, ...]
    """Where the subject moves, the liveliest first, at least one."""
    mean: npt.NDArray[np.uint8]
    """Mean of the training views, uint8 RGB of shape (height, width, 3)."""
    stranger: Views
    """Views of another subject, of the same size, at least one."""


@dataclass(frozen=True, slots=True)
class Planted:
    """Views with a fault in each of them."""

    views: Views
    """The views."""
    visible: npt.NDArray[np.bool_]
    """Whether the fault changes the view enough to count, bool of shape (n,)."""


def look_at(train: Views, stranger: Views) -> Scene:
    """Returns the scene of a subject.

    Args:
        train: Training views.
        stranger: Views of another subject, of the same size.
    """
    some = train[np.linspace(0, len(train) - 1, min(_MOST_VIEWS, len(train))).round().astype(int)]
    return Scene(active_places(some), np.rint(some.mean(0, dtype=np.float64)).astype(np.uint8), stranger)


def active_places(views: Views) -> tuple[Place, ...]:
    """Returns up to four places at which most changes, the liveliest first, further apart than a planted disc is wide.

    Args:
        views: At least two views.
    """
    height, width = views.shape[1:3]
    deviation = views.std(0, dtype=np.float32).mean(-1)
    activity = cv2.GaussianBlur(deviation, (0, 0), _SMOOTHING * width)
    # A fault is to be seen whole.
    margin = round(DISC_SHARE * width / 2)
    inner = np.zeros_like(activity)
    inner[margin : height - margin, margin : width - margin] = 1
    activity = np.asarray(activity * inner, np.float32)
    least = _ACTIVE * float(activity.max())
    places: list[Place] = []
    rows, columns = np.mgrid[0:height, 0:width]
    while len(places) < _MOST_PLACES:
        row, column = divmod(int(activity.argmax()), width)
        if places and activity[row, column] <= least:
            break
        places.append((column, row))
        apart = np.hypot(columns - column, rows - row) > REGION_SHARE * width
        activity = np.asarray(activity * apart, np.float32)
    return tuple(places)


def plant(name: str, views: Views, place: Place, scene: Scene) -> Planted:
    """Plants a fault into consecutive views.

    Args:
        name: One of `FAULTS` or `LIGHTS`.
        views: At least one.
        place: Where, for a fault that has a place.
        scene: Of the subject.
    """
    return {**FAULTS, **LIGHTS}[name](views, place, scene)


def _disc(views: Views, place: Place, _scene: Scene) -> Planted:
    """A disc over the subject, as dark as what lies below is bright."""
    radius = max(1, round(DISC_SHARE * views.shape[2] / 2))
    part = views[0][_region(place, DISC_SHARE, views.shape[1:3])]
    tone = _DARK if part.mean() > _MIDDLE else _PALE
    covered = views.copy()
    for view in covered:
        cv2.circle(view, place, radius, (tone, tone, tone), -1, cv2.LINE_AA)
    return _all(covered)


def _frozen(views: Views, place: Place, _scene: Scene) -> Planted:
    """A region in which nothing moves any more: it stays as it was in the first view."""
    part = _region(place, REGION_SHARE, views.shape[1:3])
    return _replaced(views, part, views[0][part])


def _missing(views: Views, place: Place, scene: Scene) -> Planted:
    """A region in which nothing is: it shows the mean of the training views."""
    part = _region(place, REGION_SHARE, views.shape[1:3])
    return _replaced(views, part, scene.mean[part])


def _defocus(views: Views, _place: Place, _scene: Scene) -> Planted:
    sigma = BLUR_SHARE * views.shape[2]
    return _all(np.stack([cv2.GaussianBlur(view, (0, 0), sigma) for view in views]).astype(np.uint8))


def _stranger(views: Views, _place: Place, scene: Scene) -> Planted:
    return _all(scene.stranger[np.arange(len(views)) % len(scene.stranger)])


def _turned(views: Views, _place: Place, _scene: Scene) -> Planted:
    height, width = views.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), TURN_DEG, 1.0)
    turned = [cv2.warpAffine(view, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101) for view in views]
    return _all(np.stack(turned).astype(np.uint8))


def _darker(views: Views, _place: Place, _scene: Scene) -> Planted:
    return _all(lit(views, DARKER))


def _brighter(views: Views, _place: Place, _scene: Scene) -> Planted:
    return _all(lit(views, BRIGHTER))


def lit(views: Views, gain: float) -> Views:
    """Returns views in another light, `gain` times as bright, > 0."""
    table = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
    changed: Views = table[views]
    return changed


_Plant = Callable[[Views, Place, Scene], Planted]

FAULTS: Final[Mapping[str, _Plant]] = {
    "disc": _disc,
    "part_frozen": _frozen,
    "part_missing": _missing,
    "defocus": _defocus,
    "other_subject": _stranger,
    "camera_turned": _turned,
}
"""What is to be found."""
LIGHTS: Final[Mapping[str, _Plant]] = {"light_darker": _darker, "light_brighter": _brighter}
"""What is to raise nothing after 5 s."""


def _all(views: Views) -> Planted:
    return Planted(views, np.ones(len(views), np.bool_))


def _replaced(views: Views, part: tuple[slice, slice], picture: npt.NDArray[np.uint8]) -> Planted:
    changed = views.copy()
    changed[:, part[0], part[1]] = picture
    difference = np.abs(changed[:, part[0], part[1]].astype(np.int16) - views[:, part[0], part[1]])
    return Planted(changed, difference.mean((1, 2, 3)) >= VISIBLE)


def _region(place: Place, share: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns rows and columns of the square of a share of the width around a place, within the view."""
    height, width = shape
    side = max(1, round(share * width))
    left = min(max(0, place[0] - side // 2), width - side)
    top = min(max(0, place[1] - side // 2), height - side)
    return slice(top, top + side), slice(left, left + side)
