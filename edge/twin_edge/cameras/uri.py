"""From a camera URI to a camera."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from twin_edge.cameras.base import Camera
from twin_edge.cameras.csi import CsiCamera
from twin_edge.cameras.device import DeviceCamera
from twin_edge.cameras.folder import DEFAULT_FPS, FolderCamera
from twin_edge.cameras.opencv import MAX_FPS
from twin_edge.cameras.rig import RigCamera
from twin_edge.cameras.stream import SCHEMES, StreamCamera
from twin_edge.cameras.video import VideoCamera
from twin_edge.errors import ConfigError

URI_FORMS = (
    "rig:",
    "VIDEO",
    "file:VIDEO",
    "images:FOLDER",
    "0",
    "/dev/video0",
    "/dev/v4l/by-id/NAME",
    "csi:0",
    "rtsp://HOST/PATH",
    "http://HOST/PATH",
)
"""Every form of a camera URI, by example; files and folders may end in ``?loop=1``, folders also in ``?fps=12``."""

_HELP = f"use one of {', '.join(URI_FORMS)}"
_MAX_URI = 4096
_DEVICES = ("/dev/video", "/dev/v4l/")  # Not all of /dev: files may lie in /dev/shm.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def open_camera(uri: str) -> Camera:
    """Makes the camera that a URI names; `Camera.open` opens it.

    Args:
        uri: One of `URI_FORMS`. A path that is a folder is taken as a folder of images.

    Raises:
        ConfigError: No camera can have this URI.
    """
    if not uri or len(uri) > _MAX_URI or "\0" in uri:
        raise ConfigError("the camera URI is empty, too long or not text", fix=_HELP)
    if _NUMBER.fullmatch(uri) or uri.startswith(_DEVICES):
        return DeviceCamera(int(uri) if uri.isdecimal() else uri)
    match = _SCHEME.match(uri)
    if match is None or _exists(uri):
        return _path_camera(uri)
    scheme, rest = match[1].lower(), uri[match.end() :]
    if scheme not in _MAKERS:
        what = "unknown camera scheme" if rest.startswith("//") else "there is no such file, and no camera scheme"
        raise ConfigError(f"{what} {scheme[:40]!r}", fix=_HELP)
    return _MAKERS[scheme](scheme, rest)


def refuse_unreadable(camera: Camera) -> None:
    """Refuses a file or a folder that cannot be read, before anything is started for it; asks nothing of others.

    Raises:
        CameraError: It is not there, or is none.
    """
    if isinstance(camera, FolderCamera | VideoCamera):
        try:
            camera.open()
        finally:
            camera.close()


def _rig(scheme: str, rest: str) -> Camera:
    return RigCamera(f"{scheme}:{rest}")


def _csi(scheme: str, rest: str) -> Camera:
    if not _NUMBER.fullmatch(rest):
        raise ConfigError(f"'{scheme}:{rest[:40]}' is not a CSI camera", fix="give csi:0 for the first one")
    return CsiCamera(int(rest))


def _stream(scheme: str, rest: str) -> Camera:
    return StreamCamera(f"{scheme}:{rest}")


def _file(_scheme: str, rest: str) -> Camera:
    return _path_camera(_local_path(rest))


def _images(_scheme: str, rest: str) -> Camera:
    path, options = _split_query(rest, ("fps", "loop"))
    return FolderCamera(_path(path), fps=_fps(options), loop=_loop(options))


_MAKERS: dict[str, Callable[[str, str], Camera]] = {
    "csi": _csi,
    "file": _file,
    "images": _images,
    "rig": _rig,
    **dict.fromkeys(SCHEMES, _stream),
}


def _local_path(rest: str) -> str:
    """The path of a ``file:`` URI; only with ``//`` it is a URL, with escapes."""
    if not rest.startswith("//"):
        return rest
    host, slash, path = rest[2:].partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError("a file: URI cannot name another host", fix="give file:PATH or file:///ABSOLUTE/PATH")
    path, question, query = path.partition("?")
    decoded = unquote(path)
    if "\0" in decoded:
        raise ConfigError("the path of the video is not text", fix=_HELP)
    return f"/{decoded}{question}{query}"


def _path_camera(text: str) -> Camera:
    path, options = _split_query(text, ("fps", "loop"))
    if _path(path).is_dir():
        return FolderCamera(_path(path), fps=_fps(options), loop=_loop(options))
    if "fps" in options:
        raise ConfigError("a video has its own frame rate", fix="leave ?fps= out, it is for folders of images")
    return VideoCamera(_path(path), loop=_loop(options))


def _split_query(text: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Takes the options off a path; a path that is there as it stands has none, even with a ``?`` in its name."""
    path, question, query = text.rpartition("?")
    if not question or _exists(text):
        return text, {}
    options: dict[str, str] = {}
    for item in query.split("&"):
        key, equals, value = item.partition("=")
        if key not in allowed or not equals or key in options:
            raise ConfigError(
                f"unknown or repeated camera option {item[:40]!r}", fix=f"use each of {', '.join(allowed)} once"
            )
        options[key] = value
    return path, options


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # Too long for a name, for one.
        return False


def _path(text: str) -> Path:
    if not text:
        raise ConfigError("the camera URI has no path", fix=_HELP)
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{text[:40]!r} cannot be a path", fix=_HELP) from error
    return path


def _fps(options: dict[str, str]) -> float:
    text = options.get("fps", f"{DEFAULT_FPS}")
    fps = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not 0.0 < fps <= MAX_FPS:
        raise ConfigError(f"camera option fps is {text[:40]!r}", fix=f"give more than 0 and at most {MAX_FPS:.0f}")
    return fps


def _loop(options: dict[str, str]) -> bool:
    text = options.get("loop", "0")
    if text not in _TRUTH:
        raise ConfigError(f"camera option loop is {text[:40]!r}", fix="give loop=1 or loop=0")
    return _TRUTH[text]
