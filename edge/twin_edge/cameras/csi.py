"""A ribbon-cable (CSI) camera of a Raspberry Pi, through libcamera's picamera2."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

from twin_edge.cameras.base import Frame
from twin_edge.cameras.opencv import as_frame
from twin_edge.errors import CameraError, CameraOpenError, CameraTimeoutError

_LOGGER = logging.getLogger(__name__)
_SIZE = (640, 480)
_FPS = 30.0
# More buffers exhaust the Pi's contiguous memory, most of all when a camera is opened again (picamera2 issue 972).
_BUFFERS = 4


class CsiCamera:
    """A CSI camera: 640x480 at 30 frames per second.

    Args:
        number: Which one, 0 for the first.
    """

    live = True

    def __init__(self, number: int = 0) -> None:
        self.uri = f"csi:{number}"
        self.fps: float | None = _FPS
        self._number = number
        self._device: Any = None
        self._index = 0

    def open(self) -> None:
        """Starts the camera; see `Camera.open`."""
        self.close()
        try:
            module = importlib.import_module("picamera2")
        except ImportError as error:
            raise CameraOpenError(
                f"{self.uri} needs picamera2, which cannot be imported ({error})",
                fix="install it with 'sudo apt install python3-picamera2' and make the virtual environment with "
                "'python3 -m venv --system-site-packages', pip does not have it",
            ) from error
        try:
            found = module.Picamera2.global_camera_info()
        except Exception as error:
            raise CameraOpenError(f"libcamera does not work ({error})", fix="try 'rpicam-hello --list'") from error
        if self._number >= len(found):
            raise CameraOpenError(
                f"there is no {self.uri}, libcamera finds {len(found)} cameras",
                fix="check the ribbon cable with 'rpicam-hello --list-cameras'",
            )
        try:
            self._device = module.Picamera2(self._number)
            self._device.configure(
                self._device.create_video_configuration(
                    # picamera2's RGB888 lies in memory as blue, green, red: OpenCV's order.
                    main={"size": _SIZE, "format": "RGB888"},
                    buffer_count=_BUFFERS,
                    controls={"FrameRate": _FPS},
                )
            )
            self._device.start()
        except Exception as error:
            self.close()
            raise CameraOpenError(
                f"{self.uri} cannot be started ({error})", fix="close other programs that use it, or restart the Pi"
            ) from error
        self._index = 0

    def read(self, timeout_s: float) -> Frame:
        """Waits for the next frame; see `Camera.read`."""
        if self._device is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        try:
            image = self._device.capture_array("main", wait=timeout_s)
        except TimeoutError as error:
            raise CameraTimeoutError(
                f"no frame from {self.uri} for {timeout_s:g} s", fix="check the ribbon cable"
            ) from error
        except Exception as error:
            raise CameraError(f"{self.uri} broke ({error})", fix="check the ribbon cable") from error
        frame = Frame(as_frame(image, self.uri), time.time_ns() // 1000, self._index)
        self._index += 1
        return frame

    def lock_exposure(self) -> bool:
        """Holds exposure and white balance as they are now until the camera is closed.

        Returns:
            Whether libcamera took it.
        """
        if self._device is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        try:
            now = self._device.capture_metadata()
            held = {key: now[key] for key in ("ExposureTime", "AnalogueGain", "ColourGains") if key in now}
            self._device.set_controls({"AeEnable": False, "AwbEnable": False, **held})
        except Exception as error:  # noqa: BLE001 - whatever libcamera says, filming goes on without
            _LOGGER.warning("the exposure of %s cannot be held: %s", self.uri, error)
            return False
        return "ExposureTime" in held

    def close(self) -> None:
        """Stops the camera; see `Camera.close`."""
        device, self._device = self._device, None
        if device is None:
            return
        try:
            device.stop()
            device.close()
        except Exception as error:  # noqa: BLE001 - a camera that broke may refuse to be closed, and is gone anyhow
            _LOGGER.warning("closing %s failed: %s", self.uri, error)
