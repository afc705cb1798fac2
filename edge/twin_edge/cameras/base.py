"""What every camera is: something that is opened, read frame by frame, and closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from twin_edge.images import Image

Truth = Mapping[str, float | str]
"""What a simulated subject knows about itself at the time of a frame: name to value."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A camera image as captured."""

    image: Image
    """uint8 BGR of shape (height, width, 3), 0-255; owned by the reader of the frame."""
    time_us: int
    """Capture time, microseconds since the epoch."""
    index: int
    """Position in the source, from 0, counting frames that were dropped as well."""
    truth: Truth = field(default_factory=dict)
    """Known truth, from the rig only."""
    source_s: float | None = None
    """When it is by the source's own clock, seconds from its start, growing; None for a live camera."""


class Camera(Protocol):
    """A source of frames. Not thread-safe: one thread opens, reads and closes it.

    Attributes:
        uri: The URI it was made from, without credentials.
        fps: Frames per second that the source means to deliver; None when it does not say.
        live: True when frames come at their own pace and are lost if nobody reads (a device, a stream);
            False when the source waits (a file, a folder, the rig), so that it may be read as fast as possible.
    """

    uri: str
    fps: float | None
    live: bool

    def open(self) -> None:
        """Opens the source.

        Raises:
            CameraOpenError: There is nothing to open, or it is not a camera.
        """

    def read(self, timeout_s: float) -> Frame:
        """Reads the next frame, waiting for it at most `timeout_s` seconds.

        Raises:
            CameraTimeoutError: No frame came in time.
            CameraEndedError: A finite source has no more frames.
            CameraError: The source broke.
        """

    def close(self) -> None:
        """Closes the source; may be called more than once, and before `open`."""
