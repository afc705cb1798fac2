"""A short MQTT connection to try things with: it waits for each answer, and can break off as a crash does."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.errors import BrokerRefusedError, BrokerUnreachableError
from twin_edge.sync.mqtt.connection import named, why
from twin_edge.sync.mqtt.tls import TlsContext
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, MqttVersion, Outbound

NOT_AUTHORIZED: Final = 0x87
_UNSUPPORTED_VERSION: Final = 0x84
_MAX_HEARD: Final = 1024
_LOOP_S: Final = 0.05
_KEEPALIVE_S: Final = 30
_PROTOCOLS: Final = {
    MqttVersion.V5: MQTTProtocolVersion.MQTTv5,
    MqttVersion.V311: MQTTProtocolVersion.MQTTv311,
}


class Probe:
    """One connection, as a context manager; for one thread.

    Args:
        config: How to reach the broker.
        client_id: MQTT client id.
        version: MQTT version, not `AUTO`.
        user: Whom to log in as; the address's user, or none, when empty.
        will: What the broker publishes when it breaks off.
        timeout_s: Longest wait for an answer, seconds, above 0.

    Attributes:
        heard: What has come in, the first 1024 messages.
        properties: What the broker said of itself when it took us, by the names of the specification; MQTT 5 only.
    """

    def __init__(
        self,
        config: BrokerConfig,
        client_id: str,
        version: MqttVersion,
        *,
        user: str = "",
        will: Outbound | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self.heard: list[Inbound] = []
        self.properties: dict[str, Any] = {}
        self.version = version
        self._config = config
        self._timeout_s = timeout_s
        self._reason: ReasonCode | None = None
        self._acked: dict[int, ReasonCode] = {}
        self._granted: dict[int, list[ReasonCode]] = {}
        self._tls: TlsContext | None = config.tls_context() if config.address.tls else None
        self._client = self._make(client_id, user, will)

    def __enter__(self) -> Self:
        """Connects.

        Raises:
            BrokerUnreachableError: Nobody answers, or not as it should.
            BrokerRefusedError: The broker does not take us.
        """
        address = self._config.address
        try:
            with named(address.host):
                if self.version is MqttVersion.V5:
                    self._client.connect(address.host, address.port, _KEEPALIVE_S, clean_start=True)
                else:
                    self._client.connect(address.host, address.port, _KEEPALIVE_S)
        except (OSError, ValueError, UnicodeError, paho.WebsocketConnectionError) as error:
            self._release()
            raise self._unreachable(error) from error
        if not self._until(lambda: self._reason is not None):
            failure = self._tls.failure if self._tls else None
            self._release()
            raise self._unreachable(failure or ConnectionError("it does not answer as an MQTT broker"))
        if self._reason is not None and self._reason.is_failure:
            reason = self._reason
            self._release()
            raise BrokerRefusedError(
                f"the broker at {address} refused this client ({str(reason).lower()})",
                fix="let twin-edge choose the MQTT version"
                if reason.value == _UNSUPPORTED_VERSION
                else "check user, password and certificate; the broker's log says more",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects, so that no will is published."""
        if self._client.socket() is not None:
            self._client.disconnect()
            self._until(lambda: self._client.socket() is None, 0.5)
        self._release()

    def break_off(self) -> None:
        """Ends the connection as a crash or a cut cable does."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._release()

    @property
    def connected(self) -> bool:
        """Whether the connection still stands."""
        return self._client.socket() is not None

    @property
    def refused_version(self) -> bool:
        """Whether the broker does not know this MQTT version, as far as it said."""
        return self._reason is None or self._reason.value == _UNSUPPORTED_VERSION

    def publish(self, topic: str, payload: bytes = b"", *, retain: bool = False) -> ReasonCode | None:
        """Publishes with QoS 1; returns the broker's answer, None when none came."""
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        self._until(lambda: info.mid in self._acked)
        return self._acked.get(info.mid)

    def subscribe(self, *topics: str) -> list[ReasonCode]:
        """Subscribes with QoS 1; returns the broker's answers, none when it did not answer."""
        code, mid = self._client.subscribe([(topic, 1) for topic in topics])
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            return []
        self._until(lambda: mid in self._granted)
        return self._granted.get(mid, [])

    def find(self, condition: Callable[[Inbound], bool], timeout_s: float | None = None) -> Inbound | None:
        """Waits for a message; returns the first that came, None when none did in time."""
        self._until(lambda: any(map(condition, self.heard)), timeout_s)
        return next(filter(condition, self.heard), None)

    def listen(self, seconds: float) -> None:
        """Takes what comes in for a while."""
        self._until(lambda: False, seconds)

    def _until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        while not condition():
            if time.monotonic() > deadline or self._client.loop(_LOOP_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return condition()
        return True

    def _unreachable(self, error: Exception) -> BrokerUnreachableError:
        cause = why(error, self._tls)
        fix = cause.fix or "check host and port, and that a broker runs there"
        return BrokerUnreachableError(f"no broker at {self._config.address} ({cause.text})", fix=fix)

    def _release(self) -> None:
        for sock in (self._client.socket(), self._tls.last if self._tls else None):
            with contextlib.suppress(OSError, AttributeError):
                if sock is not None:
                    sock.close()

    def _make(self, client_id: str, user: str, will: Outbound | None) -> paho.Client:
        address = self._config.address
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self.version is MqttVersion.V5 else True,
            protocol=_PROTOCOLS[self.version],
            transport="websockets" if address.websocket else "tcp",
            reconnect_on_failure=False,
        )
        if address.websocket:
            client.ws_set_options(path=address.path)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        name = address.user or (user if self._config.password is not None else None)
        if name:
            client.username_pw_set(name, self._config.password)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.connect_timeout = self._timeout_s
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._reason = reason
        if properties is not None:
            self.properties = {name: getattr(properties, name) for name in _SAID if hasattr(properties, name)}

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._acked[mid] = reason

    def _on_subscribe(self, _c: Any, _userdata: Any, mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self._granted[mid] = reasons

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if len(self.heard) < _MAX_HEARD and len(message.payload) <= self._config.max_payload_bytes:
            self.heard.append(Inbound(message.topic, bytes(message.payload), retained=message.retain))


_SAID: Final = ("MaximumPacketSize", "ReceiveMaximum", "MaximumQoS", "RetainAvailable", "ServerKeepAlive")
