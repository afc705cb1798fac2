"""Keeps the retained blocks of the device's bundle on the broker, sending them only when they are not there."""

from __future__ import annotations

import logging
import time
from typing import Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.sync.wire.blocks import BundleIndex, split
from twin_edge.sync.wire.topics import Topics

_LISTEN_S: Final = 0.6
"""How long our own retained index may take to come back."""
_WINDOW: Final = 4
"""Blocks in flight: few enough that states get through between them on a slow link."""
_AGAIN_S: Final = 10.0
"""At most one upload in this time, however many ask."""
_STUCK_S: Final = 20.0
_ATTEMPTS: Final = 3

_LOGGER = logging.getLogger(__name__)


class BundleUpload:
    """Brings one bundle to the broker; all methods run in the network thread.

    Args:
        client: The connection.
        topics: Of the twin.
        bundle: What to bring.
    """

    def __init__(self, client: MqttClient, topics: Topics, bundle: Bundle) -> None:
        self._client = client
        self._topics = topics
        self._index, self._blocks = split(bundle)
        self._steps: list[Outbound] = []
        self._next = 0
        self._listen_until = 0.0
        self._progress_at = 0.0
        self._began_at = -_AGAIN_S
        self._attempts = 0
        self.uploads = 0
        self.done = False

    def connected(self) -> None:
        """Asks the new connection for what is there already; the caller has subscribed to the index."""
        self._steps = []
        self.done = self._attempts >= _ATTEMPTS
        self._listen_until = 0.0 if self.done else time.monotonic() + _LISTEN_S

    def heard(self, payload: bytes) -> None:
        """Takes the index that came back."""
        if not self._listen_until:
            return
        if payload == self._index.to_bytes():
            self._listen_until = 0.0
            self._finish()
            return
        try:
            old = BundleIndex.from_bytes(payload).count
        except MessageError:
            old = 0
        self._begin(old)

    def requested(self) -> None:
        """Somebody misses blocks."""
        if not self._steps and time.monotonic() - self._began_at >= _AGAIN_S:
            self._begin(0)

    def tick(self) -> None:
        """Goes on with whatever is to be done."""
        now = time.monotonic()
        if self._listen_until and now > self._listen_until:
            self._begin(0)
        while self._next < len(self._steps) and self._client.stats().queued < _WINDOW:
            if not self._client.publish(self._steps[self._next]):
                break
            self._next += 1
            self._progress_at = now
        if not self._steps:
            return
        if self._next == len(self._steps):
            self._steps = []
            self.uploads += 1
            self._finish()
        elif now - self._progress_at > _STUCK_S:
            _LOGGER.warning("the broker does not take the bundle; subscribers need a copy of the file")
            self._steps = []
            self.done = True

    def _begin(self, old_count: int) -> None:
        self._listen_until = 0.0
        self._attempts += 1
        if self._attempts == _ATTEMPTS:
            # A broker that cuts the connection for a block would do so for ever.
            _LOGGER.warning("sending the bundle was cut off %s times; this is the last attempt", _ATTEMPTS - 1)
        blocks = [
            Outbound(self._topics.block(number), data, qos=1, retain=True) for number, data in enumerate(self._blocks)
        ]
        surplus = [
            Outbound(self._topics.block(number), b"", qos=1, retain=True) for number in range(len(blocks), old_count)
        ]
        # The index comes last: whoever sees it finds the blocks.
        index = Outbound(self._topics.index, self._index.to_bytes(), qos=1, retain=True)
        self._steps = [*blocks, *surplus, index]
        self._next = 0
        self._began_at = self._progress_at = time.monotonic()

    def _finish(self) -> None:
        self.done = True
        self._attempts = 0
        self._client.unsubscribe([self._topics.index])
