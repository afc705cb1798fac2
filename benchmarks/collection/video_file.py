"""Writes rendered recordings as video files: H.264 in MP4, the same bytes from the same pictures."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error

from twin_edge.errors import ConfigError
from twin_edge.images import Image

_OPTIONS: Final = {"crf": "18", "preset": "medium", "x264-params": "cpu-independent=1"}
"""Without the last one even two runs on one machine differ."""
_THREADS: Final = 2
"""Fixed: what x264 writes depends on the number of its threads."""
_TRACK_HEADER: Final = b"tkhd"
_MATRIX_AT: Final = 44
"""Bytes from the name of a track header of version 0 to its display matrix."""
_ONE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class VideoForm:
    """How pictures become a file."""

    ticks_per_s: int
    """Clock of the file, ticks a second, 1 or more; pictures are shown at whole ticks."""
    rotated: bool = False
    """Whether pictures are stored turned by 90 degrees anticlockwise, with metadata that turns them back."""


def write_video(path: Path, form: VideoForm, pictures: Iterable[tuple[int, Image]], comment: str) -> int:
    """Writes a video, beside its place until it is whole.

    Args:
        path: Where to, ends in `.mp4`.
        form: How.
        pictures: When each is shown, in ticks, ascending; and the picture, uint8 BGR of shape (height, width, 3).
        comment: What was rendered; see `comment_of`.

    Returns:
        The number of pictures.

    Raises:
        ConfigError: There are no pictures.
    """
    beside = path.with_name(f".{path.stem}.new{path.suffix}")
    count, shape = 0, (0, 0)
    with closing(av.open(str(beside), "w", format="mp4")) as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=Fraction(form.ticks_per_s), options=_OPTIONS)
        stream.thread_count = _THREADS
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, form.ticks_per_s)
        for tick, picture in pictures:
            if not count:
                shape = picture.shape[0], picture.shape[1]
                stream.height, stream.width = shape[::-1] if form.rotated else shape
            frame = av.VideoFrame.from_ndarray(_turned(picture) if form.rotated else picture, format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, form.ticks_per_s)
            container.mux(stream.encode(frame))
            count += 1
        if count:
            container.mux(stream.encode(None))
    if not count:
        beside.unlink(missing_ok=True)
        raise ConfigError(f"{path.name} has no pictures", fix="render at least one")
    if form.rotated:
        beside.write_bytes(_with_quarter_turn(beside.read_bytes(), stored_height=shape[1]))
    beside.replace(path)
    return count


def comment_of(path: Path) -> str | None:
    """Returns what `write_video` was told was rendered; None where there is no such file."""
    try:
        with closing(av.open(str(path))) as container:
            return container.metadata.get("comment")
    except (OSError, av.error.FFmpegError):
        return None


def _turned(picture: Image) -> Image:
    """Turns a picture by 90 degrees anticlockwise."""
    return picture.transpose(1, 0, 2)[::-1].copy()


def _with_quarter_turn(data: bytes, stored_height: int) -> bytes:
    """Puts a turn by 90 degrees clockwise into the display matrix of an MP4 file with one track.

    Args:
        data: The file.
        stored_height: Height of its pictures as stored, pixels: how far the turned picture is moved back into sight.
    """
    at = data.index(_TRACK_HEADER)
    matrix = struct.pack(">9i", 0, _ONE, 0, -_ONE, 0, 0, stored_height * _ONE, 0, 1 << 30)
    begin = at + _MATRIX_AT
    return data[:begin] + matrix + data[begin + len(matrix) :]
