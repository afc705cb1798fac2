"""paho-mqtt as its README shows it: `connect_async`, `loop_start`, `publish`; callbacks that tell of failures.

More careful than most: all callbacks that can tell of a failure are set, what a broker may have lost is said again
in `on_connect`, and the will is retained. Everything else is left at its default.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from link.clients.base import Setup, Status, answer_payload, avail_payload, report_payload
from link.workload import ANSWER, AVAIL, CODEC, EVENT, KEY, REPORT, REQUEST, ROOT, STREAM
from twin_edge.twin.packet import Flags, Packet

_GOODBYE_S: Final = 1.5


class PahoClient:
    """See the module."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._root = ROOT.replace("cam-01", setup.device)
        self._events: dict[int, paho.MQTTMessageInfo] = {}
        self._acked: set[int] = set()
        self._refused: set[int] = set()
        self._published = self._done = 0
        self._problems: list[str] = []
        self._topics: dict[int, str] = {}
        protocol = paho.MQTTv5 if setup.version == "5" else paho.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=setup.device, protocol=protocol)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._problems.append("the connection failed")
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.will_set(self._root + AVAIL, avail_payload("offline", setup.session), 1, retain=True)
        if setup.user:
            client.username_pw_set(setup.user, setup.password)
        if setup.ca_file is not None:
            client.tls_set(str(setup.ca_file), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self._client = client

    def start(self) -> None:
        self._client.connect_async(self.setup.host, self.setup.port)
        self._client.loop_start()

    def stream(self, packet: Packet) -> None:
        data = packet.encode()
        if packet.flags & Flags.KEY:
            self._client.publish(self._root + KEY, data, 1, retain=True)
        self._client.publish(self._root + STREAM, data)

    def event(self, number: int, payload: bytes) -> None:
        info = self._client.publish(self._root + EVENT, payload, 1)
        self._events[number] = info
        self._topics[info.mid] = self._root + EVENT
        self._published += 1

    def report(self, number: int) -> None:
        self._client.publish(self._root + REPORT, report_payload(number), 1, retain=True)

    def fate(self, number: int) -> str:
        info = self._events.get(number)
        if info is None:
            return ""
        if info.rc not in {paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN} or info.mid in self._refused:
            return "rejected"
        return "acknowledged" if info.mid in self._acked else "queued"

    def status(self) -> Status:
        thread = self._client._thread  # noqa: SLF001 - whether it lives is not told otherwise
        alive = thread is not None and thread.is_alive()
        return Status(self._client.is_connected(), alive, self._published - self._done, tuple(self._problems))

    def stop(self) -> None:
        offline = avail_payload("offline", self.setup.session, "stopped")
        info = self._client.publish(self._root + AVAIL, offline, 1, retain=True)
        with contextlib.suppress(RuntimeError):  # it raises without a connection
            info.wait_for_publish(_GOODBYE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._problems.append(f"the broker refused the connection: {reason}")
            return
        client.subscribe([(self._root + "down/#", 1)])
        client.publish(self._root + CODEC, self.setup.bundle.digest, 1, retain=True)
        client.publish(self._root + AVAIL, avail_payload("online", self.setup.session), 1, retain=True)

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._problems.append(f"disconnected: {reason}")

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, reason: Any, _properties: Any) -> None:
        if mid in self._topics:
            self._done += 1
            self._acked.add(mid)
        if reason.is_failure:
            self._refused.add(mid)
            self._problems.append(f"the broker refused a message on {self._topics.get(mid, 'some topic')}: {reason}")

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        for reason in reasons:
            if reason.is_failure or reason.value < 1:
                self._problems.append(f"the subscription to {self._root}down/# was answered with {reason}")

    def _on_message(self, client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic == self._root + REQUEST:
            client.publish(self._root + ANSWER, answer_payload(bytes(message.payload)), 1)
        elif self.setup.on_command is not None:
            self.setup.on_command(bytes(message.payload))
