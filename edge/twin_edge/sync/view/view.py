"""The subscriber's side: follows a twin, knowing nothing but the broker's address."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import SyncError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.finder import TwinFinder
from twin_edge.sync.view.follower import Follower
from twin_edge.sync.view.update import TwinUpdate
from twin_edge.sync.wire.messages import Availability, HeardReport
from twin_edge.sync.wire.topics import TwinId


@dataclass(frozen=True, slots=True)
class ViewStats:
    """Counters of a view since its start."""

    connected: bool
    """Whether the broker has us, as far as we have heard."""
    protocol: str
    """MQTT version of the connection, empty without one."""
    reconnects: int
    """Connections after the first one."""
    updates: int
    """Updates handed out."""
    missed: int
    """States that were lost on the way, or here."""
    dropped: int
    """States lost here, because they were not fetched in time."""
    duplicates: int
    """States that came twice or too late."""
    malformed: int
    """Messages that were refused."""
    lost_packets: int
    """Packets that could not be read because one before them had not come."""
    unknown_model: int
    """Packets of a bundle that we did not have yet."""
    resyncs: int
    """Requests sent to the device."""
    errors: int
    """Exceptions of handlers; each is a defect."""


class TwinView:
    """Follows one twin, inside of a `with` block; iterate over it for its updates.

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
        config = BrokerConfig.from_url(broker) if isinstance(broker, str) else broker
        self._wanted = TwinId.parse(twin) if isinstance(twin, str) else twin
        self._cache = BundleCache(cache_dir)
        self._client = MqttClient(config, f"twin-view-{secrets.token_hex(6)}", self)
        self._finder = TwinFinder(self._client)
        self._follower: Follower | None = None
        self._max_queued = max(1, max_queued)
        self._queue: deque[TwinUpdate] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._updates = self._missed = self._dropped = 0

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            BrokerUnreachableError: Nobody answers there.
            BrokerRefusedError: The broker does not take us.
        """
        if self._wanted is not None:
            self._follower = Follower(self._client, self._wanted, self._cache, self._put)
        self._client.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects and ends every iteration; from any thread, and more than once if need be."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._client.close()

    def __iter__(self) -> Iterator[TwinUpdate]:
        return self.updates()

    def updates(self, timeout_s: float | None = None) -> Iterator[TwinUpdate]:
        """Goes through the updates as they come.

        Args:
            timeout_s: Ends when nothing came for this many seconds; None waits for ever.
        """
        while True:
            update = self._take(timeout_s)
            if update is None:
                return
            yield update

    def next_update(self, timeout_s: float = 5.0) -> TwinUpdate:
        """Waits for the next update.

        Args:
            timeout_s: Seconds.

        Raises:
            SyncError: None came in time; says what is missing.
        """
        update = self._take(timeout_s)
        if update is None:
            raise SyncError(*self._what_is_missing(timeout_s))
        return update

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

    def stats(self) -> ViewStats:
        """Returns the counters."""
        client, follower = self._client.stats(), self._follower
        return ViewStats(
            connected=client.connected,
            protocol=client.protocol,
            reconnects=max(0, client.connects - 1),
            updates=self._updates,
            missed=self._missed,
            dropped=self._dropped,
            duplicates=follower.sequence.duplicates if follower else 0,
            malformed=self._finder.malformed + client.oversize + (follower.malformed if follower else 0),
            lost_packets=follower.lost_packets if follower else 0,
            unknown_model=follower.unknown_model if follower else 0,
            resyncs=follower.resyncs if follower else 0,
            errors=client.errors,
        )

    def _take(self, timeout_s: float | None) -> TwinUpdate | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, timeout_s)
            if self._closed or not self._queue:
                return None
            update = self._queue.popleft()
            self._updates += 1
            self._missed += update.missed
            return update

    def _put(self, update: TwinUpdate) -> None:
        with self._changed:
            if len(self._queue) >= self._max_queued:
                oldest = self._queue.popleft()
                self._dropped += 1
                follows = self._queue[0] if self._queue else update
                follows.missed += oldest.missed + 1
            self._queue.append(update)
            self._changed.notify()

    def _what_is_missing(self, timeout_s: float) -> tuple[str]:
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
        return (f"no update came within {timeout_s:g} s: {what}",)

    # What the network thread calls

    def on_connected(self) -> None:
        """Subscribes again."""
        if self._follower is None:
            self._finder.begin()
        else:
            self._follower.begin()

    def on_disconnected(self) -> None:
        """Nothing to do: the states that are lost show in the sequence numbers."""

    def on_tick(self) -> None:
        """Decides on a twin; asks again for what has not come."""
        if self._follower is None:
            twin = self._finder.decide(time.monotonic())
            if twin is not None:
                self._follower = Follower(self._client, twin, self._cache, self._put)
                self._follower.begin()
        else:
            self._follower.tick(time.monotonic())

    def on_message(self, message: Inbound) -> None:
        """Takes a message."""
        if self._follower is None:
            self._finder.heard(message, time.monotonic())
        else:
            self._follower.heard(message)
