"""What the cameras that read through OpenCV share: quiet logs, and frames that keep to the contract."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import cv2
import numpy as np

from twin_edge.errors import CameraError
from twin_edge.images import Image

MAX_SIDE = 8192
"""Largest width and height of a frame, pixels."""
MAX_FPS = 1000.0


@cache
def hush() -> None:
    """Keeps OpenCV's and FFmpeg's own chatter off stderr; a user gets one line from us instead. Set values win."""
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.setLogLevel(0)
    # FFmpeg's level is read once, when OpenCV first loads it; -8 is its "quiet".
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def open_video(source: str | int, backend: int, parameters: list[int] | None = None) -> cv2.VideoCapture | None:
    """Opens an OpenCV source.

    Args:
        source: Path, URL or device number.
        backend: `cv2.CAP_*`.
        parameters: Pairs of `cv2.CAP_PROP_*` and value.

    Returns:
        The open source; None when there is nothing to open.
    """
    hush()
    try:
        video = cv2.VideoCapture(source, backend, parameters or [])
    except cv2.error:
        return None
    if video.isOpened():
        return video
    video.release()
    return None


def grab(video: cv2.VideoCapture, name: str) -> Image | None:
    """Reads a frame.

    Args:
        video: An open source.
        name: What to call it in errors.

    Returns:
        uint8 BGR of shape (height, width, 3), owned by the caller; None when none came.

    Raises:
        CameraError: The frame cannot be used, or OpenCV broke.
    """
    try:
        arrived, image = video.read()
    except cv2.error as error:
        raise CameraError(f"reading {name} failed in OpenCV", fix="check the source with another player") from error
    return as_frame(image, name) if arrived and image is not None else None


def as_frame(image: Any, name: str) -> Image:
    """Makes what a source delivers a frame: BGR, three channels, 8 bits, of bounded size.

    Args:
        image: Array of shape (height, width), or (height, width, channels) with 1, 3 or 4 channels.
        name: What to call the source in errors.

    Raises:
        CameraError: It is none of these.
    """
    array = np.asarray(image)
    channels = array.shape[2] if array.ndim == 3 else 1  # noqa: PLR2004 - height, width, channels
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise CameraError(
            f"{name} delivers frames of {array.dtype} {array.shape}", fix="use 8-bit gray or color frames"
        )
    height, width = array.shape[:2]
    if height > MAX_SIDE or width > MAX_SIDE:
        raise CameraError(
            f"{name} delivers frames of {width}x{height} pixels", fix=f"keep each side within {MAX_SIDE} pixels"
        )
    if channels == 1:
        return np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2BGR), np.uint8)
    if channels == 4:  # noqa: PLR2004 - blue, green, red, alpha
        return np.asarray(cv2.cvtColor(array, cv2.COLOR_BGRA2BGR), np.uint8)
    return array


def stated_fps(video: cv2.VideoCapture) -> float | None:
    """Frames per second that a source states, when that can be true."""
    fps = video.get(cv2.CAP_PROP_FPS)
    return float(fps) if 0.0 < fps <= MAX_FPS else None
