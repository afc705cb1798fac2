"""The scene: the plate behind a moving subject, and what of each view is subject."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.pose import Pose
from twin_training.recordings import Views

_MOST_SAMPLES: Final = 400
_DIFFERENT: Final = 36
_SLIGHTLY_DIFFERENT: Final = 14
_GUARD: Final = 9
_HALF: Final = 127
_OFTEN: Final = 0.25
_MOSTLY: Final = 0.1
_LEAST_FREE: Final = 0.04
_MARGIN: Final = 9
_INPAINTED: Final = 4
_CLOSING: Final = 7
_INSIDE: Final = 250
_RELIABLE: Final = 0.3
"""A pixel that is free in this share of the views has a median that can be trusted."""
_LEAST_SEEN: Final = 0.05
_MOST_GAIN: Final = 3.0
_SEAM: Final = 2.0
_ROWS_AT_ONCE: Final = 16

Masks = npt.NDArray[np.uint8]
"""One mask for each view, uint8 of shape (n, size, size), 0-255."""


def learn_plate(views: Views, poses: list[Pose], empty: Image | None = None) -> Image:
    """Returns the plate: what is behind the subject, uint8 RGB of shape (size, size, 3).

    Each pixel is the median of those views in which the subject is elsewhere; what it always hides is painted in from
    around it (Telea, "An image inpainting technique based on the fast marching method", 2004), or seen in a picture of
    the scene without it, brought to the light of the views.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        poses: Where the subject is in each.
        empty: The scene without the subject, uint8 RGB of shape (size, size, 3); None when it is not known.
    """
    every = max(1, len(views) // _MOST_SAMPLES)
    views, poses = views[::every], poses[::every]
    size = views.shape[1]
    usual = np.asarray(np.median(views, axis=0), np.uint8)
    if empty is not None:
        # A subject that hardly moves is part of what is usual; before the empty scene it stands out.
        usual = empty = _lit_alike(empty, usual, np.ones(usual.shape[:2], np.bool_))
    apart = _apart(warp_to_canvas(views, poses), warp_to_canvas(usual[np.newaxis], poses), _DIFFERENT)
    subject = _rows_filled((apart > _HALF).mean(0) > _OFTEN)
    subject = np.asarray(cv2.dilate(subject, np.ones((_MARGIN, _MARGIN), np.uint8)), np.uint8)
    hidden: Masks = np.empty(views.shape[:3], np.uint8)
    for mask, pose in zip(hidden, poses, strict=True):
        mask[:] = cv2.warpAffine(subject, pose.matrix(size), (size, size), borderMode=cv2.BORDER_REPLICATE)
    plate = _median_of_free(views, hidden)
    if empty is not None:
        return _filled_from(empty, plate, (hidden == 0).mean(0))
    unknown = np.where((hidden == 0).mean(0) < _LEAST_FREE, np.uint8(255), np.uint8(0))
    return np.asarray(cv2.inpaint(plate, unknown, _INPAINTED, cv2.INPAINT_TELEA), np.uint8)


def _median_of_free(views: Views, hidden: Masks) -> Image:
    """Returns the median of each pixel over the views that do not hide it, uint8 RGB of shape (size, size, 3).

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        hidden: Not 0 where the subject hides a pixel, uint8 of shape (n, size, size).
    """
    plate = np.empty_like(views[0])
    for top in range(0, len(plate), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        free = np.where(hidden[:, rows, :, np.newaxis] > 0, np.float32(np.nan), views[:, rows].astype(np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Pixels that are always hidden have no median.
            plate[rows] = np.nan_to_num(np.nanmedian(free, axis=0)).astype(np.uint8)
    return plate


def _filled_from(empty: Image, plate: Image, free: npt.NDArray[np.float64]) -> Image:
    """Returns the plate where the subject is elsewhere often enough, and the empty scene where it is not.

    Args:
        empty: The scene without the subject, uint8 RGB of shape (size, size, 3).
        plate: What was learned, of that shape.
        free: In which share of the views the subject does not hide each pixel, shape (size, size).
    """
    seen = free >= _RELIABLE
    scene = _lit_alike(empty, plate, seen) if seen.mean() >= _LEAST_SEEN else empty
    # A soft edge: what light does to both is not quite the same.
    weight = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), _SEAM) * seen
    mixed = plate * weight[..., np.newaxis] + scene * (1 - weight[..., np.newaxis])
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _lit_alike(image: Image, other: Image, where: npt.NDArray[np.bool_]) -> Image:
    """Returns an image brought to the light of another one, by what most of the pixels of a mask say."""
    gains = np.median(other[where].astype(np.float32) / np.maximum(image[where], 1), axis=0)
    gained = image * np.clip(gains, 1 / _MOST_GAIN, _MOST_GAIN)
    return np.clip(np.rint(gained), 0, 255).astype(np.uint8)


def warp_to_canvas(images: npt.NDArray[np.uint8], poses: list[Pose], *, continued: bool = True) -> Views:
    """Returns what of images lies under the canvas.

    Args:
        images: uint8 of shape (n, size, size, channels) or (n, size, size), or one image for all poses.
        poses: Where the subject is in each.
        continued: Whether what lies outside of an image is continued from its edges; else it is 0.
    """
    size = images.shape[1]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE if continued else cv2.BORDER_CONSTANT
    result = np.empty((len(poses), *images.shape[1:]), np.uint8)
    for index, pose in enumerate(poses):
        image = images[index if len(images) > 1 else 0]
        warped = np.asarray(cv2.warpAffine(image, pose.matrix(size), (size, size), flags=flags, borderMode=border))
        result[index] = warped.reshape(result.shape[1:])
    return result


def seen_parts(size: int, poses: list[Pose]) -> Masks:
    """Returns which part of the canvas each view shows: 255 where it does, 0 beyond its edges."""
    whole = np.full((1, size, size), 255, np.uint8)
    seen = warp_to_canvas(whole, poses, continued=False)
    return np.where(seen >= _INSIDE, np.uint8(255), np.uint8(0))


def subject_core(moved: Callable[[npt.NDArray[np.int64]], tuple[Views, Views]], count: int) -> npt.NDArray[np.bool_]:
    """Returns where the subject is now and then in the whole recording, bool of shape (size, size).

    Args:
        moved: Gives what some rows of the views, and of the plate, show under the canvas.
        count: How many views there are.
    """
    every = max(1, count // _MOST_SAMPLES)
    apart = _apart(*moved(np.arange(0, count, every)), _SLIGHTLY_DIFFERENT) > _HALF
    return np.asarray(apart.mean(0) > _MOSTLY)


def coverage(canvases: Views, plates: Views, core: npt.NDArray[np.bool_]) -> Masks:
    """Returns the coverage that the generator is to learn: 255 where the subject is, 0 where the plate shows.

    A pixel is the subject's where it differs from the plate, where such pixels enclose it, where it differs now and
    then in the whole recording, and close to all these: a wide coverage draws a little of the background itself, a
    narrow one cuts the subject off.

    Args:
        canvases: Views under the canvas, uint8 RGB of shape (n, size, size, 3).
        plates: The plate under the canvas of each, of the same shape.
        core: Where it differs now and then, see `subject_core`.
    """
    apart = _apart(canvases, plates, _SLIGHTLY_DIFFERENT) > _HALF
    guard = np.ones((_GUARD, _GUARD), np.uint8)
    return np.stack([cv2.GaussianBlur(cv2.dilate(_filled(mask | core), guard), (0, 0), 1.0) for mask in apart])


def _apart(canvases: Views, plates: Views, least: int) -> Masks:
    """Returns how surely each pixel is not the plate's, uint8 of shape (n, size, size)."""
    apart = np.empty(canvases.shape[:3], np.uint8)
    for index, (canvas, plate) in enumerate(zip(canvases, plates, strict=True)):
        difference = cv2.absdiff(canvas, plate).max(-1)
        apart[index] = cv2.GaussianBlur((difference > least).astype(np.uint8) * 255, (0, 0), 1.0)
    return apart


def _rows_filled(mask: npt.NDArray[np.bool_]) -> Image:
    """Returns a mask in which every row is filled from its first to its last pixel, 0 or 255."""
    after_first = np.maximum.accumulate(mask, axis=1)
    before_last = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    return np.where(after_first & before_last, np.uint8(255), np.uint8(0))


def _filled(mask: npt.NDArray[np.bool_]) -> Image:
    """Returns a mask without small gaps and holes, 0 or 255."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSING, _CLOSING))
    closed = cv2.morphologyEx(mask.astype(np.uint8) * 255, cv2.MORPH_CLOSE, kernel)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, (255,), cv2.FILLED), np.uint8)
