"""What is seen of MQTT in passing: messages in flight, reused identifiers, connects."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

from link.packets import CONNACK, CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, MqttPacket, PacketSplitter
from link.rules import Way


class InflightTap:
    """Watches the messages of QoS 1 that clients have sent and the broker has not acknowledged.

    Attributes:
        most: The most that were in flight on one connection.
        sent: Messages of QoS 1, repetitions included.
        reused: Times an identifier was used again while its message was in flight.
        connects: Monotonic times of CONNECT.
        pings: Monotonic times of PINGREQ.
        refused: Reason codes of the broker in CONNACK, PUBACK and DISCONNECT, 0 left out.
        aliases: PUBLISH packets without a topic.
    """

    def __init__(self) -> None:
        self.most = self.sent = self.reused = self.aliases = 0
        self.connects: list[float] = []
        self.pings: list[float] = []
        self.refused: list[int] = []
        self._splitters: dict[tuple[int, Way], PacketSplitter] = defaultdict(PacketSplitter)
        self._open: dict[int, set[int]] = defaultdict(set)
        self._lock = threading.Lock()

    def __call__(self, number: int, way: Way, data: bytes) -> None:
        """Takes what passes; see `Proxy`."""
        with self._lock:
            for packet in self._splitters[number, way].feed(data):
                (self._up if way is Way.UP else self._down)(self._open[number], packet)

    def _up(self, flying: set[int], packet: MqttPacket) -> None:
        if packet.kind == CONNECT:
            self.connects.append(time.monotonic())
        elif packet.kind == PINGREQ:
            self.pings.append(time.monotonic())
        elif packet.kind == PUBLISH:
            self.aliases += not packet.topic
            if packet.qos:
                self.sent += 1
                self.reused += packet.packet_id in flying
                flying.add(packet.packet_id)
                self.most = max(self.most, len(flying))

    def _down(self, flying: set[int], packet: MqttPacket) -> None:
        if packet.kind == PUBACK:
            flying.discard(packet.packet_id)
            code = packet.body[2] if len(packet.body) > 2 else 0
        elif packet.kind == CONNACK:
            code = packet.body[1]
        elif packet.kind == DISCONNECT:
            code = packet.body[0] if packet.body else 0
        else:
            return
        if code:
            self.refused.append(code)
