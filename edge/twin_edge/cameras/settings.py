"""What a capture can be told, what it is doing, and what it has counted."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from twin_edge.errors import ConfigError


class CaptureState(enum.Enum):
    """What a capture is doing."""

    CLOSED = "closed"
    """Not started, or stopped."""
    OPENING = "opening"
    """Opening the camera and waiting for its first frame."""
    STREAMING = "streaming"
    """Frames come."""
    STALLED = "stalled"
    """The camera is open, but no frame came before the read deadline."""
    BACKOFF = "backoff"
    """The camera is gone; waiting to open it again."""
    ENDED = "ended"
    """A finite source has no more frames."""
    FAILED = "failed"
    """The camera is gone for good."""


_C = CaptureState
TRANSITIONS: dict[CaptureState, frozenset[CaptureState]] = {
    _C.CLOSED: frozenset({_C.OPENING}),
    _C.OPENING: frozenset({_C.STREAMING, _C.STALLED, _C.BACKOFF, _C.ENDED, _C.FAILED, _C.CLOSED}),
    _C.STREAMING: frozenset({_C.STALLED, _C.BACKOFF, _C.ENDED, _C.FAILED, _C.CLOSED}),
    _C.STALLED: frozenset({_C.STREAMING, _C.BACKOFF, _C.ENDED, _C.FAILED, _C.CLOSED}),
    _C.BACKOFF: frozenset({_C.OPENING, _C.FAILED, _C.CLOSED}),
    _C.ENDED: frozenset({_C.CLOSED}),
    _C.FAILED: frozenset({_C.CLOSED}),
}
"""Where each state may go."""


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """How to read a camera.

    Raises:
        ConfigError: A value is out of range.
    """

    fps: float | None = None
    """Frames per second at most, more than 0. A source that waits (a file, the rig) is read at this pace, frame after
    frame; from a live camera, frames that come too early are skipped. None: as fast as the source says it is, 30 when
    it does not say. Infinity: as fast as possible, and a source that waits then waits for the consumer: no frame is
    dropped."""
    read_timeout_s: float = 5.0
    """How long a frame may take before the camera counts as stalled, seconds, 0.01-600."""
    open_timeout_s: float = 30.0
    """How long `Capture.start` waits for the first frame in all, seconds, 0.01-3600."""
    max_attempts: int = 1
    """How often a camera is opened before `Capture.start` gives up, 1-1000."""
    backoff_min_s: float = 0.5
    """Upper end of the random wait before the first new attempt, seconds, 0.001-3600; it doubles every time."""
    backoff_max_s: float = 30.0
    """What it is doubled up to, seconds, `backoff_min_s` to 3600."""
    give_up_s: float | None = None
    """How long a live camera that once delivered may be away before the capture fails, seconds, 0.01 and more; None
    never gives up."""

    def __post_init__(self) -> None:
        if self.fps is not None and not self.fps > 0.0:
            raise ConfigError(f"capture fps {self.fps} is out of range", fix="give more than 0")
        _check("read_timeout_s", self.read_timeout_s, 0.01, 600.0)
        _check("open_timeout_s", self.open_timeout_s, 0.01, 3600.0)
        _check("max_attempts", self.max_attempts, 1, 1000)
        _check("backoff_min_s", self.backoff_min_s, 0.001, 3600.0)
        _check("backoff_max_s", self.backoff_max_s, self.backoff_min_s, 3600.0)
        if self.give_up_s is not None:
            _check("give_up_s", self.give_up_s, 0.01, math.inf)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"capture {name} {value} is out of range", fix=f"give {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """What a capture has counted since it was started."""

    state: CaptureState
    """What it is doing now."""
    frames: int = 0
    """Frames that were made available to the consumer."""
    dropped: int = 0
    """Frames of these that a newer one replaced before the consumer took them."""
    skipped: int = 0
    """Frames of a live camera that came faster than the limit and were never made available."""
    reconnects: int = 0
    """Times that the camera delivered again after it was gone."""
    timeouts: int = 0
    """Reads that gave no frame before their deadline."""
