"""What a runtime says of itself: each second, and at its end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from twin_edge.stage_times import Spread

STAGES: Final = ("age", "view", "encode", "render", "gap", "publish", "work", "whole")
"""`age`: from capture until the twin thread takes the frame; `work`: what that thread does with it, `publish`
included; `whole`: from capture until all is done. All in milliseconds."""

_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class RunStats:
    """A second in the life of a runtime."""

    time_us: int
    """When this was measured, microseconds since the epoch."""
    frames: int
    """Frames that became states since the start."""
    fps: float
    """States per second, since the statistics before these."""
    stages: Mapping[str, Spread]
    """Times of each stage over the last ten seconds or so, by name, see `STAGES`."""
    camera: str
    """What the capture is doing, such as `streaming`."""
    measured: int
    """Frames that were rendered and measured since the start."""
    dropped: int
    """Frames that came while the twin thread was busy, since the start."""
    queue: int
    """Messages that the broker has not acknowledged yet."""
    waiting: int
    """Messages and packets that wait for the broker, those of outages included."""
    waiting_bytes: int
    """What they take, bytes."""
    sent: int
    """Packets that went live since the start."""
    skipped: int
    """Packets that did not, for want of a connection, since the start; they are sent later."""
    level: int
    """Level of the codec, 0 is the finest; without meaning for raw states."""
    state_bytes: float
    """Payload bytes of a state, mean since the statistics before these; headers are not included."""
    kbps: float
    """Rate of the packets with their headers over that time, kbit/s."""
    gap: float | None
    """Median gap of the last second, 0-1; None when no frames come."""
    in_sync: bool | None
    """Whether reality is where the twin is; None when no frames come."""
    connected: bool
    """Whether the broker is there."""
    rss_mb: float
    """Resident memory of the process, MB."""

    def to_json(self) -> dict[str, Any]:
        """Returns the statistics as an object of JSON."""
        return {"type": "stats", **asdict(self)}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a runtime did."""

    reason: str
    """Why it ended: `stopped`, `finished` (as many frames or seconds as wanted) or `camera-ended`."""
    twin: str
    """Twin id."""
    session: int
    """Number of this process start."""
    bundle: str
    """Digest of the bundle."""
    frames: int
    """Frames that became states."""
    seconds: float
    """From the first frame to the last."""
    fps: float
    """States per second over that time."""
    stages: Mapping[str, Spread]
    """Times of each stage over the last 4096 frames, by name, see `STAGES`."""
    measured: int
    """Frames that were rendered and measured."""
    dropped: int
    """Frames that came while the twin thread was busy."""
    sent: int
    """Packets that went live."""
    skipped: int
    """Packets that did not, for want of a connection."""
    level: int
    """Level of the codec, 0 is the finest; without meaning for raw states."""
    state_bytes: float
    """Payload bytes of a state, mean of all; headers are not included."""
    kbps: float
    """Rate of the packets with their headers, kbit/s."""
    reconnects: int
    """Times that the broker came back."""
    waiting: int
    """Messages and packets that wait for the broker until the next run."""
    backfilled: int
    """States of outages that the broker got afterwards."""
    in_sync: bool | None
    """Whether reality was where the twin is at the end; None without a frame."""
    rss_mb: float
    """Resident memory of the process at the end, MB."""

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as an object of JSON."""
        return {"type": "summary", **asdict(self)}


def resident_mb() -> float:
    """Returns the resident memory of this process in MB; 0 where `/proc` does not tell."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
