"""What a filming can be told, and what it counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from twin_edge.cameras.opencv import MAX_FPS
from twin_edge.errors import ConfigError

SUFFIX: Final = ".mkv"
PART: Final = ".part"
"""What the name of a video that is being written ends with; a crash leaves it, and it can be played and trained on."""

_MOST_SECONDS: Final = 7 * 86_400.0
_MOST_MB: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class FilmConfig:
    """What to film, where to, and for how long.

    Raises:
        ConfigError: A value is out of range, there is nothing to write, or what is there would be overwritten.
    """

    camera: str
    """Camera URI."""
    path: Path | None = None
    """The video, `.mkv`; None films nothing and only shows the framing."""
    seconds: float | None = None
    """Ends after this many seconds of the source's time, a week at most; None goes on to the source's end."""
    frames: int | None = None
    """Ends after this many frames, at least 1; None goes on."""
    interval_s: float = 0.0
    """Least time from one frame to the next, seconds, 0-86400; 0 takes every frame."""
    max_bytes: int = 4_000_000_000
    """Size that the video is not to pass, 1 MB to 1 TB; it ends before it would."""
    quality: int = 92
    """Quality of JPEG, 50-100."""
    lock_exposure: bool = False
    """Whether exposure and white balance are kept as they are after the first seconds."""
    preview: Path | None = None
    """Picture (`.png`) that shows the framing, replaced every few seconds; None for none."""
    region: tuple[float, ...] | None = None
    """Region that is drawn on it: x, y, width and height, fractions or pixels; None for the whole frame. The video
    always has the whole frame."""
    force: bool = False
    """Whether a video that is there is replaced."""

    def __post_init__(self) -> None:
        if self.path is None and self.preview is None:
            raise ConfigError("there is nothing to write", fix="give -o FILE.mkv, or --preview FILE.png to frame first")
        if self.path is not None and self.path.suffix.lower() != SUFFIX:
            raise ConfigError(f"{self.path} does not end in {SUFFIX}", fix="name the video FILE.mkv")
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise ConfigError(f"{self.preview} does not end in .png", fix="name the preview FILE.png")
        _check("--minutes", None if self.seconds is None else self.seconds / 60, 1e-4, _MOST_SECONDS / 60)
        _check("--frames", self.frames, 1, 1e9)
        _check("--every", self.interval_s, 0, 86_400)
        _check("--max-mb", self.max_bytes / 1e6, 1, _MOST_MB)
        _check("--quality", self.quality, 50, 100)
        if self.path is not None and not self.force:
            for there in (self.path, self.part):
                if there is not None and there.exists():
                    raise ConfigError(f"{there} is there already", fix="give another name, or --force to replace it")

    @property
    def part(self) -> Path | None:
        """Where the video is until it is whole."""
        return None if self.path is None else self.path.with_name(self.path.name + PART)


@dataclass(frozen=True, slots=True)
class FilmStats:
    """How a filming does."""

    frames: int
    """Frames that were written."""
    seconds: float
    """Time of the last of them, seconds after the first, by the source's clock."""
    bytes: int
    """Size of the video."""
    dropped: int
    """Frames of a live camera that came while another one was being written, and were lost."""
    width: int
    """Columns of a frame, pixels; 0 before the first."""
    height: int
    """Rows of a frame, pixels; 0 before the first."""
    camera: str
    """What the camera is doing, such as `streaming`."""
    reason: str = ""
    """Why it ended: `stopped`, `ended`, `duration`, `frames`, `full` or `disk`; empty while it goes on."""

    @property
    def fps(self) -> float:
        """Frames per second so far, 0 before the second frame."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns it as an object of JSON."""
        return {"type": "summary" if self.reason else "stats", **asdict(self), "fps": round(self.fps, 3)}


def parse_interval(text: str) -> float:
    """Returns the seconds that a text such as `2s`, `500ms`, `1m` or `2` means.

    Raises:
        ConfigError: It means none.
    """
    units = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 1.0}
    number = text.strip().rstrip("mshin")
    unit = text.strip()[len(number) :]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"'{text[:20]}' is no time", fix="give seconds, such as 2s, 0.5s or 1m") from error
    return value


def interval_of(every: str | None, fps: float | None) -> float:
    """Returns the time from one frame to the next that two options ask for, seconds; 0 for every frame.

    Raises:
        ConfigError: Both are given, or one is out of range.
    """
    if every is not None and fps is not None:
        raise ConfigError("--every and --fps say the same", fix="give one of them")
    if every is not None:
        return parse_interval(every)
    _check("--fps", fps, 1e-5, MAX_FPS)
    return 0.0 if fps is None else 1 / fps


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} {value:g} is out of range", fix=f"give {low:g} to {high:g}")
