"""A camera whose exposure is held as soon as it has settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from twin_edge.cameras.base import Camera, Frame

_SETTLING_S: Final = 2.0
"""How long automatic exposure is given to find its values."""


@runtime_checkable
class HasExposure(Protocol):
    """A camera that can hold its exposure."""

    def lock_exposure(self) -> bool:
        """Holds exposure and white balance as they are now until the camera is closed.

        Returns:
            Whether the driver took it.
        """


class HeldExposure:
    """A camera that holds its exposure after the first seconds of each opening.

    Args:
        camera: The camera.
        notice: Told, once, whether exposure is held; from the thread that reads.
        settling_s: How long automatic exposure goes on first, seconds; frames of that time are not delivered.
    """

    def __init__(self, camera: Camera, notice: Callable[[str], None], settling_s: float = _SETTLING_S) -> None:
        self.uri, self.live = camera.uri, camera.live
        self._camera = camera
        self._notice = notice
        self._settling_s = settling_s
        self._told = False

    @property
    def fps(self) -> float | None:
        """See `Camera`."""
        return self._camera.fps

    @fps.setter
    def fps(self, value: float | None) -> None:
        self._camera.fps = value

    def open(self) -> None:
        """Opens the camera and holds its exposure when it has settled; see `Camera.open`."""
        self._camera.open()
        if not isinstance(self._camera, HasExposure):
            self._tell(f"exposure cannot be held: {self.uri} has none that can be set")
            return
        until_s = time.monotonic() + self._settling_s
        while time.monotonic() < until_s:
            self._camera.read(self._settling_s)
        held = self._camera.lock_exposure()
        self._tell(
            "exposure and white balance are held"
            if held
            else f"exposure cannot be held: the driver of {self.uri} does not take it"
        )

    def read(self, timeout_s: float) -> Frame:
        """Reads the next frame; see `Camera.read`."""
        return self._camera.read(timeout_s)

    def close(self) -> None:
        """Closes the camera, which gives its exposure back; see `Camera.close`."""
        self._camera.close()

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._notice(text)
