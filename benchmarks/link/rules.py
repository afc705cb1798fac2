"""What a proxy may do to a connection."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Way(enum.Enum):
    """A direction."""

    UP = "up"
    """From the client to the broker."""
    DOWN = "down"
    """From the broker to the client."""


class Listening(enum.Enum):
    """What becomes of new connections."""

    ACCEPT = "accept"
    """They are passed on."""
    REFUSE = "refuse"
    """Nobody listens: connection refused."""
    RESET = "reset"
    """They are accepted and at once reset, which shows in `Proxy.attempts`."""


@dataclass(slots=True)
class Rules:
    """What happens to the bytes of one direction, of all connections; may be changed at any time."""

    stalled: bool = False
    """Nothing is read: the sender's buffers fill up."""
    dropped: bool = False
    """Everything is read and thrown away: a dead path whose end does not know it."""
    kbit_s: float = 0.0
    """Rate, kbit/s; 0 for no limit."""
    delay_s: float = 0.0
    """One way's part of the round trip, seconds."""
    loss: float = 0.0
    """Share of the segments that TCP has to send again, 0-1: each comes a timeout and a round trip later."""
    cut_after: int | None = None
    """Bytes that still pass before the connection that they belong to is reset; None for no cut."""
