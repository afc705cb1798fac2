"""A recording for people: a picture of one time, or a film."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from twin_edge.errors import ConfigError
from twin_edge.files import replacing, write_atomic, writing
from twin_edge.images import Image
from twin_edge.pictures import encode_png
from twin_edge.recording.span import Span
from twin_edge.sync.view.update import TwinUpdate

MIN_FPS: Final = 1.0
MAX_FPS: Final = 60.0
_GUESSED_BY: Final = 256
"""States that the usual rate is taken from."""
_LONGEST_STILL_S: Final = 5.0


def save_png(update: TwinUpdate, path: Path) -> None:
    """Writes the rendering of a state as a picture.

    Raises:
        BundleError: Its bundle does not run here.
        TwinEdgeError: It could not be written.
    """
    write_atomic(path, encode_png(update.rendering), durable=False)


def save_mp4(span: Span, path: Path, fps: float | None = None) -> int:
    """Writes a film that runs as fast as the twin did.

    Where no state came, the last picture stands still, for 5 s at most.

    Args:
        span: What it shows.
        path: Where to.
        fps: Pictures a second, 1-60; the rate of the states when None.

    Returns:
        Number of pictures.

    Raises:
        ConfigError: There is nothing to show, or OpenCV cannot write MP4.
        BundleError: A bundle does not run here.
        RecordingError: The recording is damaged.
        TwinEdgeError: It could not be written.
    """
    with replacing(path, suffix=".mp4") as temporary, writing(path):
        film = _Film(temporary, fps or _usual_rate(span))
        try:
            for update in span.updates():
                film.add(update)
        finally:
            film.close()
        if not film.pictures:
            raise ConfigError("there is no state in that time", fix="'twin-edge replay FILE' shows what there is")
    return film.pictures


class _Film:
    """Pictures at an even rate, of states that come when they come."""

    def __init__(self, path: Path, fps: float) -> None:
        self.pictures = 0
        self._path = path
        self._fps = fps
        self._file: Any = None
        self._size = (0, 0)
        self._shown: TwinUpdate | None = None
        self._picture: Image | None = None
        self._begin_us = 0.0

    def add(self, update: TwinUpdate) -> None:
        """Goes on to the time of a state; only states are rendered that are in a picture."""
        if self._shown is None:
            self._begin_us = update.time_us
        else:
            # What is longer is left out: a night without a device makes no night of film.
            still_us = (update.time_us - self._shown.time_us) - _LONGEST_STILL_S * 1e6
            self._begin_us += max(0.0, still_us)
            due = math.ceil((update.time_us - self._begin_us) * self._fps / 1e6 - 1e-6)
            for _ in range(self.pictures, due):
                self._write()
        self._shown, self._picture = update, None

    def close(self) -> None:
        """Writes the last picture."""
        if self._shown is not None:
            self._write()
            self._file.release()

    def _write(self) -> None:
        if self._picture is None and self._shown is not None:
            picture = cv2.cvtColor(self._shown.rendering, cv2.COLOR_RGB2BGR)
            if self._file is None:
                self._open(picture.shape[1], picture.shape[0])
            if picture.shape[1::-1] != self._size:
                picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
            self._picture = np.asarray(picture, np.uint8)
        self._file.write(self._picture)
        self.pictures += 1

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._file = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not self._file.isOpened():
            raise ConfigError("this OpenCV cannot write MP4", fix="write single pictures instead, with --at and --save")


def _usual_rate(span: Span) -> float:
    times = [update.time_us for update in itertools.islice(span.updates(), _GUESSED_BY)]
    spacing_us = statistics.median(b - a for a, b in itertools.pairwise(times)) if len(times) > 1 else 0
    return min(max(1e6 / spacing_us, MIN_FPS), MAX_FPS) if spacing_us > 0 else MIN_FPS
