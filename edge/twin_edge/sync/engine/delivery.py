"""How much is done for a message to arrive, and what has become of it."""

from __future__ import annotations

import enum
import threading
from typing import Final


class Delivery(enum.Enum):
    """Classes of messages; in the order in which they are sent, but for `LIVE`, which waits for none of the others."""

    GREETING = "greeting"
    """Said anew on each connect, before anything else; forgotten when the connection ends."""
    CRITICAL = "critical"
    """Kept until the broker has it, over restarts as well; oldest first, for a week at most. Events, answers."""
    STATE = "state"
    """The latest one of each topic is kept until the broker has it. Reports, retained values."""
    BULK = "bulk"
    """Large, and to be had again from elsewhere, as blocks of the bundle are; forgotten when the connection ends."""
    LIVE = "live"
    """QoS 0, now or never: a newer one takes its place. Packets, pictures."""


class ReceiptState(enum.Enum):
    """What has become of a message."""

    QUEUED = "queued"
    """It waits in memory."""
    SPOOLED = "spooled"
    """It waits on the disk: a crash or a power cut does not lose it."""
    IN_FLIGHT = "in flight"
    """It is with the network, and the broker has not acknowledged it."""
    SENT = "sent"
    """It is with the network, and nobody will acknowledge it: QoS 0."""
    ACKNOWLEDGED = "acknowledged"
    """The broker has it."""
    SUPERSEDED = "superseded"
    """A newer message of the same topic has taken its place."""
    REJECTED = "rejected"
    """It will not be sent, or the broker does not take it; `Receipt.reason` says why."""
    EXPIRED = "expired"
    """It waited for too long, or for a connection that has ended."""

    @property
    def final(self) -> bool:
        """Whether nothing further happens."""
        return self not in _UNDER_WAY


_UNDER_WAY: Final = frozenset({ReceiptState.QUEUED, ReceiptState.SPOOLED, ReceiptState.IN_FLIGHT})


class Receipt:
    """Tells what has become of one message; for any thread."""

    __slots__ = ("_reason", "_spooled", "_state")

    # One for all receipts: few are ever waited for, and a condition of its own costs more than the rest of a receipt.
    _shared: Final = threading.Condition()

    def __init__(self, state: ReceiptState = ReceiptState.QUEUED, reason: str = "") -> None:
        self._state = state
        self._reason = reason
        self._spooled = state is ReceiptState.SPOOLED

    @property
    def state(self) -> ReceiptState:
        """What has become of the message, as far as is known now."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it was rejected or has expired; empty otherwise."""
        return self._reason

    @property
    def spooled(self) -> bool:
        """Whether it has been safe on the disk, whatever came afterwards."""
        return self._spooled

    @property
    def acknowledged(self) -> bool:
        """Whether the broker has it."""
        return self._state is ReceiptState.ACKNOWLEDGED

    def wait(self, timeout_s: float | None = None) -> ReceiptState:
        """Waits until nothing further happens.

        Args:
            timeout_s: Seconds to wait at most; None waits for ever.

        Returns:
            The state then.
        """
        with self._shared:
            self._shared.wait_for(lambda: self._state.final, timeout_s)
        return self._state

    def wait_safe(self, timeout_s: float | None = None) -> bool:
        """Waits until the broker has it, or the disk of this device.

        Args:
            timeout_s: Seconds to wait at most; None waits until it is safe or will never be.

        Returns:
            Whether it is safe.
        """
        with self._shared:
            self._shared.wait_for(lambda: self._spooled or self._state.final, timeout_s)
        return self._spooled or self.acknowledged

    def advance(self, state: ReceiptState, reason: str = "") -> None:
        """Notes what has become of it; for the engine only. A final state stays.

        Args:
            state: The new state.
            reason: Why, where it is `REJECTED` or `EXPIRED`.
        """
        with self._shared:
            if self._state.final:
                return
            self._state = state
            self._reason = reason
            self._spooled = self._spooled or state is ReceiptState.SPOOLED
            self._shared.notify_all()

    def __repr__(self) -> str:
        return f"Receipt({self._state.value}{f': {self._reason}' if self._reason else ''})"
