"""A V4L2 device (USB camera, capture card) as a camera."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2

from twin_edge.cameras.base import Frame
from twin_edge.cameras.opencv import grab, open_video, stated_fps
from twin_edge.errors import CameraError, CameraOpenError, CameraTimeoutError

_SYS = Path("/sys/class/video4linux")
# How the kernel names the devices behind a Raspberry Pi's CSI connector.
_CSI_NAMES = ("unicam", "rp1-cfe", "bcm2835-isp", "bcm2835-codec", "pispbe", "rpi-hevc-dec", "rpivid")

_AUTOMATIC = (cv2.CAP_PROP_AUTO_EXPOSURE, cv2.CAP_PROP_AUTO_WB)
_V4L2_MANUAL = 1.0
"""`V4L2_EXPOSURE_MANUAL`."""


class DeviceCamera:
    """A V4L2 device.

    Args:
        device: Number, or path under ``/dev``. Paths under ``/dev/v4l/by-id`` stay the same when a camera is plugged
            in again, numbers do not.
    """

    live = True

    def __init__(self, device: int | str) -> None:
        self._path = Path(f"/dev/video{device}") if isinstance(device, int) else Path(device)
        self.uri = str(self._path)
        self.fps: float | None = None
        self._video: cv2.VideoCapture | None = None
        self._automatic: dict[int, float] = {}
        self._index = 0

    def open(self) -> None:
        """Opens the device; see `Camera.open`."""
        self.close()
        if not self._path.exists():
            raise CameraOpenError(f"there is no camera at {self._path}", fix=_what_there_is())
        if not os.access(self._path, os.R_OK | os.W_OK):
            raise CameraOpenError(f"{self._path} may not be opened", fix="add the user to the group video")
        # Resolved at every opening: behind a by-id link there may be another number now.
        video = open_video(str(self._path.resolve()), cv2.CAP_V4L2)
        if video is None:
            raise CameraOpenError(f"{self._path} is not a camera that can be read", fix=_hint(self._path))
        video.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # Frames that wait in the driver are old frames.
        self._video = video
        self.fps = stated_fps(video)
        self._index = 0

    def read(self, timeout_s: float) -> Frame:
        """Waits for the next frame; see `Camera.read`."""
        if self._video is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        started_s = time.monotonic()
        image = grab(self._video, self.uri)
        if image is None:
            if not self._path.exists():
                raise CameraError(f"{self.uri} was unplugged", fix="plug it in again")
            if time.monotonic() - started_s >= timeout_s:
                raise CameraTimeoutError(f"no frame from {self.uri} for {timeout_s:g} s", fix=_hint(self._path))
            raise CameraError(f"{self.uri} gives no frames", fix=_hint(self._path))
        frame = Frame(image, time.time_ns() // 1000, self._index)
        self._index += 1
        return frame

    def lock_exposure(self) -> bool:
        """Holds exposure and white balance as they are now until the device is closed.

        Returns:
            Whether the driver took the exposure; not every camera has a white balance to hold.
        """
        video = self._video
        if video is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        self._automatic = {key: video.get(key) for key in _AUTOMATIC}
        exposure, white = video.get(cv2.CAP_PROP_EXPOSURE), video.get(cv2.CAP_PROP_WB_TEMPERATURE)
        # Some drivers lose the value when they are told to leave it alone.
        held = video.set(cv2.CAP_PROP_AUTO_EXPOSURE, _V4L2_MANUAL) and video.set(cv2.CAP_PROP_EXPOSURE, exposure)
        if video.set(cv2.CAP_PROP_AUTO_WB, 0):
            video.set(cv2.CAP_PROP_WB_TEMPERATURE, white)
        return bool(held)

    def close(self) -> None:
        """Closes the device; see `Camera.close`."""
        if self._video is not None:
            # A V4L2 device keeps what it was told, for whoever opens it next.
            for key, value in self._automatic.items():
                self._video.set(key, value)
            self._video.release()
        self._automatic = {}
        self._video = None


def _what_there_is() -> str:
    """Advice for a device that is not there: those that are."""
    by_id = sorted(Path("/dev/v4l/by-id").glob("*index0"))
    found = by_id or sorted(Path("/dev").glob("video[0-9]*"))
    if found:
        return f"use one of {', '.join(str(path) for path in found[:4])}, or csi:0 for a ribbon-cable camera"
    return "plug a camera in, use csi:0 for a ribbon-cable camera, or try rig: without one"


def _hint(path: Path) -> str:
    """Advice for a device that is there and does not work."""
    try:
        name = (_SYS / path.resolve().name / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = ""
    if name.startswith(_CSI_NAMES):
        return f"it belongs to a ribbon-cable camera ({name}), use csi:0"
    return "close other programs that use it, or try csi:0 if it is a ribbon-cable camera"
