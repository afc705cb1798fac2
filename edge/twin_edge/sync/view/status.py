"""How views and their twins do."""

from __future__ import annotations

from dataclasses import dataclass

from twin_edge.bundle.archive import Bundle
from twin_edge.sync.mqtt.transport import ClientStats
from twin_edge.sync.view.follower import Follower
from twin_edge.sync.view.following import Following
from twin_edge.sync.view.meters import TwinStats
from twin_edge.sync.wire.messages import Availability, HeardReport
from twin_edge.sync.wire.topics import TwinId


@dataclass(frozen=True, slots=True)
class ViewStats:
    """Counters of a view since its start, all twins together."""

    connected: bool
    """Whether the broker has us, as far as we have heard."""
    protocol: str
    """MQTT version of the connection, empty without one."""
    reconnects: int
    """Connections after the first one."""
    twins: int
    """Twins that are followed."""
    ignored: int
    """Announcements of twins that were too many."""
    updates: int
    """Updates handed out."""
    states: int
    """States that came live."""
    historical: int
    """States that came late, after an outage."""
    missed: int
    """States that were lost on the way, or here, those included that came late after all."""
    dropped: int
    """States lost here, because they were not fetched in time."""
    duplicates: int
    """States that came twice or too late."""
    events: int
    """Events that came."""
    events_dropped: int
    """Events lost here, because they were not fetched in time."""
    malformed: int
    """Messages that were refused."""
    lost_packets: int
    """Packets that could not be read because one before them had not come."""
    unknown_model: int
    """Packets of a bundle that we did not have yet."""
    resyncs: int
    """Requests sent to devices."""
    errors: int
    """Exceptions of handlers; each is a defect."""


@dataclass(frozen=True, slots=True)
class TwinStatus:
    """What is known of a twin now."""

    twin: TwinId
    """Which one."""
    availability: Availability | None
    """What the device, or the broker in its place, last said; None until it is heard."""
    bundle: Bundle | None
    """Its bundle, None until it is there."""
    report: HeardReport | None
    """Its latest state report, None until one is heard."""
    stats: TwinStats
    """Its counters."""

    @property
    def online(self) -> bool:
        """Whether the device is there."""
        return self.availability is not None and self.availability.online


def view_stats(client: ClientStats, following: Following | None, taken: int, events_dropped: int) -> ViewStats:
    """Returns the counters of a view.

    Args:
        client: Those of its connection.
        following: What it follows, None while it does not know.
        taken: Updates handed out.
        events_dropped: Events that were not fetched in time.
    """
    followers = [] if following is None else list(following.followers.values())
    dropped = sum(each.dropped for each in followers)
    return ViewStats(
        connected=client.connected,
        protocol=client.protocol,
        reconnects=max(0, client.connects - 1),
        twins=len(followers),
        ignored=0 if following is None else following.ignored,
        updates=taken,
        states=sum(each.states for each in followers),
        historical=sum(each.history.states for each in followers),
        missed=sum(each.missed for each in followers) + dropped,
        dropped=dropped,
        duplicates=sum(each.duplicates for each in followers),
        events=sum(each.events for each in followers),
        events_dropped=events_dropped,
        malformed=(0 if following is None else following.malformed)
        + client.oversize
        + sum(each.malformed for each in followers),
        lost_packets=sum(each.lost_packets for each in followers),
        unknown_model=sum(each.unknown_model for each in followers),
        resyncs=sum(each.resyncs for each in followers),
        errors=client.errors,
    )


def twin_status(follower: Follower) -> TwinStatus:
    """Returns what is known of the twin that is followed."""
    meters = follower.meters
    return TwinStatus(
        follower.twin,
        follower.availability,
        follower.bundle,
        follower.report,
        TwinStats(
            states=follower.states,
            historical=follower.history.states,
            missed=follower.missed + follower.dropped,
            dropped=follower.dropped,
            duplicates=follower.duplicates,
            malformed=follower.malformed,
            lost_packets=follower.lost_packets,
            unknown_model=follower.unknown_model,
            resyncs=follower.resyncs,
            fps=meters.fps,
            kbps=meters.kbps,
            latency_p50_ms=meters.latency_ms(0.5),
            latency_p95_ms=meters.latency_ms(0.95),
            gap=meters.gap(),
        ),
    )
