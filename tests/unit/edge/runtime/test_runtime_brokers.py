from __future__ import annotations

import socket

import pytest

from twin_edge.config import RunConfig
from twin_edge.errors import ConfigError
from twin_edge.runtime import brokers
from twin_edge.runtime.brokers import broker_for

pytest.importorskip("amqtt")


def test_a_broker_elsewhere():
    with broker_for(RunConfig(broker="mqtt://cam@host.lan:2000")) as broker:
        assert (broker.address.host, broker.address.port, broker.address.user) == ("host.lan", 2000, "cam")


def test_the_usual_port_when_it_is_free_and_another_when_it_is_taken(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    monkeypatch.setattr(brokers, "_USUAL_PORT", port)
    with broker_for(RunConfig(broker="embedded:")) as first, broker_for(RunConfig(broker="embedded:")) as second:
        assert first.address.port == port
        assert second.address.port not in {0, port}
        with pytest.raises(ConfigError, match="another port"), broker_for(RunConfig(broker=f"embedded:{port}")):
            pass


@pytest.mark.parametrize("port", ["x", "-1", "99999", "123456", "1883/", "000000999999", "9" * 5000])
def test_ports_that_are_none(port):
    with pytest.raises(ConfigError, match="port"), broker_for(RunConfig(broker=f"embedded:{port}")):
        pass
