"""The part of the link that announces the device to Home Assistant."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from twin_edge.sync.device.part import Publish
from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.homeassistant import (
    STATUS_ONLINE,
    STATUS_TOPIC,
    DeviceAbout,
    build_discovery,
    discovery_topic,
)
from twin_edge.sync.wire.reading import Scalar
from twin_edge.sync.wire.setting import Setting
from twin_edge.sync.wire.topics import TwinId

_JITTER_S: Final = 5.0
"""A hundred devices do not all speak at the moment when Home Assistant has started."""


class HomeAssistantPart:
    """Announces the device on each connect, and again when Home Assistant has started or properties have come up.

    Args:
        twin: Whose device.
        about: What to show of it.
        settings: Those that can be set from Home Assistant.
        clock: Monotonic seconds.

    Attributes:
        announcements: How often the device was announced.
    """

    def __init__(
        self,
        twin: TwinId,
        about: DeviceAbout,
        settings: Sequence[Setting],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._twin = twin
        self._about = about
        self._settings = tuple(settings)
        self._clock = clock
        self._publish: Publish | None = None
        self._due_s: float | None = None
        self.announcements = 0

    def attach(self, publish: Publish) -> None:
        """Takes the way to send."""
        self._publish = publish

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Returns what it wants to hear."""
        return ((STATUS_TOPIC, 0),)

    def connected(self) -> None:
        """Announces the device: the broker may have forgotten it."""
        self._due_s = None
        self._announce()

    def hear(self, message: Inbound) -> None:
        """Notices that Home Assistant has started; all else on its topic is of no interest."""
        started = message.topic == STATUS_TOPIC and message.payload == STATUS_ONLINE and not message.retained
        # One that is due already will do.
        if started and self._due_s is None:
            self._due_s = self._clock() + random.uniform(0.0, _JITTER_S)

    def tick(self, now_s: float) -> None:
        """Announces the device again when that is due."""
        if self._due_s is not None and now_s >= self._due_s:
            self._due_s = None
            self._announce()

    def disconnected(self) -> None:
        """What was due is done with the next connect."""
        self._due_s = None

    def show(self, properties: Mapping[str, Scalar]) -> None:
        """Takes the twin's properties, from any thread; ones that are new are announced within a tick."""
        if properties.keys() - self._about.properties.keys():
            self._about = replace(self._about, properties={**self._about.properties, **properties})
            self._due_s = self._clock()

    def _announce(self) -> None:
        if self._publish is not None:
            payload = build_discovery(self._twin, self._about, self._settings)
            self._publish(Outbound(discovery_topic(self._twin), payload, qos=1, retain=True), Delivery.GREETING)
            self.announcements += 1
