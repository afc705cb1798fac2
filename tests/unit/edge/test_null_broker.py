"""A client takes it for a broker, in both versions of MQTT."""

from __future__ import annotations

import socket

import pytest

from twin_edge.null_broker import NullBroker
from twin_edge.sync import BrokerConfig
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound, MqttVersion, Outbound


class Silent:
    """A listener that nobody talks to."""

    def on_connected(self) -> None: ...
    def on_disconnected(self) -> None: ...
    def on_tick(self) -> None: ...
    def on_message(self, message: Inbound) -> None:
        raise AssertionError(message)


@pytest.mark.parametrize("version", [MqttVersion.V5, MqttVersion.V311])
def test_takes_and_acknowledges_everything(version, until):
    with NullBroker() as broker:
        address = BrokerConfig.from_url(broker.url, environ={}).address
        client = MqttClient(BrokerConfig(address, protocol=version), "device", Silent())
        client.connect()
        client.subscribe([("a/b", 1), ("c", 0)])
        for number in range(5):
            assert client.publish(Outbound("a/b", bytes(200), qos=number % 2, retain=number == 3))
        assert until(lambda: client.stats().queued == 0)
        assert until(lambda: broker.received == 5)
        assert client.stats().errors == 0
        client.close()


@pytest.mark.parametrize("data", [b"", b"\x10", b"\x10\xff\xff\xff\xff", b"\x30\x00", b"\x10\x01a", b"\x82\x02ab"])
def test_stops_whatever_it_was_sent(data):
    with NullBroker() as broker:
        host, port = broker.url.removeprefix("mqtt://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(64):
                pass


def test_stops_without_a_client():
    with NullBroker() as broker:
        assert broker.received == 0
