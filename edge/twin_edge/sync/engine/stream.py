"""Packets of the live stream: those that wait for the socket, and those of which it is not known that they arrived.

Packets go with QoS 0, so nobody acknowledges them. But the broker takes what we send in order: when it acknowledges a
message of QoS 1, it has every packet that was sent before it. What was sent after the last such message when the
connection ends may be lost, and becomes history; subscribers drop what they have already.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Final

from twin_edge.twin.packet import Codec, Flags, Packet

_MAX_WAITING: Final = 16
"""Packets that may wait for the socket; more means that it is backed up."""
_MAX_LOG_BYTES: Final = 512 * 1024


@dataclass(slots=True, eq=False)
class StreamPacket:
    """A packet on its way."""

    data: bytes
    """As it goes on the wire."""
    states: int
    """How many states it has."""
    alone: bool
    """Whether it can be read by itself."""
    kept: bool = False
    """Whether the history has it."""


class LiveStream:
    """Follows the packets of the live stream; not for several threads at once.

    Attributes:
        broken: Whether the next packet goes live only if it can be read by itself.
        handed: Packets, counted from 0, that are with the network, or will never be.
    """

    def __init__(self) -> None:
        self._log: deque[StreamPacket] = deque()
        """At least from the last packet that can be read by itself, before the first unconfirmed one, on."""
        self._log_bytes = 0
        self._first = 0
        """Number of the first packet in the log."""
        self._confirmed = 0
        """Packets before this number have arrived, or are in the history."""
        self.broken = True
        self.handed = 0

    @property
    def waiting(self) -> int:
        """Packets that wait for the socket."""
        return self._end - self.handed

    def put(self, packet: Packet, data: bytes, *, connected: bool) -> list[StreamPacket]:
        """Takes a packet.

        Args:
            packet: The packet.
            data: The same as it goes on the wire.
            connected: Whether there is a connection.

        Returns:
            Packets for the history.
        """
        alone = packet.codec == Codec.RAW or bool(packet.flags & Flags.KEY)
        live = connected and (alone or not self.broken)
        lost = self._append(StreamPacket(data, len(packet.states), alone))
        if not live:
            # Either nobody is there, or what it hangs on did not go live.
            lost += self._keep(self._end - 1)
            self._give_up_waiting()
            if not connected:
                self._confirmed = self._end
        else:
            self.broken = False
            lost += self.spill() if self.waiting > _MAX_WAITING else []
        self._trim()
        return lost

    def take(self) -> bytes | None:
        """Returns the next packet to send, which counts as handed over; None when none waits."""
        if not self.waiting:
            return None
        self.handed += 1
        return self._log[self.handed - 1 - self._first].data

    def confirm(self, handed: int) -> None:
        """The broker has every packet before the number that `handed` was, when a message was sent that it has."""
        self._confirmed = max(self._confirmed, min(handed, self._end))
        self._trim()

    def spill(self) -> list[StreamPacket]:
        """Gives up what waits, because it gets old; returns the packets for the history, the oldest first.

        What is with the network and not confirmed goes along: it would follow later packets when the connection ends.
        """
        lost = self._keep(self._confirmed) if self.waiting else []
        self._give_up_waiting()
        return lost

    def interrupt(self) -> list[StreamPacket]:
        """The connection has ended; returns the packets for the history, the oldest first."""
        lost = self._keep(self._confirmed) if self._confirmed < self._end else []
        self._give_up_waiting()
        self._confirmed = self._end
        self._trim()
        return lost

    @property
    def _end(self) -> int:
        return self._first + len(self._log)

    def _give_up_waiting(self) -> None:
        self.handed = self._end
        self.broken = True

    def _keep(self, number: int) -> list[StreamPacket]:
        """Returns the packets from a number on, with those that they hang on, as far as the history lacks them."""
        lost = [entry for entry in itertools.islice(self._log, self._lead_in(number), None) if not entry.kept]
        for entry in lost:
            entry.kept = True
        return lost

    def _lead_in(self, number: int) -> int:
        """Returns the place in the log from where on one has to read, to read a packet."""
        place = min(number - self._first, len(self._log) - 1)
        while place > 0 and not self._log[place].alone:
            place -= 1
        return max(place, 0)

    def _append(self, entry: StreamPacket) -> list[StreamPacket]:
        """Takes a packet; returns the ones for the history that the log has no room for."""
        self._log.append(entry)
        self._log_bytes += len(entry.data)
        full = []
        while self._log_bytes > _MAX_LOG_BYTES and len(self._log) > 1:
            if self._first >= self._confirmed and not self._log[0].kept:
                full.append(self._log[0])
            self._drop_first()
        return full

    def _trim(self) -> None:
        for _ in range(self._lead_in(self._confirmed) if self._log else 0):
            self._drop_first()

    def _drop_first(self) -> None:
        self._log_bytes -= len(self._log.popleft().data)
        self._first += 1
        self.handed = max(self.handed, self._first)
        self._confirmed = max(self._confirmed, self._first)
