"""From a camera to a video, with the times that the frames really had."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable
from typing import Final

import cv2

from twin_edge.cameras import Camera, Capture, CaptureConfig, Frame, open_camera
from twin_edge.cameras.pacing import DEFAULT_FPS
from twin_edge.errors import CameraEndedError, CameraError, TwinEdgeError
from twin_edge.files import writing
from twin_edge.filming.config import FilmConfig, FilmStats
from twin_edge.filming.exposure import HeldExposure
from twin_edge.filming.matroska import MatroskaWriter
from twin_edge.filming.preview import write_preview

_WAIT_S: Final = 0.2
_STATS_EVERY_S: Final = 1.0
_PREVIEW_EVERY_S: Final = 3.0
_DISK_EVERY_S: Final = 2.0
_GIVE_UP_S: Final = 60.0
"""How long a live camera may be away before what there is of the video is all there will be."""
_OLDEST_S: Final = 1.0
_EARLY_S: Final = 0.02
_EARLY_SHARE: Final = 0.25
"""Cameras are not clocks: a frame may come early by this much and still be taken."""
RESERVE_BYTES: Final = 200_000_000
"""What is left free on the disk."""
_ENOUGH_S: Final = 3.0
"""After this long the size of the whole video can be told."""


def film(
    config: FilmConfig,
    *,
    stop: threading.Event,
    on_stats: Callable[[FilmStats], None] = lambda _stats: None,
    on_notice: Callable[[str], None] = lambda _notice: None,
) -> FilmStats:
    """Films until enough is there, the source ends, or it is to stop.

    A live camera is filmed at its own pace, and one that goes away is waited for; any other source is read as fast as
    it comes, and its own time counts.

    Args:
        config: What to film.
        stop: Set from anywhere, even a signal handler, to end it with a whole video.
        on_stats: Gets the counters when the camera is open, and once a second.
        on_notice: Gets what is worth knowing, a clause each.

    Returns:
        The counters at the end.

    Raises:
        CameraError: The camera cannot be opened, or is gone for good; what was filmed before is kept.
        ConfigError: The URI names no camera, or the region does not fit its frames.
        TwinEdgeError: The disk is full, or the like; what was filmed before is kept.
    """
    source = open_camera(config.camera)
    camera: Camera = HeldExposure(source, on_notice) if config.lock_exposure else source
    if config.part is not None:
        _check_disk(config, on_notice)
    capture = Capture(camera, CaptureConfig(fps=None if camera.live else math.inf, give_up_s=_GIVE_UP_S))
    work = _Filming(config, camera, on_notice)
    with capture:
        on_stats(work.stats(capture))
        try:
            reason = _loop(work, capture, stop, on_stats)
        except TwinEdgeError as error:
            work.finish()
            if config.path is None or not work.frames:
                raise
            kept = f"{work.frames} frames before are kept in {config.path}"
            raise type(error)(f"{error.message}; {kept}", fix=error.fix) from error
        stats = work.stats(capture)
        work.finish()
    return work.ended(stats, reason)


def _loop(work: _Filming, capture: Capture, stop: threading.Event, on_stats: Callable[[FilmStats], None]) -> str:
    """Films; returns why it ended."""
    told_s = time.monotonic()
    while not stop.is_set():
        try:
            frame = capture.get(_WAIT_S)
        except CameraEndedError:
            return "ended"
        reason = work.late() if frame is None else work.take(frame)
        if reason:
            return reason
        if time.monotonic() - told_s >= _STATS_EVERY_S:
            told_s = time.monotonic()
            on_stats(work.stats(capture))
    return "stopped"


class _Filming:
    """A video in the making."""

    def __init__(self, config: FilmConfig, camera: Camera, notice: Callable[[str], None]) -> None:
        self._config = config
        self._camera = camera
        self._notice = notice
        self._writer: MatroskaWriter | None = None
        self._due_s = 0.0
        self._size: tuple[int, int] | None = None
        self._first_s = 0.0
        self._last_s = 0.0
        self._started_s = math.inf
        self._shown_s = -math.inf
        self._looked_s = -math.inf
        self._estimated = False
        self.frames = 0

    def take(self, frame: Frame) -> str:
        """Takes a frame; returns why it is the last one, or nothing."""
        config, size = self._config, (frame.image.shape[0], frame.image.shape[1])
        time_s = _monotonic_s(frame) if frame.source_s is None else frame.source_s
        if self._size is None:
            self._size, self._first_s, self._started_s = size, time_s, time.monotonic()
        if size != self._size:
            was = f"{self._size[1]}x{self._size[0]}"
            raise CameraError(
                f"{self._camera.uri} changed its frames from {was} to {size[1]}x{size[0]}", fix="film it again"
            )
        time_s -= self._first_s
        if config.seconds is not None and time_s >= config.seconds:
            return "duration"
        self._show(frame)
        if not self._is_due(time_s):
            return ""
        reason = self._write(frame, time_s)
        if reason:
            return reason
        self.frames += 1
        self._last_s = time_s
        return "frames" if self.frames == config.frames else ""

    def _is_due(self, time_s: float) -> bool:
        """Whether a frame is not too early to be taken."""
        interval_s = self._config.interval_s
        if time_s < self._due_s - min(_EARLY_S, _EARLY_SHARE * interval_s):
            return False
        if time_s - self._due_s > interval_s:
            self._due_s = time_s
        self._due_s += interval_s
        return True

    def late(self) -> str:
        """Returns why it is over, when no frame comes; or nothing."""
        seconds = self._config.seconds
        waited_s = time.monotonic() - self._started_s
        return "duration" if self._camera.live and seconds is not None and waited_s >= seconds else ""

    def finish(self) -> None:
        """Makes the video whole; without a frame there is none."""
        writer, self._writer = self._writer, None
        part, path = self._config.part, self._config.path
        if writer is None or part is None or path is None:
            return
        writer.close()
        with writing(path):
            part.replace(path)

    def stats(self, capture: Capture) -> FilmStats:
        """Returns the counters."""
        rows, columns = self._size or (0, 0)
        counted = capture.stats()
        written = 0 if self._writer is None else self._writer.size
        return FilmStats(
            self.frames, round(self._last_s, 3), written, counted.dropped, columns, rows, counted.state.value
        )

    def ended(self, stats: FilmStats, reason: str) -> FilmStats:
        """Returns the counters at the end."""
        path = self._config.path
        size = path.stat().st_size if path is not None and self.frames else 0
        return FilmStats(
            stats.frames, stats.seconds, size, stats.dropped, stats.width, stats.height, stats.camera, reason
        )

    def _write(self, frame: Frame, time_s: float) -> str:
        config, part = self._config, self._config.part
        if part is None:
            return ""
        jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, config.quality])[1].tobytes()
        if self._writer is None:
            fps = 1 / config.interval_s if config.interval_s else self._camera.fps or DEFAULT_FPS
            self._writer = MatroskaWriter(part, (frame.image.shape[0], frame.image.shape[1]), fps)
        if self._writer.size + len(jpeg) > config.max_bytes:
            return "full"
        if time.monotonic() - self._looked_s >= _DISK_EVERY_S:
            self._looked_s = time.monotonic()
            if _free_bytes(config) < RESERVE_BYTES + len(jpeg):
                return "disk"
        self._writer.add(jpeg, time_s)
        self._estimate(time_s)
        return ""

    def _estimate(self, time_s: float) -> None:
        """Tells once, early, that the video will not fit."""
        config = self._config
        if self._estimated or self._writer is None or config.seconds is None or time_s < _ENOUGH_S:
            return
        self._estimated = True
        whole = self._writer.size / time_s * config.seconds
        room = min(config.max_bytes, _free_bytes(config) + self._writer.size - RESERVE_BYTES)
        if whole > room:
            self._notice(
                f"all of it would take about {whole / 1e6:.0f} MB and there are {room / 1e6:.0f}: it will end after "
                f"{config.seconds * room / whole / 60:.1f} minutes; give a lower --fps or --quality, or a higher "
                "--max-mb"
            )

    def _show(self, frame: Frame) -> None:
        preview = self._config.preview
        if preview is not None and time.monotonic() - self._shown_s >= _PREVIEW_EVERY_S:
            self._shown_s = time.monotonic()
            write_preview(preview, frame.image, self._config.region)


def _monotonic_s(frame: Frame) -> float:
    """Returns when a live camera's frame was captured by a clock that nobody sets.

    A device without a clock of its own sets it by hours when it first reaches the network, in the middle of a video.
    """
    age_s = time.time() - frame.time_us / 1e6
    return time.monotonic() - min(max(age_s, 0.0), _OLDEST_S)


def _check_disk(config: FilmConfig, notice: Callable[[str], None]) -> None:
    """Refuses to begin on a disk that is full.

    Raises:
        TwinEdgeError: It is.
    """
    room = _free_bytes(config) - RESERVE_BYTES
    if room <= 0:
        raise TwinEdgeError(
            f"the disk of {config.path} has less than {RESERVE_BYTES / 1e6:.0f} MB free",
            fix="free some space or choose another place",
        )
    if room < config.max_bytes:
        notice(f"the disk has room for {room / 1e6:.0f} MB, it ends there")


def _free_bytes(config: FilmConfig) -> int:
    folder = config.path.absolute().parent if config.path is not None else None
    while folder is not None and not folder.exists():
        folder = folder.parent
    if folder is None:
        return RESERVE_BYTES
    with writing(folder):
        return shutil.disk_usage(folder).free
