"""As much of MQTT as it takes to look into a connection, and to be a broker with faults."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
MQTT_5: Final = 5
_MORE: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class MqttPacket:
    """One control packet."""

    kind: int
    """Packet type, 1-15."""
    flags: int
    """The lower four bits of its first byte."""
    body: bytes
    """What follows the remaining length."""

    @property
    def qos(self) -> int:
        """QoS of a PUBLISH."""
        return self.flags >> 1 & 3

    @property
    def topic(self) -> str:
        """Topic of a PUBLISH."""
        length = int.from_bytes(self.body[:2], "big")
        return self.body[2 : 2 + length].decode(errors="replace")

    @property
    def packet_id(self) -> int:
        """Packet identifier of a PUBLISH of QoS 1, PUBACK, SUBSCRIBE or SUBACK."""
        at = 2 + int.from_bytes(self.body[:2], "big") if self.kind == PUBLISH else 0
        return int.from_bytes(self.body[at : at + 2], "big")

    def payload(self, *, version: int) -> bytes:
        """Returns the payload of a PUBLISH."""
        at = 2 + int.from_bytes(self.body[:2], "big") + (2 if self.qos else 0)
        if version == MQTT_5:
            length, used = _length(self.body, at)
            at += used + length
        return self.body[at:]


class PacketSplitter:
    """Cuts the bytes of one direction of a connection into packets."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[MqttPacket]:
        """Takes bytes, gives the packets that they complete."""
        self._data += data
        while len(self._data) > 1:
            length, used = _length(self._data, 1)
            if not used or len(self._data) < 1 + used + length:
                return
            first, body = self._data[0], bytes(self._data[1 + used : 1 + used + length])
            del self._data[: 1 + used + length]
            yield MqttPacket(first >> 4, first & 15, body)


def encode(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Returns a packet as it goes on the wire."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, _MORE)
        digits.append(digit | (_MORE if length else 0))
        if not length:
            return bytes([kind << 4 | flags]) + bytes(digits) + body


def publish(topic: str, payload: bytes, *, version: int, retain: bool = False) -> bytes:
    """Returns a PUBLISH of QoS 0."""
    name = topic.encode()
    properties = b"\0" if version == MQTT_5 else b""
    return encode(PUBLISH, struct.pack(">H", len(name)) + name + properties + payload, int(retain))


def connect_version(packet: MqttPacket) -> int:
    """Returns the protocol level of a CONNECT: 4 for MQTT 3.1.1, 5 for MQTT 5."""
    return packet.body[2 + int.from_bytes(packet.body[:2], "big")]


def _length(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Returns a variable-length number and the bytes it takes; 0 bytes when it is not complete."""
    value = 0
    for used, byte in enumerate(data[at : at + _MAX_LENGTH_BYTES]):
        value |= (byte & ~_MORE) << 7 * used
        if not byte & _MORE:
            return value, used + 1
    return 0, 0
