"""Putting the states of a twin in order: each once, and with the number of those that are missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from twin_edge.twin.packet import Flags, Packet, seq_distance

_DEAF_S: Final = 10.0
"""After this time with nothing but old packets, the device has begun anew and we follow it."""


@dataclass(slots=True)
class Sequence:
    """Where we are in the numbers of one twin."""

    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    session: int | None = None
    """The latest session heard of."""
    duplicates: int = 0
    """States that had come already, or too late."""
    _last: int = 0
    _counts: bool = False
    _heard_at: float = field(default=0.0)

    def take(self, packet: Packet, *, retained: bool) -> list[tuple[int, int]]:
        """Returns the states of a packet that are new.

        Args:
            packet: What came.
            retained: Whether it lay on the broker before we came: what is between it and the next one was never ours.

        Returns:
            The place of each new state in the packet, and how many are missing directly before it.
        """
        if self._begins_anew(packet, retained=retained):
            self.session = packet.session
            self._last = (packet.seq - 1) & 0xFFFF_FFFF
            self._counts = False
        elif packet.session != self.session:
            self.duplicates += len(packet.states)
            return []
        new = []
        for place, seq in enumerate(packet.seqs()):
            ahead = seq_distance(seq, self._last)
            if ahead < 1:
                self.duplicates += 1
                continue
            new.append((place, ahead - 1 if self._counts else 0))
            self._last = seq
            self._counts = True
        if new:
            self._heard_at = self.clock()
            self._counts = not retained
        return new

    def _begins_anew(self, packet: Packet, *, retained: bool) -> bool:
        if self.session is None or packet.session > self.session:
            return True
        if retained or packet.flags & Flags.HISTORICAL:
            return False
        old = packet.session < self.session or seq_distance(packet.seqs()[-1], self._last) < 1
        return old and self.clock() - self._heard_at > _DEAF_S
