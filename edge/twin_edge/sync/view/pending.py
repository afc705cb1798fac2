"""Packets that wait for their bundle, in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import Final

from twin_edge.sync.mqtt.transport import Inbound

MAX_PACKETS: Final = 128
MAX_BYTES: Final = 64 * 1024


class Pending:
    """Keeps the newest messages, 128 of them and 64 KiB together at most."""

    def __init__(self) -> None:
        self._messages: deque[Inbound] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Inbound) -> None:
        """Adds a message; one that is too long by itself is not kept."""
        size = len(message.payload)
        if size > MAX_BYTES:
            return
        self._messages.append(message)
        self.bytes += size
        while self.bytes > MAX_BYTES or len(self._messages) > MAX_PACKETS:
            self.bytes -= len(self._messages.popleft().payload)

    def take(self) -> list[Inbound]:
        """Returns all messages in the order in which they came, and forgets them."""
        messages = list(self._messages)
        self._messages.clear()
        self.bytes = 0
        return messages
