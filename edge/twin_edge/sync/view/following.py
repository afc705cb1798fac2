"""Following all twins that match some patterns, over one connection: whose message it is, and who gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.view.bundles import BundleStore, LoadedBundle
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.follower import Follower
from twin_edge.sync.view.listeners import Sink, Tap
from twin_edge.sync.view.patterns import TwinPattern, roots
from twin_edge.sync.wire.messages import parse_avail, parse_codec
from twin_edge.sync.wire.topics import TwinId, twin_of

_TOPICS: Final = (
    ("up/avail", 1),
    ("up/codec", 1),
    ("up/state", 1),
    ("up/key", 1),
    ("up/event", 1),
    ("up/hist", 1),
    ("up/z", 0),
)
"""What is subscribed to, in the order in which retained messages are wanted."""
_FOUND_BY: Final = ("/up/codec", "/up/avail")
_TICK_S: Final = 0.1
_ASKS: Final = 16
"""Requests in one tick: many twins that lost a packet at once are not all asked at once."""


class Following:
    """Finds twins, gives each its messages, and asks for what has not come; for the network thread.

    Args:
        client: The connection.
        patterns: Whom to follow.
        cache: Bundles that were fetched before.
        sink: Takes updates and events.
        max_twins: Twins that are followed at most.
        tap: Gets what the twins send as it came.

    Attributes:
        followers: The twins that are followed; read from any thread.
        ignored: Announcements of twins that were too many.
        malformed: Messages of unknown twins and of bundles that were refused.
    """

    def __init__(
        self,
        client: MqttClient,
        patterns: Sequence[TwinPattern],
        cache: BundleCache,
        sink: Sink,
        *,
        max_twins: int,
        tap: Tap | None = None,
    ) -> None:
        self.followers: dict[TwinId, Follower] = {}
        self.ignored = self.malformed = 0
        self._client = client
        self._patterns = tuple(patterns)
        self._sink = sink
        self._tap = tap
        self._max_twins = max_twins
        self._bundles = BundleStore(client, cache, self._loaded)
        self._routes: dict[str, Follower] = {}
        self._ticked = 0.0
        self._first = 0
        for pattern in self._patterns:
            if pattern.exact:
                self._follow(TwinId(pattern.namespace, pattern.device))

    def connected(self) -> None:
        """Subscribes."""
        for root in roots(self._patterns):
            self._client.subscribe([(root + topic, qos) for topic, qos in _TOPICS])
        self._bundles.connected()
        for follower in self.followers.values():
            follower.connected()

    def heard(self, message: Inbound, now: float) -> None:
        """Takes an untrusted message at a monotonic time in seconds."""
        follower = self._routes.get(message.topic) or self._find(message, now)
        if follower is None or not message.payload:
            return
        try:
            follower.handlers[message.topic](message)
        except MessageError as error:
            follower.refuse(error)

    def tick(self, now: float) -> None:
        """Does what is due at a monotonic time in seconds; may be called as often as one likes."""
        if now - self._ticked < _TICK_S:
            return
        self._ticked = now
        self._bundles.tick(now, self._other)
        followers = list(self.followers.values())
        # Each time from another one on: where there are more requests than may be sent, all get their turn.
        first = self._first % len(followers) if followers else 0
        asks = 0
        for place, follower in enumerate(followers[first:] + followers[:first]):
            asks += follower.tick(now)
            if asks >= _ASKS:
                self._first = first + place + 1
                break

    def _find(self, message: Inbound, now: float) -> Follower | None:
        """Returns the follower of a topic that has no route: of a twin not known so far, or none."""
        try:
            if self._bundles.heard(message, now):
                return None
            twin = self._announced(message)
        except MessageError:
            self.malformed += 1
            return None
        return None if twin is None else self._follow(twin)

    def _announced(self, message: Inbound) -> TwinId | None:
        """Returns the new twin that a message announces, None when it does not, or is not wanted.

        Raises:
            MessageError: It was refused.
        """
        if not message.topic.endswith(_FOUND_BY) or not message.payload:
            return None
        twin = twin_of(message.topic)
        if twin is None or not any(pattern.matches(twin) for pattern in self._patterns):
            return None
        if len(self.followers) >= self._max_twins:
            self.ignored += 1
            return None
        if message.topic == twin.topics.codec:
            parse_codec(message.payload)
        else:
            parse_avail(twin, message.payload)
        return twin

    def _follow(self, twin: TwinId) -> Follower:
        follower = Follower(self._client, twin, self._bundles, self._sink, self._tap)
        self.followers[twin] = follower
        self._routes.update(dict.fromkeys(follower.handlers, follower))
        return follower

    def _loaded(self, loaded: LoadedBundle) -> None:
        for follower in self.followers.values():
            follower.use(loaded)

    def _other(self, digest: str, tried: TwinId) -> TwinId | None:
        """Returns the next twin after another one with the same bundle; None where there is none."""
        having = [twin for twin, each in self.followers.items() if each.codec and each.codec.bundle == digest]
        if having == [tried] or not having:
            return None
        return having[(having.index(tried) + 1) % len(having)] if tried in having else having[0]
