"""One connection to a broker: what paho has of ours, and what waits for the broker to take it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.sync.mqtt.tls import Cause, TlsContext, explain
from twin_edge.sync.mqtt.transport import MqttVersion, Outbound

_SEND_BUFFER: Final = 64 * 1024
_TCP_TIMEOUT_MS: Final = 10_000


class Connection:
    """One paho client, from connect to disconnect."""

    def __init__(self, client: paho.Client, version: MqttVersion) -> None:
        self.client = client
        self.version = version
        self.reason: ReasonCode | None = None
        """The broker's answer to CONNECT."""
        self.since = 0.0
        self.max_packet_bytes = 0
        """What the broker accepts, 0 for no stated limit."""
        self.max_inflight = 1
        self._queue: deque[Outbound] = deque()
        """Messages of QoS 1 that the broker cannot take yet."""
        self._sending = threading.Lock()
        """Keeps messages of QoS 1 in order; never taken in `done`, where paho holds locks of its own."""
        self._waiting: dict[int, int] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()

    def _handed_over(self, mid: int, qos: int) -> None:
        """Notes that paho has a message."""
        # paho may have called back before `publish` returned. The lock is never held while paho is called, which
        # calls back with its own locks held.
        with self._lock:
            if mid in self._early:
                self._early.discard(mid)
            else:
                self._waiting[mid] = qos

    def done(self, mid: int) -> None:
        """Notes that a message of QoS 0 is written, or one of QoS 1 acknowledged."""
        with self._lock:
            if self._waiting.pop(mid, None) is None:
                self._early.add(mid)

    def waiting(self, qos: int) -> int:
        """Returns how many messages of a QoS are not done."""
        with self._lock:
            return sum(each == qos for each in self._waiting.values())

    @property
    def queued(self) -> int:
        """Messages of QoS 1 that are not acknowledged."""
        return self.waiting(1) + len(self._queue)

    def send(self, message: Outbound) -> bool:
        """Hands a message to paho, or queues it while as many of QoS 1 are in flight as the broker takes.

        Returns:
            Whether it was; False when paho finds itself without a connection.
        """
        if message.qos == 0:
            return self._hand_over(message)
        with self._sending:
            if self._queue or self.waiting(1) >= self.max_inflight:
                self._queue.append(message)
                return True
            return self._hand_over(message)

    def drain(self) -> None:
        """Hands over what is queued, as far as the broker takes it."""
        with self._sending:
            while self._queue and self.waiting(1) < self.max_inflight:
                self._hand_over(self._queue.popleft())

    def _hand_over(self, message: Outbound) -> bool:
        properties = None
        if message.correlation is not None and self.version is MqttVersion.V5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = message.correlation
        info = self.client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self._handed_over(info.mid, message.qos)
        return True


@contextlib.contextmanager
def named(host: str) -> Iterator[None]:
    """Turns names that no resolver takes into the error of a name that is not found."""
    try:
        yield
    except UnicodeError as error:
        raise OSError(f"the name {host!r:.80} cannot be looked up") from error


def why(error: Exception, tls: TlsContext | None = None) -> Cause:
    """Returns why a connection failed, in the words of one who looks for the cause."""
    if isinstance(error, ssl.SSLError):
        return explain(error, tls)
    return Cause(_why(error), "")


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def tune(sock: Any) -> None:
    """Bounds what the kernel keeps for a dead link, in bytes and in time."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_TIMEOUT_MS)
