"""A paho client that is quick with thousands of small messages a second (measured: benchmarks/subscribers.py).

paho asks the kernel three times for each message, waits for the socket between any two, and makes objects of their
MQTT 5 properties where there are none. Where a later paho does these things elsewhere, it does them its own way again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

_READ_BYTES: Final = 16 * 1024
_QOS, _RETAIN = 0x06, 0x01
"""Bits of the first byte of a message."""
_LENGTH_BYTES: Final = 2
"""What says how long the topic is."""


class BufferedClient(paho.Client):
    """Does what `paho.Client` does, but for its loops, which know nothing of `buffered`; for one connection.

    Attributes:
        on_plain: Gets topic, payload and the retained flag of each message of QoS 0 without properties, in place of
            `on_message`; must not raise.
    """

    on_plain: Callable[[str, bytes, bool], None] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._read = b""
        self._read_to = 0
        self._reads = 0

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handles the messages of one piece; see `paho.Client.loop_read`.

        More may be left: where they come faster than they are handled, others must have their turn too.
        """
        self._reads = 0
        code = super().loop_read(max_packets)
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS and self.buffered and self._reads <= 1:
            code = super().loop_read(max_packets)
        return code

    @property
    def buffered(self) -> bool:
        """Whether something has been read and not handled: the socket says nothing of it."""
        return self._read_to < len(self._read)

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.buffered:
            self._read_to = 0
            self._read = b""
            self._reads += 1
            self._read = super()._sock_recv(max(bufsize, _READ_BYTES))
        piece = self._read[self._read_to : self._read_to + bufsize]
        self._read_to += len(piece)
        return piece

    def _handle_publish(self) -> MQTTErrorCode:
        command, packet = self._in_packet["command"], self._in_packet["packet"]
        if self.on_plain is not None and not command & _QOS and len(packet) > _LENGTH_BYTES:
            end = _LENGTH_BYTES + (packet[0] << 8 | packet[1])
            begin = end + 1 if self._protocol == MQTTProtocolVersion.MQTTv5 else end
            # With MQTT 5 the length of the properties comes first.
            if begin <= len(packet) and not any(packet[end:begin]):
                try:
                    topic = packet[_LENGTH_BYTES:end].decode()
                except UnicodeDecodeError:
                    return super()._handle_publish()
                self.on_plain(topic, bytes(packet[begin:]), bool(command & _RETAIN))
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._handle_publish()
