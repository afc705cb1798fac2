"""Writes Motion JPEG in Matroska (RFC 9559): each frame with its own time, nothing lost by a crash but the last second.

OpenCV's writer gives every frame of a Matroska file the same length and chooses the quality by itself; so the container
is written here, a few elements of it, and JPEG is OpenCV's.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from twin_edge import __version__
from twin_edge.files import writing

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC
_INFO: Final = 0x1549A966
_TIMECODE_SCALE, _DURATION, _MUXING_APP, _WRITING_APP = 0x2AD7B1, 0x4489, 0x4D80, 0x5741
_TRACKS, _TRACK_ENTRY = 0x1654AE6B, 0xAE
_NUMBER, _UID, _TYPE, _LACING, _CODEC, _DEFAULT_DURATION = 0xD7, 0x73C5, 0x83, 0x9C, 0x86, 0x23E383
_VIDEO, _WIDTH, _HEIGHT = 0xE0, 0xB0, 0xBA
_CLUSTER, _TIMECODE, _SIMPLE_BLOCK = 0x1F43B675, 0xE7, 0xA3
_CUES, _CUE_POINT, _CUE_TIME, _CUE_POSITIONS, _CUE_TRACK, _CUE_CLUSTER = 0x1C53BB6B, 0xBB, 0xB3, 0xB7, 0xF7, 0xF1
_VOID: Final = 0xEC

_UNKNOWN_SIZE: Final = b"\x01" + b"\xff" * 7
_MS_IN_NS: Final = 1_000_000
_CLUSTER_MS: Final = 1000
_CLUSTER_BYTES: Final = 1 << 20
_BLOCK_HEAD: Final = b"\x81"  # Track 1, as a number of variable length.
_KEYFRAME: Final = 0x80
_SEEK_BYTES: Final = 26
_DURATION_BYTES: Final = 11
_CUE_BYTES: Final = 40
"""More than a cue point takes."""


@dataclass(frozen=True, slots=True)
class _Cue:
    time_ms: int
    position: int


class MatroskaWriter:
    """A video that is written frame by frame; what is on the disk can be played at any time.

    Args:
        path: The file; one that is there is overwritten.
        size: (rows, columns) of the frames.
        fps: Frames per second that are expected, stated in the file until it is closed.

    Raises:
        TwinEdgeError: The file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._path = path
        self._cluster: list[bytes] = []
        self._cluster_bytes = 0
        self._cluster_ms = 0
        self._last_ms = -1
        self._cues: list[_Cue] = []
        self.frames = 0
        """Frames that were given to it."""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = path.open("wb")
            self._write_head(self._file, size, fps)

    @property
    def size(self) -> int:
        """What the file will have when it is closed now, at most."""
        return self._written + self._cluster_bytes + _CUE_BYTES * (len(self._cues) + 2)

    @property
    def seconds(self) -> float:
        """Time of the last frame, seconds after the first."""
        return max(0, self._last_ms) / 1000

    def add(self, jpeg: bytes, time_s: float) -> None:
        """Adds a frame.

        Args:
            jpeg: The frame as JPEG.
            time_s: Its time, seconds after the first frame's, to the millisecond; always later than the one before.

        Raises:
            TwinEdgeError: The disk is full, or the like; what was written before can be played.
        """
        time_ms = max(self._last_ms + 1, round(time_s * 1000))
        if self._cluster and (
            time_ms - self._cluster_ms >= _CLUSTER_MS or self._cluster_bytes + len(jpeg) > _CLUSTER_BYTES
        ):
            self._flush()
        if not self._cluster:
            self._cluster_ms = time_ms
        head = _BLOCK_HEAD + struct.pack(">hB", time_ms - self._cluster_ms, _KEYFRAME)
        block = _element(_SIMPLE_BLOCK, head + jpeg)
        self._cluster.append(block)
        self._cluster_bytes += len(block)
        self._last_ms = time_ms
        self.frames += 1

    def close(self) -> None:
        """Writes what is left, the true duration and rate, and an index; may be called more than once.

        Raises:
            TwinEdgeError: The disk is full, or the like; what was written before can be played.
        """
        file, self._file = self._file, None
        if file is None:
            return
        with writing(self._path), file:
            if self._cluster:
                self._write_cluster(file)
            where = self._written - self._body
            points = b"".join(
                _element(
                    _CUE_POINT,
                    _number(_CUE_TIME, cue.time_ms)
                    + _element(_CUE_POSITIONS, _number(_CUE_TRACK, 1) + _number(_CUE_CLUSTER, cue.position)),
                )
                for cue in self._cues
            )
            end = file.tell()
            if points:
                file.write(_element(_CUES, points))
                end = file.tell()
                seek = _element(_SEEK_ID, _identifier(_CUES)) + _element(_SEEK_POSITION, struct.pack(">Q", where))
                _patch(file, self._seek_at, _element(_SEEK_HEAD, _element(_SEEK, seek)))
            mean_ms = self._last_ms / (self.frames - 1) if self.frames > 1 else 0.0
            if mean_ms > 0:
                _patch(file, self._rate_at, struct.pack(">Q", round(mean_ms * _MS_IN_NS)))
            _patch(file, self._duration_at, _element(_DURATION, struct.pack(">d", max(0, self._last_ms) + mean_ms)))
            _patch(file, self._size_at, struct.pack(">Q", 1 << 56 | (end - self._body)))
            file.flush()
            os.fsync(file.fileno())

    def _flush(self) -> None:
        if self._file is None:
            return
        with writing(self._path):
            self._write_cluster(self._file)

    def _write_cluster(self, file: BinaryIO) -> None:
        self._cues.append(_Cue(self._cluster_ms, self._written - self._body))
        content = _element(_CLUSTER, _number(_TIMECODE, self._cluster_ms) + b"".join(self._cluster))
        self._cluster, self._cluster_bytes = [], 0
        file.write(content)
        file.flush()
        self._written += len(content)

    def _write_head(self, file: BinaryIO, size: tuple[int, int], fps: float) -> None:
        """Writes all that comes before the frames, with places for what is known at the end only."""
        file.write(
            _element(
                _EBML,
                _number(0x4286, 1)
                + _number(0x42F7, 1)
                + _number(0x42F2, 4)
                + _number(0x42F3, 8)
                + _element(0x4282, b"matroska")
                + _number(0x4287, 4)
                + _number(0x4285, 2),
            )
            + _identifier(_SEGMENT)
        )
        self._size_at = file.tell()
        file.write(_UNKNOWN_SIZE)
        self._body = self._seek_at = file.tell()
        file.write(_void(_SEEK_BYTES))
        name = f"twin-edge {__version__}".encode()
        scale = _number(_TIMECODE_SCALE, _MS_IN_NS)
        rest = _element(_MUXING_APP, name) + _element(_WRITING_APP, name)
        info = _element(_INFO, scale + _void(_DURATION_BYTES) + rest)
        self._duration_at = file.tell() + len(info) - len(rest) - _DURATION_BYTES
        file.write(info)
        video = _element(_VIDEO, _number(_WIDTH, size[1]) + _number(_HEIGHT, size[0]))
        rate = _element(_DEFAULT_DURATION, struct.pack(">Q", round(1e9 / fps)))
        entry = (
            _number(_NUMBER, 1)
            + _number(_UID, 1)
            + _number(_TYPE, 1)
            + _number(_LACING, 0)
            + _element(_CODEC, b"V_MJPEG")
            + rate
            + video
        )
        tracks = _element(_TRACKS, _element(_TRACK_ENTRY, entry))
        self._rate_at = file.tell() + len(tracks) - len(video) - 8
        file.write(tracks)
        file.flush()
        self._written = file.tell()


def _identifier(identifier: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")


def _element(identifier: int, content: bytes) -> bytes:
    """Returns an element; its size takes one byte where that is enough, else eight."""
    short = len(content) < 0x7F  # noqa: PLR2004 - seven bits, all of them set mean "unknown"
    size = struct.pack(">B", 0x80 | len(content)) if short else struct.pack(">Q", 1 << 56 | len(content))
    return _identifier(identifier) + size + content


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _void(length: int) -> bytes:
    return _element(_VOID, bytes(length - 2))


def _patch(file: BinaryIO, place: int, content: bytes) -> None:
    file.seek(place)
    file.write(content)
