"""Keeps the retained blocks of the device's bundle on the broker, sending them only when they are not there."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import MessageError
from twin_edge.sync.device.part import Publish
from twin_edge.sync.engine.delivery import Delivery, Receipt
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.sync.wire.blocks import BundleIndex, split
from twin_edge.sync.wire.topics import Topics

_LISTEN_S: Final = 0.6
"""How long our own retained index may take to come back."""
_WINDOW: Final = 4
"""Blocks in flight: few enough that states get through between them on a slow link."""
_QUICK_S: Final = 1.0
"""A link that takes longer for a block gets one at a time."""
_AGAIN_S: Final = 10.0
"""At most one upload in this time, however many ask."""
_STUCK_S: Final = 60.0
_ATTEMPTS: Final = 3

_LOGGER = logging.getLogger(__name__)


class BundleUpload:
    """Brings one bundle to the broker; all methods run in the network thread.

    Args:
        publish: The way to send.
        topics: Of the twin.
        bundle: What to bring.
        settled: Called when nothing more comes on the topic of the index that is of interest.
    """

    def __init__(self, publish: Publish, topics: Topics, bundle: Bundle, settled: Callable[[], None]) -> None:
        self._publish = publish
        self._topics = topics
        self._settled = settled
        self._index, self._blocks = split(bundle)
        self._steps: list[Outbound] = []
        self._next = 0
        self._flying: list[tuple[Receipt, float]] = []
        self._window = 1
        self._listen_until = 0.0
        self._progress_at = 0.0
        self._began_at = -_AGAIN_S
        self._attempts = 0
        self.uploads = 0
        self.done = False

    def connected(self) -> None:
        """Asks the new connection for what is there already; the caller has subscribed to the index."""
        self._steps = []
        self._flying = []
        self._window = 1
        self.done = self._attempts >= _ATTEMPTS
        self._listen_until = 0.0 if self.done else time.monotonic() + _LISTEN_S

    def hear(self, payload: bytes) -> None:
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

    def tick(self, now: float) -> None:
        """Goes on with whatever is to be done at a monotonic time in seconds."""
        if self._listen_until and now > self._listen_until:
            self._begin(0)
        if not self._steps:
            return
        self._look_at_receipts(now)
        while self._next < len(self._steps) and len(self._flying) < self._window:
            self._flying.append((self._publish(self._steps[self._next], Delivery.BULK), now))
            self._next += 1
        if self._next == len(self._steps) and not self._flying:
            self._steps = []
            self.uploads += 1
            self._finish()
        elif now - self._progress_at > _STUCK_S:
            self._give_up("the broker does not take the bundle")

    def _look_at_receipts(self, now: float) -> None:
        flying = self._flying
        self._flying = [(receipt, since) for receipt, since in flying if not receipt.state.final]
        for receipt, since in flying:
            if receipt.acknowledged:
                self._progress_at = now
                self._window = min(self._window + 1, _WINDOW) if now - since < _QUICK_S else 1
            elif receipt.state.final:
                self._give_up(f"the bundle cannot be sent ({receipt.reason})")
                return

    def _give_up(self, why: str) -> None:
        _LOGGER.warning("%s; subscribers need a copy of the file", why)
        self._steps = []
        self._flying = []
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
        self._flying = []
        self._began_at = self._progress_at = time.monotonic()

    def _finish(self) -> None:
        self.done = True
        self._attempts = 0
        self._settled()
