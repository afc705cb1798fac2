"""One MQTT connection that is kept up, on top of paho-mqtt.

paho is the transport only. What it has in memory goes with the connection: each connection gets a new paho client, so
that nothing stale or undeliverable is sent again after a reconnect, and whoever uses this client says again in
`Listener.on_connected` what has to be said. paho's own loop has no jitter, and ends for good by an exception in a
callback while it goes on reporting success (both measured); hence the loop in `session`, which alone touches paho.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from twin_edge.errors import SyncError
from twin_edge.sync.mqtt.backoff import STABLE_S, BackOff
from twin_edge.sync.mqtt.connection import Connection, Granted, Identity
from twin_edge.sync.mqtt.diary import Diary
from twin_edge.sync.mqtt.endings import Cause, Ending, duplicate_identity, unreachable
from twin_edge.sync.mqtt.session import FLUSH_S, Session
from twin_edge.sync.mqtt.tls import Trouble
from twin_edge.sync.mqtt.transport import BrokerConfig, ClientStats, Listener, MqttVersion, Outbound, Settle

_MAX_WAITING_QOS0: Final = 16
"""QoS 0 messages that may wait for the socket; more means that it is backed up, and the newest ones are dropped."""
_MAX_TAKEOVERS: Final = 2

_LOGGER = logging.getLogger(__name__)


class MqttClient:
    """Connects, reconnects, publishes without blocking, and hands what comes in to a listener.

    Args:
        config: How to connect.
        client_id: MQTT client id; another client with the same id takes the connection over.
        listener: Gets what happens, in the network thread; its exceptions are counted and logged, and nothing else.
        user: Whom to log in as when there is a password and no user in the address.
        will: What the broker publishes when the connection breaks.
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
        user_name = config.address.user or (user if config.password is not None else None)
        self._identity = Identity(client_id, user_name, will)
        self._version = MqttVersion.V311 if config.protocol is MqttVersion.V311 else MqttVersion.V5
        self._backoff = BackOff(config.backoff_min_s, config.backoff_max_s)
        self._diary = Diary()
        self._stopping = threading.Event()
        self._session = Session(config, self._identity, listener, self._diary, self._stopping)
        self._wait = False
        self._thread: threading.Thread | None = None
        self._reviving = threading.Lock()
        self._rival = False
        self._takeovers = 0
        self._restarts = 0
        self._failure: SyncError | None = None

    def connect(self, *, wait: bool = False) -> None:
        """Starts the network thread and waits for the first connection, for the config's connect timeout at most.

        Args:
            wait: Go on without a broker, and keep trying for as long as it takes.

        Raises:
            BrokerUnreachableError: Nobody answers there, or not as an MQTT broker with a valid certificate.
            BrokerRefusedError: The broker does not take this user, password or client id.
        """
        self._wait = wait
        self._session.poller.open()
        self._start_thread()
        if wait:
            return
        # The attempt has its own deadline for each step; this one only bounds their sum.
        if not self._session.first.wait(4 * self._config.connect_timeout_s):
            self._failure = unreachable(self._config.address, Trouble("it does not answer", "")).error
        if self._failure is not None:
            self.close()
            raise self._failure

    def close(self) -> None:
        """Disconnects without the will being published, and ends the network thread; may be called again."""
        self._stopping.set()
        self._session.poller.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * FLUSH_S)
        if thread is None or not thread.is_alive():
            self._session.poller.close()

    def revive(self) -> None:
        """Starts the network thread again if it has died. Nothing that we know of makes it; but a twin lives long."""
        with self._reviving:
            thread = self._thread
            if thread is None or thread.is_alive() or self._stopping.is_set() or self._failure is not None:
                return
            self._restarts += 1
            _LOGGER.error("the network thread has died; it is started again")
            self._start_thread()

    @property
    def connected(self) -> bool:
        """Whether the broker has taken us, as far as we have heard."""
        return self._session.connection is not None

    @property
    def failure(self) -> SyncError | None:
        """Why it has given up for good; None as long as it goes on trying."""
        return self._failure

    def stats(self) -> ClientStats:
        """Returns the counters."""
        connection, diary = self._session.connection, self._diary
        return ClientStats(
            connected=connection is not None,
            protocol=connection.version.value if connection else "",
            connects=diary.connects,
            dropped=diary.dropped,
            queued=(connection.inflight if connection else 0) + len(self._session.outbox),
            oversize=diary.oversize,
            errors=diary.errors,
            restarts=self._restarts,
            trouble=diary.trouble,
        )

    def publish(self, message: Outbound) -> bool:
        """Hands a message to the network thread; never blocks and never raises for it.

        Returns:
            Whether it was handed over; False when there is no connection, when it is longer than the broker takes, or
            when too much waits already. It is lost when the connection ends before it is sent.
        """
        connection = self._session.connection
        if connection is None or not self._admits(connection, message):
            self._diary.dropped += 1
            return False
        self._session.outbox.append(message)
        self.wake()
        return True

    def subscribe(self, topics: Sequence[tuple[str, int]], granted: Granted | None = None) -> None:
        """Subscribes to (topic, QoS) pairs of this connection; retained messages come once more.

        Args:
            topics: Topic filters, each with its QoS.
            granted: Called in the network thread when the broker has answered, with what was granted.
        """
        connection = self._session.connection
        if connection is not None:
            connection.subscribe(topics, granted)
            self.wake()

    def unsubscribe(self, topics: list[str]) -> None:
        """Ends subscriptions."""
        connection = self._session.connection
        if connection is not None:
            connection.client.unsubscribe(topics)
            self.wake()

    def wake(self) -> None:
        """Has `Listener.on_tick` called soon; from any thread."""
        self._session.poller.wake()

    # For the listener, in the network thread

    @property
    def tick_s(self) -> float:
        """Longest time between two calls of `Listener.on_tick`, seconds, above 0 and below 0.3."""
        return self._session.tick_s

    @tick_s.setter
    def tick_s(self, tick_s: float) -> None:
        self._session.tick_s = tick_s

    @property
    def wants_room(self) -> bool:
        """Whether to tick as soon as the network takes more."""
        return self._session.wants_room

    @wants_room.setter
    def wants_room(self, wants_room: bool) -> None:
        self._session.wants_room = wants_room

    @property
    def room(self) -> int:
        """Messages of QoS 1 that the broker takes now."""
        connection = self._session.connection
        return connection.room if connection else 0

    @property
    def flows(self) -> bool:
        """Whether the network takes a message now without piling it up."""
        connection = self._session.connection
        return connection is not None and connection.flows

    @property
    def max_packet_bytes(self) -> int:
        """Longest packet that the broker takes, 0 for no stated limit."""
        connection = self._session.connection
        return connection.max_packet_bytes if connection else 0

    def send(self, message: Outbound, settle: Settle | None = None) -> bool:
        """Hands a message to the network at once; the caller looks at `room` and `flows` first.

        Args:
            message: What to send.
            settle: Called when the broker has acknowledged it, or when it is written in the case of QoS 0.

        Returns:
            Whether it was taken.

        Raises:
            ValueError: paho does not send such a topic or payload.
        """
        connection = self._session.connection
        return connection is not None and connection.send(message, settle)

    def abandon(self, why: str) -> None:
        """Ends the connection, because it seems dead, and begins another."""
        self._session.abandoned = why

    def guard(self, what: str, function: Callable[[], None]) -> None:
        """Calls a handler; what it raises is counted and logged, and harms nobody else.

        Args:
            what: Its name, for the log.
            function: The handler.
        """
        self._diary.call(what, function)

    def note_rival(self) -> None:
        """Takes a hint that another client has our id; when it throws us out again and again, we stop."""
        self._rival = True

    def _admits(self, connection: Connection, message: Outbound) -> bool:
        if not connection.admits(message):
            self._diary.oversize += 1
            self._diary.note("oversize", "the broker takes no message as long as that on %s", message.topic)
            return False
        return len(self._session.outbox) < (self._config.max_queued if message.qos else _MAX_WAITING_QOS0)

    # The network thread

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="twin-mqtt", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                ending = self._connect_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next connection may go well
                self._diary.count_error("session", error)
                ending = Ending(Cause.LOST)
            if self._stopping.is_set():
                break
            ending = self._judge(ending)
            self._diary.trouble = str(ending.error) if ending.error else ""
            if ending.cause is Cause.TAKEN_OVER or not (self._diary.connects or self._wait):
                self._failure = ending.error
                break
            self._session.first.set()
            if ending.error is not None:
                text = "%s; trying again later" if ending.held_s else "%s; trying again until it does"
                self._diary.note(ending.cause.value, text, ending.error.message, warning=True)
            busy = ending.cause is Cause.BUSY
            self._stopping.wait(self._backoff.next_s(ending.held_s, busy=busy, hopeless=ending.hopeless))
        self._session.first.set()

    def _connect_once(self) -> Ending:
        """Runs one connection to its end."""
        ending = self._session.run(self._version)
        if ending.cause is Cause.OTHER_VERSION and self._config.protocol is MqttVersion.AUTO:
            self._version = MqttVersion.V311 if self._version is MqttVersion.V5 else MqttVersion.V5
            second = self._session.run(self._version)
            # When neither is taken, the first answer tells more.
            ending = ending if second.cause is Cause.OTHER_VERSION else second
        return ending

    def _judge(self, ending: Ending) -> Ending:
        """Returns an ending as it is, or as what it means after several like it."""
        if self._rival and ending.held_s and ending.cause is Cause.LOST:
            # However long it held: with the back-off of the other one, that grows.
            self._takeovers += 1
        elif ending.held_s >= STABLE_S:
            self._takeovers = 0
        self._rival = False
        if self._takeovers <= _MAX_TAKEOVERS:
            return ending
        error = duplicate_identity(self._config.address, self._identity.client_id)
        return Ending(Cause.TAKEN_OVER, error, ending.held_s)
