"""The subscriber's side for one twin: follows it, knowing nothing but the broker's address."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import SyncError
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound
from twin_edge.sync.view.base import BaseView
from twin_edge.sync.view.finder import TwinFinder
from twin_edge.sync.view.follower import Follower
from twin_edge.sync.view.meters import TwinStats
from twin_edge.sync.view.patterns import TwinPattern
from twin_edge.sync.view.status import ViewStats, twin_status
from twin_edge.sync.wire.messages import Availability, HeardReport
from twin_edge.sync.wire.topics import TwinId


class TwinView(BaseView):
    """Follows one twin, inside of a `with` or an `async with` block; iterate over it for its updates.

    Updates come in order and none comes twice. When they are not fetched, the oldest are dropped and counted as
    missed. Renderings are made in the thread that looks at them.

    Args:
        broker: URL of the broker, or how to reach it.
        twin: Which twin, such as `org.acme/cam-01`; the first one found, one that is online if possible, when None.
        cache_dir: Where to keep fetched bundles; `$XDG_CACHE_HOME/twin-edge/bundles` when None.
        max_queued: Updates that may wait to be fetched, above 0.

    Raises:
        ConfigError: The URL or the twin id is malformed.
    """

    def __init__(
        self,
        broker: str | BrokerConfig,
        twin: str | TwinId | None = None,
        cache_dir: Path | None = None,
        *,
        max_queued: int = 256,
    ) -> None:
        most = max(1, max_queued)
        super().__init__(broker, cache_dir, max_queued=most, max_queued_in_all=most, max_twins=1)
        self._finder = TwinFinder(self._client)
        wanted = TwinId.parse(twin) if isinstance(twin, str) else twin
        if wanted is not None:
            self.follow(TwinPattern(wanted.namespace, wanted.device))

    @property
    def twin(self) -> TwinId | None:
        """The twin that is followed, None until one is found."""
        return self._follower.twin if self._follower else None

    @property
    def bundle(self) -> Bundle | None:
        """The bundle of the twin, None until it is fetched."""
        return self._follower.bundle if self._follower else None

    @property
    def availability(self) -> Availability | None:
        """What the device, or the broker in its place, last said; None until it is heard."""
        return self._follower.availability if self._follower else None

    @property
    def online(self) -> bool:
        """Whether the device is online."""
        return self.availability is not None and self.availability.online

    @property
    def report(self) -> HeardReport | None:
        """The latest state report, None until one is heard."""
        return self._follower.report if self._follower else None

    @property
    def twin_stats(self) -> TwinStats | None:
        """Rates, latency and gap statistics of the twin, None until one is found."""
        return twin_status(self._follower).stats if self._follower else None

    @property
    def _follower(self) -> Follower | None:
        return next(iter(self._followers().values()), None)

    def stats(self) -> ViewStats:
        """Returns the counters."""
        stats = super().stats()
        return dataclasses.replace(stats, malformed=stats.malformed + self._finder.malformed)

    def what_is_missing(self, timeout_s: float) -> SyncError:
        """Returns an error that says why no update has come for some seconds."""
        follower = self._follower
        if not self._client.connected:
            what = "the broker does not answer any more"
        elif follower is None:
            what = "no twin has been published there; start one with 'twin-edge run'"
        elif follower.codec is None:
            what = f"the twin {follower.twin} has never been published there; start it with 'twin-edge run'"
        elif follower.bundle is None:
            what = f"the bundle of {follower.twin} is not on the broker and nobody sends it; {follower.trouble}"
        elif not self.online:
            what = f"{follower.twin} is offline"
        else:
            what = f"{follower.twin} is online and sends no states"
        return SyncError(f"no update came within {timeout_s:g} s: {what}")

    # What the network thread calls

    def on_connected(self) -> None:
        """Subscribes again."""
        if self._following is None:
            self._finder.begin()
        else:
            super().on_connected()

    def on_tick(self) -> None:
        """Decides on a twin; asks again for what has not come."""
        if self._following is None:
            twin = self._finder.decide(time.monotonic())
            if twin is not None:
                self.follow(TwinPattern(twin.namespace, twin.device)).connected()
        else:
            super().on_tick()

    def on_message(self, message: Inbound) -> None:
        """Takes a message."""
        if self._following is None:
            self._finder.heard(message, time.monotonic())
        else:
            super().on_message(message)
