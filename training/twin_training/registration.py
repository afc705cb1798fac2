"""Registration: where the subject is in each training view.

First by aligning every view with the mean of the aligned ones (enhanced correlation coefficient: Evangelidis and
Psarakis, IEEE TPAMI 30(10), 2008), which finds shift and rotation. The encoder learns from that to find them itself,
and the magnification too; its own answers are then the poses that the twin is trained with.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.models.pose import Pose
from twin_training.recordings import Views

_SIDE: Final = 64
_BLUR: Final = 1.0
_TEMPLATE_SAMPLES: Final = 400
_ROUNDS: Final = 3
_MASK_AXES: Final = (0.31, 0.39)
_CRITERIA: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
_DIMENSIONS: Final = 3

_Picture = npt.NDArray[np.float32]


def register(views: Views, starts: npt.NDArray[np.bool_] | None = None) -> list[Pose]:
    """Returns the pose of each view, relative to the mean pose.

    Args:
        views: Views in time order, uint8 RGB of shape (n, size, size, 3).
        starts: Whether something else begins at a view, bool of shape (n,); nowhere when None.
    """
    size = views.shape[1]
    pictures = [_prepared(view) for view in views]
    every = max(1, len(pictures) // _TEMPLATE_SAMPLES)
    template = pictures[len(pictures) // 2]
    for _ in range(_ROUNDS):
        template = _template(pictures[::every], template)
    warps, warp = [], _identity()
    for index, picture in enumerate(pictures):
        if starts is not None and starts[index]:
            warp = _identity()
        warp = _align(template, picture, warp)
        warps.append(warp)
    return [_pose(warp, size) for warp in warps]


def _template(pictures: list[_Picture], start: _Picture) -> _Picture:
    """Returns the mean of the pictures aligned with one another, in their mean place."""
    warps, warp = [], _identity()
    for picture in pictures:
        warp = _align(start, picture, warp)
        warps.append(warp)
    # The mean pose becomes the identity, so that the canvas covers as much of the views as it can.
    poses = np.array([_pose(each, _SIDE).values() for each in warps])
    back = Pose(*np.median(poses, axis=0)).inverse()
    total = np.zeros_like(start)
    for picture, values in zip(pictures, poses, strict=True):
        matrix = Pose(*values).then(back).matrix(_SIDE)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        total += cv2.warpAffine(picture, matrix, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(total / len(pictures), np.float32)


def _align(template: _Picture, picture: _Picture, start: _Picture) -> _Picture:
    """Returns the 2x3 matrix from template to picture; the start, or the identity, when there is none."""
    best, score = start, -1.0
    for guess in (start, _identity()):
        try:
            found_score, found = cv2.findTransformECC(
                template, picture, guess.copy(), cv2.MOTION_EUCLIDEAN, _CRITERIA, _MASK, 1
            )
        except cv2.error:  # It did not converge.
            continue
        if np.isfinite(found).all() and np.abs(found[:, 2]).max() < _SIDE and found_score > score:
            best, score = np.asarray(found, np.float32), float(found_score)
        if score > _GOOD:
            break
    return best


_GOOD: Final = 0.7


def _pose(warp: _Picture, size: int) -> Pose:
    middle = np.full(2, (_SIDE - 1) / 2)
    shift = (warp[:, :2] @ middle + warp[:, 2] - middle) * (size / _SIDE)
    return Pose(float(shift[0]), float(shift[1]), float(np.arctan2(warp[1, 0], warp[0, 0])))


def _prepared(view: npt.NDArray[np.uint8]) -> _Picture:
    gray = cv2.resize(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), _BLUR), np.float32)


def _identity() -> _Picture:
    return np.eye(2, 3, dtype=np.float32)


def _mask() -> npt.NDArray[np.uint8]:
    """Returns the middle, where the subject is and the background is not: an ellipse, 255 inside."""
    across = (np.arange(_SIDE) + 0.5) / _SIDE - 0.5
    inside = (across[np.newaxis] / _MASK_AXES[0]) ** 2 + (across[:, np.newaxis] / _MASK_AXES[1]) ** 2 < 1
    return np.where(inside, np.uint8(255), np.uint8(0))


_MASK: Final = _mask()
