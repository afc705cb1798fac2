"""What is in a recording of one twin."""

from __future__ import annotations

from dataclasses import dataclass

from twin_edge.sync.wire.topics import TwinId


@dataclass(frozen=True, slots=True)
class RecordedTwin:
    """What is in a recording of one twin."""

    twin: TwinId
    """Which one."""
    states: int
    """States."""
    historical: int
    """Those of them that came late, after an outage."""
    begin_us: int
    """Time of the first one, by the device's clock, microseconds since the epoch."""
    end_us: int
    """Time of the last one."""
    bytes: int
    """What its packets take."""
    reports: int
    """State reports."""
    report_bytes: int
    """What they take."""
    events: int
    """Events."""
    bundles: tuple[str, ...]
    """Digests of its bundles."""
