"""Counters of the link engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What waits, and what has become of the rest since the start."""

    depth: int = 0
    """Messages that wait for the broker or its acknowledgement, packets of the history included."""
    bytes: int = 0
    """What they take."""
    oldest_s: float = 0.0
    """How long the oldest of them has waited, seconds; 0 without any."""
    spooled: int = 0
    """Messages of them that are on the disk, packets of the history not counted."""
    history_packets: int = 0
    """Packets of outages that wait."""
    history_states: int = 0
    """States in them."""
    acknowledged: int = 0
    """Messages that the broker has acknowledged."""
    backfilled: int = 0
    """States of outages that the broker has got afterwards."""
    quarantined: int = 0
    """Messages set aside because the broker does not take them, or ends the connection for them."""
    rejected: int = 0
    """Messages that were not taken, or that the broker refused."""
    expired: int = 0
    """Critical messages that have waited for too long."""
    decimated: int = 0
    """States that were dropped to keep others further apart in a history that was full."""
    dropped: int = 0
    """States that were dropped from a history that was full, the oldest first."""
    dead_links: int = 0
    """Connections that were ended because no acknowledgement came."""
    disk_errors: int = 0
    """Changes that the disk did not take."""
    degraded: bool = False
    """Whether what waits is in memory only, because the disk fails."""
