"""A network stream (RTSP, MJPEG over HTTP) as a camera."""

from __future__ import annotations

import re
import socket
import time
from urllib.parse import urlsplit

import cv2

from twin_edge.cameras.base import Frame
from twin_edge.cameras.opencv import grab, open_video, stated_fps
from twin_edge.errors import CameraError, CameraOpenError, CameraTimeoutError, ConfigError

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
SCHEMES = tuple(_PORTS)
_OPEN_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 5.0
"""FFmpeg takes both when a stream is opened, so that the deadline of a single read cannot be shorter."""
_SECRET = re.compile(
    r"(?i)((?:^|[?&;])[^=&;]*(?:pass|pwd|pw|user|login|token|key|secret|auth|sig|credential)[^=&;]*=)[^&;#]*"
)
_MAX_URL = 2000


def redact(url: str) -> str:
    """A URL without credentials, to be shown and logged: no user, no password, no secret query values.

    What is unclear goes as well: all up to the last ``@`` is left out, wherever that is.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    rest = rest.rpartition("@")[2]
    place, question, query = rest.partition("?")
    if question:
        query = _SECRET.sub(r"\1***", query)
    return f"{scheme}{separator}{place}{question}{query}"


class StreamCamera:
    """A network stream, read through OpenCV's FFmpeg.

    Args:
        url: ``rtsp://``, ``rtsps://``, ``http://`` or ``https://`` URL, credentials and all.

    Raises:
        ConfigError: The URL cannot be one.
    """

    live = True

    def __init__(self, url: str) -> None:
        self.uri = redact(url)
        self.fps: float | None = None
        self._url = url
        self._video: cv2.VideoCapture | None = None
        self._index = 0
        try:
            parts = urlsplit(url)
            sound = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = False
        # Control characters would end up in a request; urlsplit drops some of them silently.
        if not sound or len(url) > _MAX_URL or not url.isprintable() or " " in url:
            raise ConfigError(
                "the URL of the camera stream is malformed",
                fix="give rtsp://HOST:PORT/PATH, and write special characters of a password as %XX",
            )

    def open(self) -> None:
        """Connects, for at most 10 seconds; see `Camera.open`."""
        self.close()
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(_OPEN_TIMEOUT_S * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(_READ_TIMEOUT_S * 1000),
        ]
        started_s = time.monotonic()
        # The timeouts work with an explicit FFmpeg backend only.
        video = open_video(self._url, cv2.CAP_FFMPEG, parameters)
        if video is None:
            raise self._open_error(time.monotonic() - started_s)
        self._video = video
        self.fps = stated_fps(video)
        self._index = 0

    def _open_error(self, waited_s: float) -> CameraOpenError:
        """Finds out what FFmpeg does not tell: whether anybody is there at all."""
        parts = urlsplit(self._url)
        try:
            address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
            socket.create_connection(address, timeout=max(1.0, _OPEN_TIMEOUT_S - waited_s)).close()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return CameraOpenError(f"{self.uri} cannot be reached ({reason})", fix="check the address and the network")
        if waited_s >= _OPEN_TIMEOUT_S:
            return CameraOpenError(
                f"{self.uri} sent no video within {_OPEN_TIMEOUT_S:g} s", fix="check the camera with a player"
            )
        return CameraOpenError(f"there is no video stream at {self.uri}", fix="check its path, user and password")

    def read(self, timeout_s: float) -> Frame:
        """Waits for the next frame; see `Camera.read`."""
        if self._video is None:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        started_s = time.monotonic()
        image = grab(self._video, self.uri)
        if image is None:
            waited_s = time.monotonic() - started_s
            if waited_s >= min(timeout_s, _READ_TIMEOUT_S):
                raise CameraTimeoutError(f"no frame from {self.uri} for {waited_s:.1f} s", fix="check the network")
            raise CameraError(f"{self.uri} broke off", fix="check the camera and the network")
        frame = Frame(image, time.time_ns() // 1000, self._index)
        self._index += 1
        return frame

    def close(self) -> None:
        """Disconnects; see `Camera.close`."""
        if self._video is not None:
            self._video.release()
        self._video = None
