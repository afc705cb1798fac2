"""What the cases ask of a client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from link.workload import DEVICE, SESSION, StateMaker
from twin_edge.bundle import Bundle
from twin_edge.twin.packet import Packet


@dataclass(frozen=True, slots=True)
class Setup:
    """Whom a client is to be, and how it connects."""

    port: int
    """Port of the broker, or of the proxy before it."""
    folder: Path
    """What it may keep on the disk is kept there."""
    bundle: Bundle
    """What the states are made with."""
    host: str = "127.0.0.1"
    """Host of the broker."""
    device: str = DEVICE
    """Device part of the twin id, and MQTT client id."""
    session: int = SESSION
    """Number of this process start."""
    version: str = ""
    """`3.1.1` or `5`; empty for what the client does by itself."""
    user: str = ""
    """Whom to log in as."""
    password: str = ""
    """Of the user."""
    ca_file: Path | None = None
    """Authority to trust; TLS is used when there is one."""
    on_command: Callable[[bytes], None] | None = None
    """Takes the payload of `down/set/x`: the application's handler, the same for all clients."""
    homeassistant: bool = False
    """Whether to announce the device to Home Assistant, if the client can."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only one client knows: limits of the spool, and the like."""

    @property
    def states(self) -> StateMaker:
        """Makes its states."""
        return StateMaker(self.bundle.model_id, self.bundle.manifest.state.length, self.session)


@dataclass(frozen=True, slots=True)
class Status:
    """What a client tells the program that uses it."""

    connected: bool
    """Whether it says that it is connected."""
    alive: bool
    """Whether the thread that does the work is running."""
    waiting: int
    """Messages of QoS 1 that are not acknowledged, as far as it tells."""
    problems: tuple[str, ...]
    """What it told of problems since the start, by callback, exception, log or status."""


class LinkClient(Protocol):
    """A device's link. Whatever a method raises is a result."""

    setup: Setup

    def start(self) -> None:
        """Begins to connect, whether there is a broker or not."""

    def stream(self, packet: Packet) -> None:
        """Sends a state of the stream, 30 a second: now or never."""

    def event(self, number: int, payload: bytes) -> None:
        """Sends an event, which must arrive."""

    def report(self, number: int) -> None:
        """Sends a state report, retained: only the latest one counts."""

    def fate(self, number: int) -> str:
        """Returns what it tells of an event: `queued`, `safe`, `acknowledged`, `rejected`, or empty for nothing."""

    def status(self) -> Status:
        """Returns what it tells of itself."""

    def stop(self) -> None:
        """Ends on purpose, as cleanly as it can."""


def avail_payload(status: str, session: int, reason: str = "") -> bytes:
    """Returns what the bare clients say of their availability: the twin's own message, without the frame around it."""
    return json.dumps({"value": {"status": status, "session": session, "reason": reason or None}}).encode()


def report_payload(number: int) -> bytes:
    """Returns the report of the bare clients."""
    return json.dumps({"value": {"twin": {"properties": {"rev": number, "seq": number}}}}).encode()


def answer_payload(request: bytes) -> bytes:
    """Returns the answer to a request, which is parsed as most programs do: trustingly."""
    return json.dumps({"id": json.loads(request)["id"], "ok": True}).encode()
