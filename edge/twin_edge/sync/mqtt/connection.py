"""One connection to a broker: a paho client of its own, and what it has of ours."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.sync.mqtt.aliases import TopicAliases
from twin_edge.sync.mqtt.buffered import BufferedClient
from twin_edge.sync.mqtt.poller import has_room
from twin_edge.sync.mqtt.tls import TlsContext, Trouble, explain
from twin_edge.sync.mqtt.transport import BrokerConfig, MqttVersion, Outbound, Outcome, Settle

Granted = Callable[[tuple[bool, ...]], None]
"""Takes whether each subscription of a call was granted, with the QoS that was asked for."""

_SEND_BUFFER: Final = 64 * 1024
_UNSENT_BYTES: Final = 2 * 1024
"""The kernel has room for more as long as fewer bytes than this wait to be sent: what it keeps gets old there."""
_TCP_TIMEOUT_MS: Final = 10_000
_MAX_PAHO_INFLIGHT: Final = 0xFFFF
_PROTOCOLS: Final = {
    MqttVersion.V5: MQTTProtocolVersion.MQTTv5,
    MqttVersion.V311: MQTTProtocolVersion.MQTTv311,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom to connect."""

    client_id: str
    """MQTT client id."""
    user: str | None = None
    """Whom to log in as; anonymous when None."""
    will: Outbound | None = None
    """What the broker publishes when the connection breaks."""


