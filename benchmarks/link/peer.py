"""A broker that does what mosquitto cannot be told to do: refuse subscriptions, end connections with a reason.

It speaks MQTT 3.1.1 and 5, acknowledges everything and passes nothing on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from link.packets import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    MQTT_5,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    SUBACK,
    SUBSCRIBE,
    MqttPacket,
    PacketSplitter,
    connect_version,
    encode,
)

_SERVER_KEEP_ALIVE: Final = 0x13
_POLL_S: Final = 0.1
_SUBACK_CODES_AFTER: Final = 2


@dataclass(slots=True)
class Manners:
    """What it does to its clients; may be changed at any time."""

    granted: int = 1
    """What each subscription is answered with: a QoS, or a refusal such as 0x80."""
    server_keep_alive_s: int = 0
    """Keep alive that it asks for with MQTT 5; 0 for none."""
    disconnect: int = 0
    """Reason of a DISCONNECT that follows each CONNACK with MQTT 5; 0 for none."""


class Peer:
    """Listens on a free port of the loopback; a context manager.

    Args:
        manners: What it does to its clients.

    Attributes:
        port: Where it listens.
        connects: Monotonic times of CONNECT.
        pings: Monotonic times of PINGREQ.
        published: Topics of the messages that came in.
        subscribed: Subscriptions that it was asked for.
    """

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(_POLL_S)
        self.port: int = self._server.getsockname()[1]
        self.connects: list[float] = []
        self.pings: list[float] = []
        self.published: list[str] = []
        self.subscribed = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="peer", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                thread = threading.Thread(target=self._serve, args=(client,), name="peer-client", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_POLL_S)
        splitter, version = PacketSplitter(), 0
        with client, contextlib.suppress(OSError):
            while not self._stop.is_set():
                try:
                    data = client.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    return
                for packet in splitter.feed(data):
                    if packet.kind == CONNECT:
                        version = connect_version(packet)
                    if packet.kind == DISCONNECT:
                        return
                    client.sendall(self._answer(packet, version))
                    if packet.kind == CONNECT and self.manners.disconnect and version == MQTT_5:
                        client.sendall(encode(DISCONNECT, bytes([self.manners.disconnect, 0])))
                        return

    def _answer(self, packet: MqttPacket, version: int) -> bytes:
        is_5 = version == MQTT_5
        if packet.kind == CONNECT:
            self.connects.append(time.monotonic())
            keep_alive = self.manners.server_keep_alive_s
            properties = bytes([_SERVER_KEEP_ALIVE]) + keep_alive.to_bytes(2, "big") if keep_alive else b""
            return encode(CONNACK, b"\0\0" + (bytes([len(properties)]) + properties if is_5 else b""))
        if packet.kind == PUBLISH:
            self.published.append(packet.topic)
            return encode(PUBACK, packet.packet_id.to_bytes(2, "big")) if packet.qos else b""
        if packet.kind == SUBSCRIBE:
            count = _subscriptions(packet, is_5=is_5)
            self.subscribed += count
            codes = bytes([self.manners.granted]) * count
            return encode(SUBACK, packet.body[:_SUBACK_CODES_AFTER] + (b"\0" if is_5 else b"") + codes)
        if packet.kind == PINGREQ:
            self.pings.append(time.monotonic())
            return encode(PINGRESP)
        return b""


def _subscriptions(packet: MqttPacket, *, is_5: bool) -> int:
    """Returns how many topics a SUBSCRIBE names."""
    at = _SUBACK_CODES_AFTER
    if is_5:
        at += 1 + packet.body[at]
    count = 0
    while at < len(packet.body):
        at += 3 + int.from_bytes(packet.body[at : at + 2], "big")
        count += 1
    return count
