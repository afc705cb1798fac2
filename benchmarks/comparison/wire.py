"""From payload to bytes on the wire.

States go out as MQTT publishes of QoS 0 over TCP and IPv4, several states to a packet; video as RTP over UDP and IPv4,
one packet a frame or more. Acknowledgements, TLS and Ethernet are left out on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from twin_edge.twin.packet import HEADER_BYTES

TOPIC: Final = "twin/v1/org.acme/cam-01/up/z"
"""A usual topic; it is spelled out in each publish, as the device does: a topic alias needs MQTT 5."""
TCP_IP: Final = 40
RTP_UDP_IP: Final = 40
_SEGMENT: Final = 1460
_RTP_PAYLOAD: Final = 1400
_TOPIC_LENGTH_FIELD: Final = 2
_VARINT_BITS: Final = 7


def publish_bytes(message: int, topic: str = TOPIC) -> int:
    """Returns the bytes on the wire of an MQTT 3.1.1 publish of QoS 0.

    Args:
        message: Bytes of the MQTT payload, at least 0.
        topic: Where it is published to.
    """
    remaining = _TOPIC_LENGTH_FIELD + len(topic.encode()) + message
    length_field = max(1, -(-remaining.bit_length() // _VARINT_BITS))
    total = 1 + length_field + remaining
    return total + TCP_IP * math.ceil(total / _SEGMENT)


def packet_wire_bytes(payloads: Iterable[int]) -> int:
    """Returns the bytes on the wire of packets, given the bytes of each one's payload after its header."""
    return sum(publish_bytes(HEADER_BYTES + payload) for payload in payloads)


def video_wire_bytes(frames: Iterable[int]) -> int:
    """Returns the bytes on the wire of coded frames, given the bytes of each."""
    return sum(frame + RTP_UDP_IP * math.ceil(frame / _RTP_PAYLOAD) for frame in frames)


def states_in_packet(batch_ms: float, fps: float) -> int:
    """Returns how many states a device gathers in one packet, at least 1."""
    return max(1, math.floor(batch_ms / 1000 * fps + 1e-9))