class Connection:
    """One paho client, from connect to disconnect; for the network thread.

    Args:
        config: How to connect.
        identity: As whom.
        version: The MQTT version to speak.
        tls: The TLS context; no TLS when None.

    Attributes:
        version: The MQTT version.
        reason: The broker's answer to CONNECT, None before it.
        since: When the broker took us, monotonic seconds; 0 before.
        max_packet_bytes: Longest packet that the broker takes, 0 for no stated limit.
        max_inflight: Messages of QoS 1 that it takes at once.
        dismissal: The reason of its DISCONNECT and another server that it names; None without one.
    """

    def __init__(self, config: BrokerConfig, identity: Identity, version: MqttVersion, tls: TlsContext | None) -> None:
        self.version = version
        self.reason: ReasonCode | None = None
        self.since = 0.0
        self.max_packet_bytes = 0
        self.max_inflight = 1
        self.dismissal: tuple[ReasonCode, str] | None = None
        self._config = config
        self._settles: dict[int, tuple[int, Settle | None]] = {}
        self._settled: deque[tuple[int, Outcome]] = deque()
        self._grants: dict[int, tuple[Sequence[tuple[str, int]], Granted | None]] = {}
        self._granted: deque[tuple[int, tuple[int, ...]]] = deque()
        self._inflight = 0
        self._aliases = TopicAliases()
        # A broker that drops the session publishes the will with it, delay or not: the session must be kept as long.
        self._delays_will = version is MqttVersion.V5 and identity.will is not None and config.will_delay_s > 0
        self.client = self._make(identity, tls)

    @property
    def held_s(self) -> float:
        """Seconds since the broker took us, 0 when it has not."""
        return time.monotonic() - self.since if self.since else 0.0

    @property
    def inflight(self) -> int:
        """Messages of QoS 1 that the broker has not acknowledged."""
        return self._inflight

    @property
    def room(self) -> int:
        """Messages of QoS 1 that the broker takes now."""
        return max(0, self.max_inflight - self._inflight)

    @property
    def flows(self) -> bool:
        """Whether the network takes more: nothing waits here, and little in the kernel."""
        return not self.client.want_write() and has_room(self.client.socket())

    @property
    def buffered(self) -> bool:
        """Whether something has been read and not handled, of which the socket says nothing."""
        return isinstance(self.client, BufferedClient) and self.client.buffered

    def open(self) -> None:
        """Connects the socket and sends CONNECT.

        Raises:
            OSError: Nobody answers, or TLS fails.
            ValueError: The address cannot be used.
        """
        address, keepalive_s = self._config.address, self._config.keepalive_s
        with named(address.host):
            if self.version is MqttVersion.V5:
                session = self._session_properties()
                self.client.connect(
                    address.host, address.port, keepalive_s, clean_start=session is None, properties=session
                )
            else:
                self.client.connect(address.host, address.port, keepalive_s)

    def accept(self, properties: Any) -> None:
        """Notes that the broker has taken us, and what it says about itself."""
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", 0)
        # paho ignores what the broker can take at once.
        self.max_inflight = min(self._config.max_inflight, getattr(properties, "ReceiveMaximum", 0xFFFF))
        self._aliases = TopicAliases(getattr(properties, "TopicAliasMaximum", 0))
        self.since = time.monotonic()

    def admits(self, message: Outbound) -> bool:
        """Returns whether the broker takes a message as long as this."""
        return not self.max_packet_bytes or message.size <= self.max_packet_bytes

    def send(self, message: Outbound, settle: Settle | None = None) -> bool:
        """Hands a message to the network, which the caller has found to have room.

        Returns:
            Whether it was taken.

        Raises:
            ValueError: paho does not send such a topic or payload.
        """
        topic, alias = self._aliases.address(message)
        properties = alias
        if message.correlation is not None and self.version is MqttVersion.V5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = message.correlation
        info = self.client.publish(topic, message.payload, message.qos, message.retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self._aliases.sent(message, alias)
        self._settles[info.mid] = (message.qos, settle)
        self._inflight += message.qos
        # At once, so that `flows` tells of this message as well.
        self.client.loop_write()
        return True

    def subscribe(self, topics: Sequence[tuple[str, int]], granted: Granted | None = None) -> None:
        """Subscribes to (filter, QoS) pairs; may be called from any thread."""
        code, mid = self.client.subscribe(list(topics))
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and mid is not None:
            self._grants[mid] = (topics, granted)

    def settle(self) -> Iterator[Callable[[], None]]:
        """Gives what is to be called for whatever the broker has acknowledged.

        paho calls back with locks of its own held; here nothing is held any more.
        """
        while self._settled:
            mid, outcome = self._settled.popleft()
            qos, settle = self._settles.pop(mid, (0, None))
            self._inflight -= qos
            if settle is not None:
                yield lambda settle=settle, outcome=outcome: settle(outcome)  # type: ignore[misc]

    def grants(self) -> Iterator[tuple[Sequence[tuple[str, int]], tuple[bool, ...], Granted | None]]:
        """Gives the subscriptions that were answered: what was asked for, whether it was granted, whom to tell."""
        while self._granted:
            mid, codes = self._granted.popleft()
            topics, granted = self._grants.pop(mid, ((), None))
            yield topics, tuple(code == qos for code, (_, qos) in zip(codes, topics, strict=False)), granted

    def close(self) -> None:
        """Closes what an abrupt end has left open."""
        with contextlib.suppress(Exception):
            sock = self.client.socket()
            if sock is not None:
                sock.close()

    def _make(self, identity: Identity, tls: TlsContext | None) -> paho.Client:
        address = self._config.address
        # A WebSocket has its own way of reading.
        kind = paho.Client if address.websocket else BufferedClient
        client = kind(
            CallbackAPIVersion.VERSION2,
            client_id=identity.client_id,
            clean_session=None if self.version is MqttVersion.V5 else True,
            protocol=_PROTOCOLS[self.version],
            transport="websockets" if address.websocket else "tcp",
            reconnect_on_failure=False,
        )
        if address.websocket:
            client.ws_set_options(path=address.path)
        if tls is not None:
            client.tls_set_context(tls)
        if identity.user is not None:
            client.username_pw_set(identity.user, self._config.password)
        will = identity.will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain, self._will_properties())
        client.connect_timeout = self._config.connect_timeout_s
        # The limit in flight is kept here, because paho does not know what the broker can take.
        client.max_inflight_messages_set(_MAX_PAHO_INFLIGHT)
        # These only copy: one that raised would end paho's loop for good.
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = lambda _client, _data, sock: tune(sock)
        # With this set, paho leaves all writing to the one who calls its loop.
        client.on_socket_register_write = lambda _client, _data, _sock: None
        return client

    def _session_properties(self) -> Properties | None:
        """Returns what asks the broker to keep the session for as long as it holds back the will; None for neither."""
        if not self._delays_will:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._config.will_delay_s
        return properties

    def _will_properties(self) -> Properties | None:
        if not self._delays_will:
            return None
        properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
        properties.WillDelayInterval = self._config.will_delay_s
        return properties

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._settled.append((mid, Outcome(reason.value, str(reason) if reason.is_failure else "")))

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self._granted.append((mid, tuple(reason.value for reason in reasons)))

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            self.dismissal = (reason, getattr(properties, "ServerReference", ""))


@contextlib.contextmanager
def named(host: str) -> Iterator[None]:
    """Turns names that no resolver takes into the error of a name that is not found."""
    try:
        yield
    except UnicodeError as error:
        raise OSError(f"the name {host!r:.80} cannot be looked up") from error


def why(error: Exception, tls: TlsContext | None = None) -> Trouble:
    """Returns why a connection failed, in the words of one who looks for the cause."""
    if isinstance(error, ssl.SSLError):
        return explain(error, tls)
    return Trouble(_why(error), "")


def _why(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def tune(sock: Any) -> None:
    """Bounds what the kernel keeps for a slow or dead link, in bytes and in time."""
    # Some systems lack the last two. A copy of the descriptor serves TLS and WebSocket, which wrap the socket, as well.
    with contextlib.suppress(OSError, AttributeError), socket.socket(fileno=os.dup(sock.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_TIMEOUT_MS)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
