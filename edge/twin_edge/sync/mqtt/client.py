"""One MQTT connection that is kept up, on top of paho-mqtt.

paho is the transport only. What it has in memory goes with the connection: each connection gets a new paho client, so
that nothing stale or undeliverable is sent again after a reconnect, and whoever uses this client says again in
`Listener.on_connected` what has to be said. paho's own loop has no jitter, and ends for good by an exception in a
callback while it goes on reporting success (both measured); hence the network loop here.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.errors import BrokerRefusedError, BrokerUnreachableError, ConfigError, SyncError
from twin_edge.sync.mqtt.broker_url import PASSWORD_VARIABLE
from twin_edge.sync.mqtt.connection import Connection, named, tune, why
from twin_edge.sync.mqtt.tls import Cause, TlsContext
from twin_edge.sync.mqtt.transport import (
    BrokerConfig,
    ClientStats,
    Inbound,
    Listener,
    MqttVersion,
    Outbound,
)

_TICK_S: Final = 0.1
_STABLE_S: Final = 10.0
"""A connection that held this long resets the back-off: one that breaks at once must not be tried at full speed."""
_FLUSH_S: Final = 0.3
_MAX_WAITING_QOS0: Final = 16
"""QoS 0 messages that may wait for the socket; more means that it is backed up, and the newest ones are dropped."""
_PROTOCOLS: Final = {
    MqttVersion.V5: MQTTProtocolVersion.MQTTv5,
    MqttVersion.V311: MQTTProtocolVersion.MQTTv311,
}
_REFUSED_CREDENTIALS: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})
_UNSUPPORTED_VERSION: Final = 0x84

_LOGGER = logging.getLogger(__name__)


class MqttClient:
    """Connects, reconnects, publishes without blocking, and hands what comes in to a listener.

    Args:
        config: How to connect.
        client_id: MQTT client id; another client with the same id takes the connection over.
        listener: Gets what happens, in the network thread; its exceptions are counted and logged, and nothing else.
        user: Whom to log in as when there is a password and no user in the address.
        will: What the broker publishes when the connection breaks.

    Attributes:
        tick_s: Longest time between two calls of `Listener.on_tick`, seconds, above 0 and below 0.3; `close` waits as
            long for the network thread.
    """

    def __init__(
        self,
        config: BrokerConfig,
        client_id: str,
        listener: Listener,
        *,
        user: str = "",
        will: Outbound | None = None,
    ) -> None:
        self._config = config
        self._client_id = client_id
        self._listener = listener
        self._user = config.address.user or (user if config.password is not None else None)
        self._will = will
        self._version = MqttVersion.V311 if config.protocol is MqttVersion.V311 else MqttVersion.V5
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._first = threading.Event()
        self._failure: SyncError | None = None
        self._thread: threading.Thread | None = None
        self._logged: set[str] = set()
        self.tick_s = _TICK_S
        self._connects = self._dropped = self._errors = self._oversize = 0

    def connect(self, *, wait: bool = False) -> None:
        """Starts the network thread and waits for the first connection, for the config's connect timeout at most.

        Args:
            wait: Go on without a broker, and keep trying for as long as it takes.

        Raises:
            BrokerUnreachableError: Nobody answers there, or not as an MQTT broker with a valid certificate.
            BrokerRefusedError: The broker does not take this user, password or client id.
        """
        self._thread = threading.Thread(target=self._run, args=(wait,), name="twin-mqtt", daemon=True)
        self._thread.start()
        if wait:
            return
        # The attempt has its own deadline for each step; this one only bounds their sum.
        if not self._first.wait(4 * self._config.connect_timeout_s):
            self._failure = self._unreachable("it does not answer")
        if self._failure is not None:
            self.close()
            raise self._failure

    def close(self) -> None:
        """Disconnects without the will being published, and ends the network thread; may be called again."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * _FLUSH_S)

    @property
    def connected(self) -> bool:
        """Whether the broker has taken us, as far as we have heard."""
        return self._live() is not None

    def stats(self) -> ClientStats:
        """Returns the counters."""
        connection = self._connection
        return ClientStats(
            connected=self.connected,
            protocol=connection.version.value if connection else "",
            connects=self._connects,
            dropped=self._dropped,
            queued=connection.queued if connection else 0,
            oversize=self._oversize,
            errors=self._errors,
        )

    def publish(self, message: Outbound) -> bool:
        """Hands a message to the network; never blocks and never raises for it.

        Returns:
            Whether it was handed over; False when there is no connection, when it is longer than the broker takes, or
            when too much waits already.
        """
        connection = self._live()
        if connection is None or not self._admit(connection, message):
            self._dropped += 1
            return False
        try:
            sent = connection.send(message)
        except (ValueError, RuntimeError, OSError) as error:
            self._count_error("publish", error)
            return False
        self._dropped += not sent
        return sent

    def subscribe(self, topics: list[tuple[str, int]]) -> None:
        """Subscribes to (topic, QoS) pairs of this connection; retained messages come once more."""
        connection = self._live()
        if connection is not None:
            connection.client.subscribe(topics)

    def unsubscribe(self, topics: list[str]) -> None:
        """Ends subscriptions."""
        connection = self._live()
        if connection is not None:
            connection.client.unsubscribe(topics)

    def wait_acked(self, timeout_s: float) -> bool:
        """Waits until the broker has acknowledged everything; returns whether it has."""
        deadline = time.monotonic() + timeout_s
        while (connection := self._live()) is not None:
            if not connection.queued and not connection.waiting(0):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return False

    def _live(self) -> Connection | None:
        connection = self._connection
        return connection if connection is not None and connection.since else None

    def _admit(self, connection: Connection, message: Outbound) -> bool:
        if connection.max_packet_bytes:
            overhead = len(message.topic.encode()) + len(message.correlation or b"") + 32
            if len(message.payload) + overhead > connection.max_packet_bytes:
                self._oversize += 1
                self._log_once("oversize", "the broker takes no message as long as that on %s", message.topic)
                return False
        if message.qos:
            return connection.queued < self._config.max_queued
        return connection.waiting(0) < _MAX_WAITING_QOS0

    # The network thread

    def _run(self, wait: bool) -> None:  # noqa: FBT001 - a thread's target
        backoff = self._config.backoff_min_s
        while not self._stopping.is_set():
            began = time.monotonic()
            error = self._session()
            if self._stopping.is_set():
                break
            if not self._connects and not wait:
                self._failure = error
                self._first.set()
                return
            if error is not None:
                self._log_once(type(error).__name__, "%s; trying again until it does", error.message, warning=True)
            if time.monotonic() - began > _STABLE_S:
                backoff = self._config.backoff_min_s
            # Full jitter: a hundred devices that lost the same broker do not come back at the same moment.
            self._stopping.wait(random.uniform(self._config.backoff_min_s / 4, backoff))
            refused = isinstance(error, BrokerRefusedError)
            backoff = self._config.backoff_max_s if refused else min(2 * backoff, self._config.backoff_max_s)

    def _session(self) -> SyncError | None:
        """Runs one connection to its end; returns why it never began, None when it did."""
        error = self._attempt(self._version)
        if error is not None and error.other_version and self._config.protocol is MqttVersion.AUTO:
            self._version = MqttVersion.V311 if self._version is MqttVersion.V5 else MqttVersion.V5
            second = self._attempt(self._version)
            # When neither is taken, the first answer tells more.
            error = second if second is None or not second.other_version else error
        return error.error if error is not None else None

    def _attempt(self, version: MqttVersion) -> _AttemptError | None:
        try:
            tls = self._config.tls_context() if self._config.address.tls else None
        except ConfigError as error:
            # A file has changed since the start, as when a certificate is renewed; it may change back.
            return _AttemptError(self._unreachable(Cause(error.message, error.fix)))
        connection = Connection(self._make(version, tls), version)
        client, address = connection.client, self._config.address
        self._bind(connection)
        try:
            with named(address.host):
                if version is MqttVersion.V5:
                    client.connect(address.host, address.port, self._config.keepalive_s, clean_start=True)
                else:
                    client.connect(address.host, address.port, self._config.keepalive_s)
        except (OSError, ValueError, UnicodeError, paho.WebsocketConnectionError) as error:
            if tls is not None and tls.last is not None:
                tls.last.close()
            return _AttemptError(self._unreachable(why(error, tls)))
        try:
            outcome = self._loop(connection)
            if outcome is not None and tls is not None and tls.failure is not None:
                # With TLS 1.3 the broker refuses a certificate after the handshake.
                return _AttemptError(self._unreachable(why(tls.failure, tls)))
            return outcome
        finally:
            self._connection = None
            if connection.since:
                self._call("disconnected", self._listener.on_disconnected)
            # Closes what an abrupt end has left open.
            client.on_socket_close = None
            sock = client.socket()
            with contextlib.suppress(Exception):
                if sock is not None:
                    sock.close()

    def _loop(self, connection: Connection) -> _AttemptError | None:
        client = connection.client
        deadline = time.monotonic() + self._config.connect_timeout_s
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._stopping.is_set():
            try:
                code = client.loop(self.tick_s)
            except Exception as error:  # noqa: BLE001 - a packet that paho trips over ends the connection only
                self._count_error("network loop", error)
                break
            if connection.since:
                self._call("drain", connection.drain)
                self._call("tick", self._listener.on_tick)
            elif connection.reason is not None or time.monotonic() > deadline:
                break
        if self._stopping.is_set() and connection.since:
            self._say_goodbye(client)
        elif connection.since:
            _LOGGER.info("lost the connection to %s", self._config.address)
        if connection.since or self._stopping.is_set():
            return None
        return self._judge(connection)

    def _say_goodbye(self, client: paho.Client) -> None:
        deadline = time.monotonic() + _FLUSH_S
        client.disconnect()
        while client.socket() is not None and time.monotonic() < deadline:
            if client.loop(0.02) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _judge(self, connection: Connection) -> _AttemptError:
        reason = connection.reason
        if reason is None:
            # Some brokers close the connection instead of answering to a version that they do not know.
            return _AttemptError(self._unreachable("it does not answer as an MQTT broker"), other_version=True)
        if reason.value == _UNSUPPORTED_VERSION:
            message = f"the broker at {self._config.address} does not speak MQTT {connection.version.value}"
            error = BrokerRefusedError(message, fix="let twin-edge choose the MQTT version")
            return _AttemptError(error, other_version=True)
        who = f"the user {self._user!r}" if self._user else "an anonymous client"
        message = f"the broker at {self._config.address} refused {who} ({str(reason).lower()})"
        fix = "look into the broker's log"
        if reason.value in _REFUSED_CREDENTIALS:
            fix = f"give the user in the URL (mqtt://USER@HOST) and the password in {PASSWORD_VARIABLE}"
        return _AttemptError(BrokerRefusedError(message, fix=fix))

    def _make(self, version: MqttVersion, tls: TlsContext | None) -> paho.Client:
        address = self._config.address
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if version is MqttVersion.V5 else True,
            protocol=_PROTOCOLS[version],
            transport="websockets" if address.websocket else "tcp",
            reconnect_on_failure=False,
        )
        if address.websocket:
            client.ws_set_options(path=address.path)
        if tls is not None:
            client.tls_set_context(tls)
        if self._user is not None:
            client.username_pw_set(self._user, self._config.password)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        client.connect_timeout = self._config.connect_timeout_s
        # The limit in flight is kept here, because paho does not know what the broker can take.
        client.max_inflight_messages_set(0xFFFF)
        return client

    def _bind(self, connection: Connection) -> None:
        """Sets paho's callbacks, each of which must never raise: that would end paho's loop for good."""
        client = connection.client

        def on_connect(_c: Any, _u: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
            connection.reason = reason
            if not reason.is_failure:
                self._call("connect", lambda: self._accept(connection, properties))

        def on_message(_c: Any, _u: Any, message: paho.MQTTMessage) -> None:
            self._call("message", lambda: self._receive(message))

        def on_publish(_c: Any, _u: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
            connection.done(mid)
            if reason.is_failure:
                self._log_once(f"publish {reason}", "the broker refused a message (%s)", reason, warning=True)

        def on_subscribe(_c: Any, _u: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
            for reason in reasons:
                if reason.is_failure:
                    self._log_once("subscribe", "the broker refused a subscription (%s)", reason, warning=True)

        client.on_connect = on_connect
        client.on_message = on_message
        client.on_publish = on_publish
        client.on_subscribe = on_subscribe
        client.on_socket_open = lambda _c, _u, sock: self._call("socket", lambda: tune(sock))
        # With this set, paho leaves all writing to the thread that runs its loop.
        client.on_socket_register_write = lambda _c, _u, _sock: None

    def _accept(self, connection: Connection, properties: Any) -> None:
        connection.max_packet_bytes = getattr(properties, "MaximumPacketSize", 0)
        receive_maximum = getattr(properties, "ReceiveMaximum", self._config.max_inflight)
        # paho ignores what the broker can take at once.
        connection.max_inflight = min(self._config.max_inflight, receive_maximum)
        connection.since = time.monotonic()
        self._connection = connection
        self._connects += 1
        self._logged.clear()
        _LOGGER.info("connected to %s with MQTT %s", self._config.address, connection.version.value)
        self._first.set()
        self._call("connected", self._listener.on_connected)

    def _receive(self, message: paho.MQTTMessage) -> None:
        if len(message.payload) > self._config.max_payload_bytes:
            self._oversize += 1
            return
        properties = message.properties
        self._listener.on_message(
            Inbound(
                message.topic,
                bytes(message.payload),
                retained=message.retain,
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
            )
        )

    def _call(self, what: str, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - no handler may end the network thread
            self._count_error(what, error)

    def _count_error(self, what: str, error: Exception) -> None:
        self._errors += 1
        kind = f"{what} {type(error).__name__}"
        if kind not in self._logged:
            self._logged.add(kind)
            _LOGGER.warning("a handler failed (%s); it goes on", kind, exc_info=error)

    def _log_once(self, kind: str, text: str, value: object, *, warning: bool = False) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            _LOGGER.log(logging.WARNING if warning else logging.INFO, text, value)

    def _unreachable(self, why: str | Cause) -> BrokerUnreachableError:
        cause = why if isinstance(why, Cause) else Cause(why, "")
        fix = cause.fix or "start one with 'twin-edge broker', or name another with --broker"
        return BrokerUnreachableError(f"no broker at {self._config.address} ({cause.text})", fix=fix)


class _AttemptError:
    """Why an attempt to connect failed, and whether another MQTT version may help."""

    def __init__(self, error: SyncError, *, other_version: bool = False) -> None:
        self.error = error
        self.other_version = other_version
