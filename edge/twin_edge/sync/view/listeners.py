"""Who gets what a view makes of messages."""

from __future__ import annotations

from typing import Protocol

from twin_edge.bundle.archive import Bundle
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.events import HeardEvent
from twin_edge.sync.wire.messages import HeardReport
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import Packet


class Tap(Protocol):
    """Gets what twins send as it came, in the network thread; must not block.

    What is refused is not given, and what comes twice is given once.
    """

    def on_packet(self, twin: TwinId, bundle: Bundle, data: bytes, packet: Packet) -> None:
        """A packet was read. All of a twin can be read again in this order, live and historical ones apart."""

    def on_report(self, twin: TwinId, data: bytes, report: HeardReport) -> None:
        """A state report came that is newer than the one before."""

    def on_event(self, twin: TwinId, data: bytes, event: HeardEvent) -> None:
        """An event came."""


class Sink(Protocol):
    """Takes what a follower makes of messages, in the network thread; must not block."""

    def put_updates(self, twin: TwinId, updates: list[TwinUpdate]) -> None:
        """Updates of a twin, in order."""

    def put_event(self, event: TwinEvent) -> None:
        """An event of a twin."""
