"""What all views have in common: a connection, and updates to go through as they come."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from twin_edge.errors import SyncError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.follower import Follower
from twin_edge.sync.view.following import Following
from twin_edge.sync.view.listeners import Tap
from twin_edge.sync.view.patterns import TwinPattern
from twin_edge.sync.view.status import TwinStatus, ViewStats, twin_status, view_stats
from twin_edge.sync.view.stream import Stream
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.topics import TwinId

_EVENTS: Final = 64
"""Events of one twin that may wait."""
_EVENTS_IN_ALL: Final = 1024


class BaseView(ABC):
    """Follows twins inside of a `with` or an `async with` block; iterate over it for updates.

    Args:
        broker: URL of the broker, or how to reach it.
        cache_dir: Where to keep fetched bundles; `$XDG_CACHE_HOME/twin-edge/bundles` when None.
        max_queued: Updates of one twin that may wait to be fetched; 0 keeps none.
        max_queued_in_all: Updates of all twins that may wait.
        max_twins: Twins that are followed at most.
        tap: Gets what the twins send as it came.
    """

    def __init__(
        self,
        broker: str | BrokerConfig,
        cache_dir: Path | None,
        *,
        max_queued: int,
        max_queued_in_all: int,
        max_twins: int,
        tap: Tap | None = None,
    ) -> None:
        config = BrokerConfig.from_url(broker) if isinstance(broker, str) else broker
        self._client = MqttClient(config, f"twin-view-{secrets.token_hex(6)}", self)
        self._cache = BundleCache(cache_dir)
        self._max_twins = max_twins
        self._tap = tap
        self._following: Following | None = None
        self._updates: Stream[TwinUpdate] = Stream(max_queued, max_queued_in_all, self._dropped)
        self._fresh: list[tuple[TwinId, list[TwinUpdate]]] = []
        self._events: Stream[TwinEvent] = Stream(_EVENTS, _EVENTS_IN_ALL)

    def follow(self, *patterns: TwinPattern) -> Following:
        """Begins to follow twins; for subclasses, once, before connecting or in the network thread."""
        self._following = Following(self._client, patterns, self._cache, self, max_twins=self._max_twins, tap=self._tap)
        return self._following

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            BrokerUnreachableError: Nobody answers there.
            BrokerRefusedError: The broker does not take us.
        """
        self._client.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """Connects; raises as `__enter__` does."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Disconnects and ends every iteration; from any thread, and more than once if need be."""
        self._updates.close()
        self._events.close()
        self._client.close()

    def __iter__(self) -> Iterator[TwinUpdate]:
        return iter(self._updates)

    def __aiter__(self) -> AsyncIterator[TwinUpdate]:
        return aiter(self._updates)

    def updates(self, timeout_s: float | None = None) -> Iterator[TwinUpdate]:
        """Goes through the updates as they come.

        Args:
            timeout_s: Ends when nothing came for this many seconds; None waits for ever.
        """
        return self._updates.within(timeout_s)

    @property
    def events(self) -> Stream[TwinEvent]:
        """What happened, as it comes: iterate over it, plainly or asynchronously."""
        return self._events

    def next_update(self, timeout_s: float = 5.0) -> TwinUpdate:
        """Waits for the next update.

        Args:
            timeout_s: Seconds.

        Raises:
            SyncError: None came in time; says what is missing.
        """
        update = self._updates.take(timeout_s)
        if update is None:
            raise self.what_is_missing(timeout_s)
        return update

    @abstractmethod
    def what_is_missing(self, timeout_s: float) -> SyncError:
        """Returns an error that says why no update has come for some seconds."""

    def status(self) -> list[TwinStatus]:
        """Returns what is known of each twin, in the order in which they were found."""
        return [twin_status(follower) for follower in list(self._followers().values())]

    def stats(self) -> ViewStats:
        """Returns the counters of all twins together."""
        return view_stats(self._client.stats(), self._following, self._updates.taken, self._events.dropped)

    def _followers(self) -> dict[TwinId, Follower]:
        return {} if self._following is None else self._following.followers

    def _dropped(self, oldest: TwinUpdate, follows: TwinUpdate | None) -> None:
        follower = self._followers()[oldest.twin]
        follower.dropped += 1
        lost = oldest.missed + (not oldest.historical)
        if follows is None:
            follower.owed += lost
        else:
            follows.missed += lost

    def _hand_over(self) -> None:
        # One by one, they would wake whoever waits for updates thousands of times a second.
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self._updates.put_all(fresh)

    # What followers and the network thread call

    def put_updates(self, twin: TwinId, updates: list[TwinUpdate]) -> None:
        """Takes updates of a twin, to be handed over when all that came with them is read."""
        self._fresh.append((twin, updates))

    def put_event(self, event: TwinEvent) -> None:
        """Takes an event."""
        self._events.put(event.twin, [event])

    def on_connected(self) -> None:
        """Subscribes again."""
        if self._following is not None:
            self._following.connected()

    def on_disconnected(self) -> None:
        """Hands over what came; the states that are lost show in the sequence numbers."""
        self._hand_over()

    def on_tick(self) -> None:
        """Hands over what came, and asks again for what has not."""
        self._hand_over()
        if self._following is not None:
            self._following.tick(time.monotonic())

    def on_message(self, message: Inbound) -> None:
        """Takes a message."""
        if self._following is not None:
            self._following.heard(message, time.monotonic())
