"""What the clients are given to send, the same for all: states, events, reports; and how it is read back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from twin_edge.twin.packet import HEADER_BYTES, Flags, Packet, PacketHeader

NAMESPACE: Final = "org.acme"
DEVICE: Final = "cam-01"
ROOT: Final = f"twin/v1/{NAMESPACE}/{DEVICE}/"
DISCOVERY: Final = f"homeassistant/device/{DEVICE}/config"
DEVICE_TOPICS: Final = (f"{ROOT}up/#", DISCOVERY)
STREAM, EVENT, REPORT = "up/z", "up/event", "up/state"
AVAIL, CODEC, KEY, HISTORY, ANSWER = "up/avail", "up/codec", "up/key", "up/hist", "up/res"
REQUEST: Final = "down/req"
SESSION: Final = 7
_U32: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class StateMaker:
    """Makes packets of one raw state; state n holds n in its bytes, so that a mix-up shows."""

    model: int
    """First four bytes of the bundle's digest."""
    length: int
    """Bytes of a state."""
    session: int = SESSION
    """The device's process start."""

    def packet(self, seq: int, flags: Flags = Flags.NONE, time_us: int | None = None) -> Packet:
        """Returns the packet of state `seq`, captured at a time in microseconds since the epoch, or now."""
        state = np.frombuffer((seq & _U32).to_bytes(4, "little") * (self.length // 4 + 1), np.int8)[: self.length]
        at_us = time.time_ns() // 1000 if time_us is None else time_us
        return Packet(self.model, self.session, seq & _U32, at_us, state[np.newaxis], flags=flags)


def event_payload(number: int, size: int = 0) -> bytes:
    """Returns the payload of event `number`, filled up to a size in bytes."""
    value = {"n": number, "t": time.time_ns() // 1000, "kind": "gap-high", "pad": ""}
    missing = size - len(json.dumps(value))
    return json.dumps(value | {"pad": "x" * max(0, missing)}).encode()


def event_number(payload: bytes) -> int | None:
    """Returns the number of an event that came; None for one that is not as it was made."""
    try:
        value = json.loads(payload)
        number, pad = value["n"], value["pad"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and not set(pad) - {"x"} else None


def made_at_us(payload: bytes) -> int:
    """Returns when an event was made, microseconds since the epoch."""
    return int(json.loads(payload)["t"])


def stream_header(payload: bytes) -> PacketHeader | None:
    """Returns the header of a packet that came; None for one that is not as it was made."""
    try:
        return PacketHeader.decode(payload)
    except ValueError:
        return None


def is_whole(payload: bytes, length: int) -> bool:
    """Returns whether a raw packet of one state is as `StateMaker` made it."""
    header = stream_header(payload)
    state = payload[HEADER_BYTES + 2 :]
    if header is None or len(state) != length:
        return False
    return state == (header.seq.to_bytes(4, "little") * (length // 4 + 1))[:length]


@dataclass(slots=True)
class Arrivals:
    """What became of numbered events."""

    sent: set[int]
    """Numbers that were handed to the client."""
    counts: Counter[int]
    """How often each one came."""
    corrupt: int
    """Events that were not as they were made."""

    @classmethod
    def of(cls, sent: Iterable[int], payloads: Iterable[bytes]) -> Arrivals:
        """Counts what came."""
        numbers = [event_number(payload) for payload in payloads]
        return cls(set(sent), Counter(n for n in numbers if n is not None), numbers.count(None))

    @property
    def lost(self) -> set[int]:
        """Numbers that did not come."""
        return self.sent - set(self.counts)

    @property
    def repeated(self) -> int:
        """How often an event came once more."""
        return sum(count - 1 for count in self.counts.values())

    @property
    def text(self) -> str:
        """In words."""
        came = len(self.sent & set(self.counts))
        return f"{came} of {len(self.sent)} events arrived, {self.repeated} repeated"


@dataclass(slots=True)
class Pace:
    """Calls at a steady rate, and how long they took: for a thread that must never wait."""

    slowest_s: float = 0.0
    """The longest that one call took, seconds."""
    errors: list[str] = field(default_factory=list)
    """What calls raised."""

    def call(self, function: Callable[[], Any]) -> None:
        """Calls a function and keeps the time."""
        began = time.perf_counter()
        try:
            function()
        except Exception as error:  # noqa: BLE001 - what a client raises is a result
            self.errors.append(f"{type(error).__name__}: {error}"[:200])
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
