"""A video file as a camera."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import cv2

from twin_edge.cameras.base import Frame
from twin_edge.cameras.folder import IMAGE_SUFFIXES
from twin_edge.cameras.opencv import grab, open_video, stated_fps
from twin_edge.cameras.pacing import DEFAULT_FPS
from twin_edge.errors import CameraEndedError, CameraError, CameraOpenError
from twin_edge.images import Image

_LOGGER = logging.getLogger(__name__)
_COMPLETE_SHARE = 0.9
"""Files often state a length that is a little off; less than this share of it means that the file is broken."""
_INSTEAD = "give a video, images:FOLDER for a folder of images, or a camera"


class VideoCamera:
    """A video file, turned as its metadata says; frame times are those of reading, as with a device.

    `Frame.source_s` is when a frame is shown, which is not its number divided by the rate where the rate varies.

    Args:
        path: The file.
        loop: Start again at its end, for ever.

    Attributes:
        rotation: Degrees by which its metadata say that it is turned, clockwise; known when it is open.
    """

    live = False

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        self.uri = f"file:{path}" + ("?loop=1" if loop else "")
        self.fps: float | None = None
        self.rotation = 0
        self._path = path
        self._loop = loop
        self._video: cv2.VideoCapture | None = None
        self._first: Image | None = None
        self._in_pass = 0
        self._index = 0
        self._began_s = 0.0
        self._first_s = 0.0
        self._reached_s = 0.0
        self._step_s = 0.0
        self._source_s = 0.0

    def open(self) -> None:
        """Opens the file and decodes its first frame; see `Camera.open`."""
        self.close()
        self._index = 0
        self._began_s = 0.0
        self._rewind()

    def _rewind(self) -> None:
        """Opens the file at its start."""
        if not self._path.exists():
            raise CameraOpenError(f"there is no file {self._path}", fix="check the path of the video")
        if not self._path.is_file():
            raise CameraOpenError(f"{self._path} is not a file", fix="for a folder of images use images:DIR")
        if not self._path.stat().st_size:
            raise CameraOpenError(f"{self._path} is empty", fix="record or copy the video again")
        if self._path.suffix.lower() in IMAGE_SUFFIXES:
            raise CameraOpenError(f"{self._path} is a single image, not a video", fix=_INSTEAD)
        video, first = self._first_frame()
        # FFmpeg takes an image of any name for a video. The second frame is looked for in another pass: the times of
        # frames are read off the file as it stands.
        if not self._index and video.get(cv2.CAP_PROP_FRAME_COUNT) <= 1:
            second = grab(video, str(self._path))
            video.release()
            if second is None:
                raise CameraOpenError(f"{self._path} has a single frame: it is an image, not a video", fix=_INSTEAD)
            video, first = self._first_frame()
        self._video, self._first, self._in_pass = video, first, 0
        self.fps = stated_fps(video)
        self.rotation = int(video.get(cv2.CAP_PROP_ORIENTATION_META)) % 360

    def _first_frame(self) -> tuple[cv2.VideoCapture, Image]:
        """Opens the file anew and decodes its first frame."""
        # By absolute path: a name such as "a:b.mp4" would be taken for a protocol.
        video = open_video(str(self._path.resolve()), _file_backend())
        if video is None:
            raise CameraOpenError(f"{self._path} is not a video that OpenCV can read", fix="convert it to H.264 MP4")
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # Off in some releases.
        first = grab(video, str(self._path))
        if first is None:
            video.release()
            raise CameraOpenError(f"{self._path} has no frame that can be decoded", fix="record or copy it again")
        return video, first

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - a file never keeps anyone waiting
        """Decodes the next frame; see `Camera.read`."""
        if self._video is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        image = self._next(self._video)
        if image is None:
            self._check_complete(self._video)
            if not self._loop:
                raise CameraEndedError(f"{self._path} has ended", fix="add ?loop=1 to play it for ever")
            self.close()
            self._began_s = self._source_s + 1 / (self.fps or DEFAULT_FPS)
            self._rewind()
            image = self._next(self._video)
            if image is None:
                raise CameraError(f"{self._path} has no frames any more", fix="record or copy it again")
        self._source_s = self._time_of(self._video)
        frame = Frame(image, time.time_ns() // 1000, self._index, source_s=self._source_s)
        self._index += 1
        self._in_pass += 1
        return frame

    def _next(self, video: cv2.VideoCapture) -> Image | None:
        if self._first is not None:
            image, self._first = self._first, None
            return image
        return grab(video, str(self._path))

    def _time_of(self, video: cv2.VideoCapture) -> float:
        """When the frame just decoded is shown, seconds; counted on where the file does not say."""
        before_s, self._reached_s = self._reached_s, _stated_s(video)
        self._step_s = max(0.0, self._reached_s - before_s) if self._in_pass else 0.0
        if self._in_pass == 0:
            self._first_s = self._reached_s
            return self._began_s
        stated_s = self._began_s + self._reached_s - self._first_s
        return stated_s if stated_s > self._source_s else self._source_s + 1 / (self.fps or DEFAULT_FPS)

    def _check_complete(self, video: cv2.VideoCapture) -> None:
        """Tells the end of a file from a place where it breaks off.

        Raises:
            CameraError: It breaks off.
        """
        stated = video.get(cv2.CAP_PROP_FRAME_COUNT)
        if self.fps is None or stated <= 0 or self._in_pass >= _COMPLETE_SHARE * stated:
            return
        # The count is a guess for some containers and wrong at a varying frame rate; the time is not.
        # Behind the last frame OpenCV gives another one in some containers, so the last frame's own is remembered; it
        # lasts about as long as the one before.
        reached_s, length_s = max(_stated_s(video), self._reached_s + self._step_s), stated / self.fps
        if reached_s < _COMPLETE_SHARE * length_s:
            raise CameraError(
                f"{self._path} breaks off after {self._in_pass} of about {stated:.0f} frames",
                fix="record or copy it again",
            )

    def close(self) -> None:
        """Closes the file; see `Camera.close`."""
        if self._video is not None:
            self._video.release()
        self._video = self._first = None


def _stated_s(video: cv2.VideoCapture) -> float:
    stated_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    # A time that FFmpeg does not know is its smallest number.
    return stated_s if math.isfinite(stated_s) and stated_s >= 0.0 else 0.0


def _file_backend() -> int:
    """FFmpeg where OpenCV has it (the wheels do): others would take some file names for patterns."""
    return int(cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends() else cv2.CAP_ANY)
