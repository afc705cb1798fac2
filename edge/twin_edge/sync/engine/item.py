"""A message that waits, and its way to the broker."""

from __future__ import annotations

from dataclasses import dataclass

from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.mqtt.transport import Outbound


@dataclass(slots=True, eq=False)
class Item:
    """One message on its way; changed under the engine's lock only."""

    serial: int
    """Grows with each message; also its number on the disk."""
    message: Outbound
    """What to send."""
    delivery: Delivery
    """Its class."""
    queued_s: float
    """Since when it waits, monotonic seconds."""
    receipt: Receipt
    """Tells whoever sent it."""
    stored: bool = False
    """Whether it is on the disk."""
    sent_s: float = 0.0
    """When it was handed to the network, monotonic seconds."""
    failures: int = 0
    """Times that it was set aside."""

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.message.size

    @property
    def key(self) -> int:
        """Equal for messages that are equal on the wire."""
        return hash((self.message.topic, self.message.payload))

    def waits_again(self) -> None:
        """Notes that it is no longer in flight."""
        self.receipt.advance(ReceiptState.SPOOLED if self.stored else ReceiptState.QUEUED)
