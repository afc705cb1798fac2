"""A first look at a subject: a pass over it that keeps a few hundred small frames, spread over all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.cameras import VideoCamera, open_camera
from twin_edge.errors import CameraEndedError, TrainingError
from twin_edge.images import Image
from twin_edge.wording import counted
from twin_training.framing import shrink_frame
from twin_training.splits import LEAST_FRAMES

_MOST: Final = 200
_SMALL_SIDE: Final = 192
_MOST_DETAILED: Final = 16
_DETAILED_SIDE: Final = 1024
_LEAST: Final = 8
_READ_TIMEOUT_S: Final = 10.0
_REPORT_EVERY: Final = 32

Report = Callable[[int, int | None], None]
"""Called with the frames read so far and how many there will be, None when unknown."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a pass over a subject found."""

    frames: npt.NDArray[np.uint8]
    """Small frames spread over it, uint8 BGR of shape (n, rows, columns, 3)."""
    sample: Image
    """One of its frames as recorded, from about its middle, uint8 BGR."""
    count: int
    """Frames that it has, or that were read."""
    seconds: float
    """From its first frame to its last, by its own clock."""
    stated_fps: float | None
    """Frames per second that it states."""
    rotation: int
    """Degrees by which its metadata say that it is turned; frames are turned already."""
    details: tuple[Image, ...] = ()
    """A few of its frames, of at most 1024 pixels a side, spread over it, uint8 BGR."""
    mixed: bool = False
    """Whether its frames are of different sizes; then only those as large as the first one were kept."""

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of a frame."""
        return self.sample.shape[0], self.sample.shape[1]

    @property
    def fps(self) -> float:
        """Frames per second that it really has; 0 when it has one frame."""
        return (self.count - 1) / self.seconds if self.seconds > 0 else 0.0


def survey(subject: str, most_s: float, report: Report = lambda _done, _total: None) -> Survey:
    """Passes over a subject that waits: a video, a folder of images, a rig.

    Args:
        subject: Its camera URI.
        most_s: Where a subject without an end is taken to end, seconds of its own time.
        report: Told about progress.

    Raises:
        CameraError: It cannot be read.
        TrainingError: It has too few frames.
    """
    camera = open_camera(subject)
    kept, details = _Spread(_MOST, _SMALL_SIDE), _Spread(_MOST_DETAILED, _DETAILED_SIDE)
    sample: Image | None = None
    count, mixed = 0, False
    times: list[float] = []
    endless = has_no_end(camera.uri)
    try:
        camera.open()
        while True:
            frame = camera.read(_READ_TIMEOUT_S)
            time_s = frame.time_us / 1e6 if frame.source_s is None else frame.source_s
            times = [times[0] if times else time_s, time_s]
            if (endless or camera.live) and time_s - times[0] >= most_s:
                break
            details.offer(frame.image, count)
            mixed = not kept.offer(frame.image, count) or mixed
            if not mixed and count & (count - 1) == 0:  # The last power of two lies in the second half.
                sample = frame.image
            count += 1
            if count % _REPORT_EVERY == 0:
                report(count, None)
    except CameraEndedError:
        pass
    finally:
        rotation = camera.rotation if isinstance(camera, VideoCamera) else 0
        fps = camera.fps
        camera.close()
    if sample is None or len(kept.frames) < _LEAST:
        raise TrainingError(
            f"{subject} has {counted(count, 'frame')}",
            fix=f"give a video, a folder of images or a camera, with at least {LEAST_FRAMES} frames; a minute of the "
            "subject doing all that it does is better",
        )
    rows = np.unique(np.linspace(0, len(kept.frames) - 1, min(len(kept.frames), _MOST)).round().astype(int))
    frames = np.stack([kept.frames[row] for row in rows])
    return Survey(frames, sample, count, times[1] - times[0], fps, rotation, tuple(details.frames), mixed)


class _Spread:
    """Frames spread over a recording of any length: when twice the most have gathered, every second one is dropped.

    Args:
        most: How many there are to be at least, if there are so many.
        side: Pixels that the longer side of a frame may have; larger ones are shrunk.

    Attributes:
        frames: What was kept, of one size.
    """

    def __init__(self, most: int, side: int) -> None:
        self.frames: list[Image] = []
        self._most, self._side, self._stride = most, side, 1

    def offer(self, frame: Image, number: int) -> bool:
        """Keeps a frame if its turn has come; returns False for one of another size than the first."""
        if number % self._stride:
            return True
        small = shrink_frame(frame, self._side)
        if self.frames and small.shape != self.frames[0].shape:
            return False
        self.frames.append(small)
        if len(self.frames) >= 2 * self._most:
            self.frames, self._stride = self.frames[::2], self._stride * 2
        return True


def has_no_end(uri: str) -> bool:
    """Whether a source that waits goes on for ever: a rig, or a file that begins again."""
    return uri.startswith("rig:") or "loop=1" in uri.rpartition("?")[2]
