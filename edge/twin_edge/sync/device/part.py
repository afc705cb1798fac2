"""What a feature has to be to become a part of the device's link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twin_edge.sync.engine.delivery import Delivery, Receipt
from twin_edge.sync.mqtt.transport import Inbound, Outbound

Publish = Callable[[Outbound, Delivery], Receipt]
"""Takes a message to send, from any thread; never waits and never raises."""


class LinkPart(Protocol):
    """A feature of the link: reported and desired values, Home Assistant, commands, a preview.

    `DeviceLink` gets its parts when it is made and calls their methods in the network thread: they must not wait for
    anything. What they raise is counted and logged, and harms no other part. What a part does for other threads, it
    does by further methods of its own.
    """

    def attach(self, publish: Publish) -> None:
        """Takes the way to send; called once, before anything else."""

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Returns the topic filters that it wants to hear, each with its QoS; asked on each connect."""

    def connected(self) -> None:
        """A broker that may know nothing has taken us: says again what it should know, as `Delivery.GREETING`.

        The subscriptions are made. That the device is online is said after all parts have had their say.
        """

    def hear(self, message: Inbound) -> None:
        """Takes a message on one of its topics, untrusted; several parts may want the same one."""

    def tick(self, now_s: float) -> None:
        """Does what is due at a monotonic time in seconds; called a few times a second while connected."""

    def disconnected(self) -> None:
        """The connection has ended: greetings on their way are lost, everything else is kept."""
