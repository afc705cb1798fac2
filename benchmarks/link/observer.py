"""The one who counts: a subscriber beside the faults, with a straight connection to the broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from link.workload import DEVICE_TOPICS, ROOT

_CONNECT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as it came."""

    at: float
    """Monotonic time, seconds."""
    clock_us: int
    """Microseconds since the epoch."""
    topic: str
    """Below the root of the device."""
    payload: bytes
    """As it came."""
    retained: bool
    """Whether it lay on the broker."""


class Observer:
    """Hears everything of the device, and of Home Assistant's discovery; a context manager.

    After a restart of the broker it must be back before the device, or nobody would hear what the device then says:
    see `Bench.restart_broker`. It may also be a bystander who publishes.

    Args:
        port: Of the broker itself, not of the proxy.
        user: Whom to log in as, with a password; nobody when empty.
        password: Of the user.
        qos: Of its subscriptions.
    """

    def __init__(self, port: int, user: str = "", password: str = "", qos: int = 1) -> None:
        self._port = port
        self._qos = qos
        self._messages: list[Heard] = []
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="observer", reconnect_on_failure=True)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_disconnect = lambda *_: self._subscribed.clear()
        if user:
            client.username_pw_set(user, password)
        self._client = client

    def __enter__(self) -> Self:
        # A long keepalive: it stays when the broker is frozen for a while.
        self._client.connect("127.0.0.1", self._port, keepalive=600)
        self._client.loop_start()
        self.wait_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_back(self) -> None:
        """Waits until it hears everything (again).

        Raises:
            TimeoutError: The broker does not take it.
        """
        if not self._subscribed.wait(_CONNECT_S):
            raise TimeoutError("the observer is not connected")

    def wait_gone(self) -> None:
        """Waits until it has noticed that the broker is gone."""
        deadline_s = time.monotonic() + _CONNECT_S
        while self._subscribed.is_set() and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publishes below the root of the device, QoS 1, and waits for the broker to have it."""
        self._client.publish(ROOT + topic, payload, 1, retain).wait_for_publish(5)

    @property
    def messages(self) -> list[Heard]:
        """Everything heard so far."""
        with self._lock:
            return list(self._messages)

    @property
    def count(self) -> int:
        """How many messages it has heard."""
        return len(self._messages)

    def on(self, topic: str) -> list[Heard]:
        """Everything heard on a topic below the root of the device."""
        return [heard for heard in self.messages if heard.topic == topic]

    def last(self, topic: str) -> Heard | None:
        """The last message heard on a topic."""
        return next(iter(reversed(self.on(topic))), None)

    def latest(self, topic: str) -> bytes:
        """Returns the payload of the last message heard on a topic, empty when there was none."""
        last = self.last(topic)
        return b"" if last is None else last.payload

    def retained(self, seconds: float = 1.0) -> dict[str, bytes]:
        """What a late joiner finds on the broker, by topic below the root; takes some seconds."""
        found: dict[str, bytes] = {}
        subscribed = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2)

        def keep(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
            if message.retain:
                found[message.topic.removeprefix(ROOT)] = bytes(message.payload)

        client.on_message = keep
        client.on_subscribe = lambda *_: subscribed.set()
        if self._client.username:
            client.username_pw_set(self._client.username, self._client.password)
        client.connect("127.0.0.1", self._port)
        client.subscribe([(topic, 1) for topic in DEVICE_TOPICS])
        client.loop_start()
        subscribed.wait(_CONNECT_S)
        time.sleep(seconds)
        client.disconnect()
        client.loop_stop()
        return found

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, self._qos) for topic in DEVICE_TOPICS])

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        topic = message.topic.removeprefix(ROOT)
        heard = Heard(time.monotonic(), time.time_ns() // 1000, topic, bytes(message.payload), message.retain)
        with self._lock:
            self._messages.append(heard)


def eventually(condition: Callable[[], Any], timeout_s: float) -> bool:
    """Waits until a condition holds; returns whether it came to."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True
