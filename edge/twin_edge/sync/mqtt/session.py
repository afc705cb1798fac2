"""The life of one connection, from the first byte to its ending; all of it in the network thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.errors import ConfigError
from twin_edge.sync.mqtt.buffered import BufferedClient
from twin_edge.sync.mqtt.connection import Connection, Identity, why
from twin_edge.sync.mqtt.diary import Diary
from twin_edge.sync.mqtt.endings import Cause, Ending, dismissed, refused, unreachable
from twin_edge.sync.mqtt.poller import Poller
from twin_edge.sync.mqtt.tls import Trouble
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, Listener, MqttVersion, Outbound, Outcome

FLUSH_S: Final = 0.3
"""How long saying goodbye may take."""
_PACKETS_AT_ONCE: Final = 64
_GOODBYE_TURN_S: Final = 0.02
"""Packets that are read before the listener has its tick."""

_LOGGER = logging.getLogger(__name__)


class Session:
    """Runs connections, one after the other.

    Args:
        config: How to connect.
        identity: As whom.
        listener: Gets what happens.
        diary: Takes what goes wrong.
        stopping: Set when it is to end.

    Attributes:
        connection: The connection that the broker has taken, None without one.
        outbox: Messages to send as soon as the network takes them.
        tick_s: Longest time between two ticks of the listener, seconds.
        wants_room: Whether the listener waits for the network to take more.
        first: Set when the first connection is there, or will not be.
        abandoned: Why the connection is to be ended; empty as long as it is not.
    """

    def __init__(
        self,
        config: BrokerConfig,
        identity: Identity,
        listener: Listener,
        diary: Diary,
        stopping: threading.Event,
    ) -> None:
        self._config = config
        self._identity = identity
        self._listener = listener
        self._diary = diary
        self._stopping = stopping
        self.poller = Poller()
        self.connection: Connection | None = None
        self.outbox: deque[Outbound] = deque()
        self.tick_s = 0.1
        self.wants_room = False
        self.first = threading.Event()
        self.abandoned = ""

    def run(self, version: MqttVersion) -> Ending:
        """Runs one connection to its end."""
        config = self._config
        try:
            tls = config.tls_context() if config.address.tls else None
        except ConfigError as error:
            # A file has changed since the start, as when a certificate is renewed; it may change back.
            return unreachable(config.address, Trouble(error.message, error.fix))
        connection = Connection(config, self._identity, version, tls)
        self._bind(connection)
        self.abandoned = ""
        try:
            connection.open()
        except (OSError, ValueError, UnicodeError, paho.WebsocketConnectionError) as error:
            if tls is not None and tls.last is not None:
                tls.last.close()
            return unreachable(config.address, why(error, tls))
        try:
            ending = self._serve(connection)
            if tls is not None and tls.failure is not None and not connection.since:
                # With TLS 1.3 the broker refuses a certificate after the handshake.
                return unreachable(config.address, why(tls.failure, tls))
            return ending
        finally:
            self.connection = None
            self.outbox.clear()
            if connection.since:
                self._diary.call("disconnected", self._listener.on_disconnected)
            connection.close()

    def _serve(self, connection: Connection) -> Ending:
        deadline = time.monotonic() + self._config.connect_timeout_s
        while not self._stopping.is_set() and not self.abandoned:
            try:
                alive = self._turn(connection)
            except Exception as error:  # noqa: BLE001 - a packet that paho trips over ends the connection only
                self._diary.count_error("network loop", error)
                break
            if not alive or (not connection.since and (connection.reason or time.monotonic() > deadline)):
                break
        if self._stopping.is_set():
            _say_goodbye(connection, self.poller)
            return Ending(Cause.STOPPED)
        return self._ending_of(connection)

    def _turn(self, connection: Connection) -> bool:
        """Waits for something to happen and does what is due; returns whether the connection lives."""
        client, sock = connection.client, connection.client.socket()
        if sock is None:
            return False
        waits = self.wants_room or bool(self.outbox)
        write = client.want_write() or (waits and not connection.flows)
        timeout_s = 0.0 if connection.buffered else self.tick_s
        readable, writable = self.poller.wait(sock, timeout_s, write=write)
        count = 0
        while (readable or connection.buffered) and count < _PACKETS_AT_ONCE:
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or client.socket() is None:
                return False
            count += 1
            readable = self.poller.wait(sock, 0.0)[0]
        if (writable or client.want_write()) and client.loop_write() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if connection.since:
            call = self._diary.call
            for settle in connection.settle():
                call("settle", settle)
            self._take_grants(connection)
            call("outbox", lambda: self._drain(connection))
            call("tick", self._listener.on_tick)
        return client.socket() is not None

    def _drain(self, connection: Connection) -> None:
        """Sends what was published, in order, as far as the broker and the network take it."""
        while self.outbox and connection.flows and (connection.room or not self.outbox[0].qos):
            if not connection.send(self.outbox.popleft(), self._look_at):
                self._diary.dropped += 1

    def _look_at(self, outcome: Outcome) -> None:
        if not outcome.accepted:
            kind = f"publish {outcome.code}"
            self._diary.note(kind, "the broker refused a message (%s)", outcome.text.lower(), warning=True)

    def _take_grants(self, connection: Connection) -> None:
        for topics, results, granted in connection.grants():
            for (topic, _), good in zip(topics, results, strict=False):
                if not good:
                    self._diary.trouble = f"the broker does not let this client read {topic}"
                    self._diary.note(f"subscribe {topic}", "the broker refused to subscribe %s", topic, warning=True)
            if granted is not None:
                self._diary.call("granted", lambda granted=granted, results=results: granted(results))  # type: ignore[misc]

    def _ending_of(self, connection: Connection) -> Ending:
        address, held_s = self._config.address, connection.held_s
        if connection.since:
            reason = f" ({self.abandoned})" if self.abandoned else ""
            _LOGGER.info("lost the connection to %s%s", address, reason)
            if connection.dismissal is not None:
                code, server = connection.dismissal
                return dismissed(address, self._identity.client_id, code, server, held_s)
            return Ending(Cause.DEAD if self.abandoned else Cause.LOST, held_s=held_s)
        if connection.reason is None:
            # Some brokers close the connection instead of answering to a version that they do not know.
            return unreachable(address, Trouble("it does not answer as an MQTT broker", ""), cause=Cause.OTHER_VERSION)
        return refused(address, connection.reason, self._identity.user, connection.version)

    def _bind(self, connection: Connection) -> None:
        """Sets the callbacks that lead to the listener, none of which ever raises: that would end paho's loop."""

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
            connection.reason = reason
            if not reason.is_failure:
                self._diary.call("connect", lambda: self._accept(connection, properties))

        def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
            self._diary.call("message", lambda: self._receive(message))

        def on_plain(topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - what it is called with
            self._diary.call("message", lambda: self._receive_plain(Inbound(topic, payload, retained=retained)))

        connection.client.on_connect = on_connect
        connection.client.on_message = on_message
        if isinstance(connection.client, BufferedClient):
            connection.client.on_plain = on_plain

    def _accept(self, connection: Connection, properties: Any) -> None:
        connection.accept(properties)
        self._diary.begin()
        self.connection = connection
        self.first.set()
        _LOGGER.info("connected to %s with MQTT %s", self._config.address, connection.version.value)
        self._diary.call("connected", self._listener.on_connected)

    def _receive_plain(self, message: Inbound) -> None:
        if len(message.payload) > self._config.max_payload_bytes:
            self._diary.oversize += 1
        else:
            self._listener.on_message(message)

    def _receive(self, message: paho.MQTTMessage) -> None:
        if len(message.payload) > self._config.max_payload_bytes:
            self._diary.oversize += 1
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


def _say_goodbye(connection: Connection, poller: Poller) -> None:
    """Disconnects in form. paho's own loop would do, but leaves sockets of its own open."""
    if not connection.since:
        return
    client, deadline = connection.client, time.monotonic() + FLUSH_S
    client.disconnect()
    while (sock := client.socket()) is not None and time.monotonic() < deadline:
        readable, writable = poller.wait(sock, _GOODBYE_TURN_S, write=client.want_write())
        for ready, loop in ((writable, client.loop_write), (readable, client.loop_read)):
            if ready and loop() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
