"""The part of the link that takes wishes on `down/set/KEY`, and says on `up/cfg/KEY` what the settings are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.device.part import Publish
from twin_edge.sync.device.rate import RateLimit
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.topics import TwinId

_MAX_BYTES: Final = 64
PATIENCE_S: Final = 3.0
"""How long Ditto may take to say what is desired."""

_LOGGER = logging.getLogger(__name__)


class WishesPart:
    """Takes the latest wish for each setting, up to a rate; more often, wishes wait and newer ones replace them.

    Args:
        twin: Whose settings.
        settings: What they are.
        patience_s: How long after a connect the settings are not said, unless somebody has said before what is
            desired, seconds.
        per_second: Wishes looked at per second, and as many at once, above 0.
        clock: Monotonic seconds.

    Attributes:
        ignored: Wishes that were retained, too long, or for a setting that does not exist.
    """

    def __init__(
        self,
        twin: TwinId,
        settings: Settings,
        *,
        patience_s: float = PATIENCE_S,
        per_second: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = twin.topics
        self._settings = settings
        self._keys = {one.key for one in settings.all}
        self._patience_s = patience_s
        self._limit = RateLimit(per_second, clock)
        self._clock = clock
        self._publish: Publish | None = None
        self._waiting: dict[str, bytes] = {}
        self._release_s = 0.0
        self.ignored = 0

    def attach(self, publish: Publish) -> None:
        """Takes the way to send."""
        self._publish = publish

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Returns what it wants to hear."""
        return ((self._topics.settings, 1),)

    def connected(self) -> None:
        """Everything has to be said again, once it is known what is desired."""
        self._settings.begin()
        self._waiting.clear()
        self._release_s = self._clock() + self._patience_s

    def hear(self, message: Inbound) -> None:
        """Takes an untrusted wish; a retained one is of long ago, and would come back with each connect."""
        key = self._topics.setting_key(message.topic)
        if key not in self._keys or message.retained or not 0 < len(message.payload) <= _MAX_BYTES:
            self.ignored += 1
            return
        self._waiting.pop(key, None)
        self._waiting[key] = message.payload

    def tick(self, now_s: float) -> None:
        """Looks at the wishes, oldest first, and says what has changed."""
        if self._release_s and now_s >= self._release_s:
            self._release_s = 0.0
            self._settings.release()
        while self._waiting and self._limit.take():
            key = next(iter(self._waiting))
            self._want(key, self._waiting.pop(key))
        for key, text in self._settings.take_unsaid():
            if self._publish is not None:
                outbound = Outbound(self._topics.reported(key), text.encode(), qos=1, retain=True)
                self._publish(outbound, Delivery.STATE)

    def disconnected(self) -> None:
        """Nothing to do: what changes meanwhile is said after the next connect."""

    def _want(self, key: str, payload: bytes) -> None:
        try:
            self._settings.want(key, payload.decode("ascii").strip())
        except (MessageError, UnicodeDecodeError) as error:
            self._settings.refused += 1
            _LOGGER.info("a wish for %s is refused (%s)", key, error)
