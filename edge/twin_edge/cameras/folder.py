"""A folder of images as a camera."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import cv2

from twin_edge.cameras.base import Frame
from twin_edge.cameras.opencv import as_frame, hush
from twin_edge.errors import CameraEndedError, CameraError, CameraOpenError
from twin_edge.images import Image

_LOGGER = logging.getLogger(__name__)
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_MAX_BYTES = 256 * 1024 * 1024
"""Larger files are not images that anybody meant to show."""
DEFAULT_FPS = 30.0


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``2.png`` before ``10.png``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part.casefold()) for part in parts)


class FolderCamera:
    """The images of a folder in natural order; those that cannot be read are skipped and counted.

    Args:
        folder: The folder; images in folders below it are not read.
        fps: Frames per second that they stand for, more than 0.
        loop: Start again after the last one, for ever.

    Attributes:
        skipped: Images that could not be read since the folder was opened.
    """

    live = False

    def __init__(self, folder: Path, *, fps: float = DEFAULT_FPS, loop: bool = False) -> None:
        query = "&".join([f"fps={fps:g}"] * (fps != DEFAULT_FPS) + ["loop=1"] * loop)
        self.uri = f"images:{folder}" + (f"?{query}" if query else "")
        self.fps: float | None = fps
        self.skipped = 0
        self._folder = folder
        self._loop = loop
        self._paths: list[Path] = []
        self._place = 0
        self._passed = 0
        self._first: Image | None = None

    def open(self) -> None:
        """Lists the folder and decodes its first readable image; see `Camera.open`."""
        self.close()
        if not self._folder.is_dir():
            what = "is not a folder" if self._folder.exists() else "does not exist"
            raise CameraOpenError(f"{self._folder} {what}", fix="check the path of the folder of images")
        paths = [path for path in self._folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        if not paths:
            raise CameraOpenError(
                f"there are no images in {self._folder}", fix=f"put {', '.join(sorted(IMAGE_SUFFIXES))} files there"
            )
        self._paths = sorted(paths, key=lambda path: natural_key(path.name))
        self.skipped = 0
        self._first = self._seek()
        if self._first is None:
            first = self._paths[0]
            self._paths = []
            raise CameraOpenError(
                f"none of the {self.skipped} images in {self._folder} can be read, the first is {first.name}",
                fix="check that the files are images",
            )

    def _seek(self) -> Image | None:
        """The next readable image from `_place` on, which is then behind it; None at the end of the list."""
        while self._place < len(self._paths):
            path = self._paths[self._place]
            self._place += 1
            image = _read_image(path)
            if image is not None:
                return image
            if not self.skipped:
                _LOGGER.warning("skipping images that cannot be read, the first is %s", path)
            self.skipped += 1
        return None

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - a folder never keeps anyone waiting
        """Decodes the next image; see `Camera.read`."""
        if not self._paths:
            raise CameraError(f"{self.uri} is not open", fix="open it first")
        image, self._first = self._first, None
        if image is None:
            image = self._seek()
        if image is None:
            if not self._loop:
                raise CameraEndedError(f"{self._folder} has no more images", fix="add ?loop=1 to show them for ever")
            self._passed += len(self._paths)
            self._place = 0
            image = self._seek()
            if image is None:
                raise CameraError(f"no image in {self._folder} can be read any more", fix="put the files back")
        index = self._passed + self._place - 1
        return Frame(image, time.time_ns() // 1000, index, source_s=index / (self.fps or DEFAULT_FPS))

    def close(self) -> None:
        """Forgets the listing; see `Camera.close`."""
        self._paths, self._first = [], None
        self._passed = self._place = 0


def read_image(path: Path) -> Image:
    """Returns the image of a file as a frame, uint8 BGR of shape (height, width, 3), turned as its metadata says.

    Raises:
        CameraError: There is none that can be read, or it is too large.
    """
    if not path.is_file():
        raise CameraOpenError(f"there is no file {path}", fix="check the path of the image")
    image = _read_image(path)
    if image is None:
        raise CameraOpenError(f"{path} is not an image that can be read", fix="convert it to PNG or JPEG")
    return image


def _read_image(path: Path) -> Image | None:
    """The image of a file as a frame, or None when it cannot be read.

    Raises:
        CameraError: It is too large.
    """
    hush()
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        # Color and 8 bits whatever the file has, turned as its EXIF data says. The types forget that it may be None.
        image: Image | None = cv2.imread(str(path), cv2.IMREAD_COLOR)  # type: ignore[assignment]
    except (OSError, cv2.error):
        return None
    return None if image is None else as_frame(image, str(path))
