"""What goes wrong with certificates at a real mosquitto, and what the error says of it."""

from __future__ import annotations

import dataclasses
import os
import socket
import time

import pytest

from provisioned import ADA, CAM_1, ProvisionedMosquitto, issue
from twin_edge.errors import BrokerUnreachableError, ConfigError
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, MqttVersion, TwinView

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path):
    broker = ProvisionedMosquitto(tmp_path / "provision")
    yield broker
    broker.kill()


def config_for(broker, who=ADA, *, url=None, protocol=MqttVersion.AUTO, **changes):
    folder = broker.of(who)
    files = {"ca_file": folder / "ca.pem", "cert_file": folder / "cert.pem", "key_file": folder / "key.pem", **changes}
    config = BrokerConfig.from_url(url or broker.url, protocol=protocol, environ={}, **files)
    return dataclasses.replace(config, connect_timeout_s=3.0)


def refusal(config):
    with pytest.raises(BrokerUnreachableError) as caught, TwinView(config):
        pass
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("protocol", list(MqttVersion))
def test_certificate_logs_in(broker, protocol):
    broker.start()
    with TwinView(config_for(broker, protocol=protocol)) as view:
        assert view.stats().protocol == ("3.1.1" if protocol is MqttVersion.V311 else "5")


def test_expired(broker):
    issue(broker.folder / "broker", broker.folder / "ca", begins=-2, ends=-1, host="localhost")
    broker.start()
    error = refusal(config_for(broker))
    assert "it has expired, by this machine's clock" in error.message
    assert "twin-edge provision" in error.fix


def test_not_yet_valid(broker):
    issue(broker.folder / "broker", broker.folder / "ca", begins=1, ends=2, host="localhost")
    broker.start()
    error = refusal(config_for(broker))
    assert "not valid yet, by this machine's clock" in error.message
    assert "set this clock, or that of the machine that made the certificate" in error.fix


def test_not_yet_valid_because_the_clock_is_behind(broker):
    """A file of this machine from the future is the proof that, as after a power cut, the clock is wrong."""
    issue(broker.folder / "broker", broker.folder / "ca", begins=1, ends=2, host="localhost")
    future = time.time() + 86_400
    os.utime(broker.of(ADA) / "ca.pem", (future, future))
    broker.start()
    error = refusal(config_for(broker))
    assert "this machine's clock is wrong" in error.message
    assert "timedatectl set-ntp true" in error.fix


def test_other_host(broker):
    broker.start()
    error = refusal(config_for(broker, url=broker.url.replace("localhost", "127.0.0.2")))
    assert "connection refused" in error.message  # bound to another address
    issue(broker.folder / "broker", broker.folder / "ca", host="elsewhere.example")
    broker.restart()
    error = refusal(config_for(broker))
    assert "it is for another host than localhost" in error.message
    assert "--broker-host" in error.fix


def test_system_authorities_do_not_know_ours(broker):
    broker.start()
    error = refusal(config_for(broker, ca_file=None))
    assert "no authority that is trusted here" in error.message
    assert "--ca-file" in error.fix


def test_plain_port_and_tls_port_mixed_up(broker, mosquitto):
    broker.start()
    error = refusal(config_for(broker, url=mosquitto.url.replace("mqtt:", "mqtts:")))
    assert error.message
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtts://127.0.0.1:{server.getsockname()[1]}"
        assert "does not answer" in refusal(config_for(broker, url=url)).message


def test_key_of_another_certificate(broker):
    with pytest.raises(ConfigError, match="does not belong to the certificate") as caught:
        config_for(broker, key_file=broker.of(CAM_1) / "key.pem")
    assert caught.value.exit_code == 2


def test_renewed_certificate_is_taken_at_the_next_connection(broker, twin_bundle, until):
    """A service does not have to be started again for a new certificate, and survives a broken one."""
    broker.start()
    folder = broker.of(CAM_1)
    config = dataclasses.replace(config_for(broker, CAM_1), backoff_min_s=0.1, backoff_max_s=0.2)
    with DeviceLink(LinkConfig(config), CAM_1, twin_bundle, 1) as link:
        assert link.wait_ready(20)
        good = (folder / "cert.pem").read_bytes()
        (folder / "cert.pem").write_bytes(b"cut short")
        broker.restart()
        assert until(lambda: not link.stats().connected)
        time.sleep(1)
        assert not link.stats().connected
        (folder / "cert.pem").write_bytes(good)
        assert until(lambda: link.stats().connected, 15)
        assert link.stats().errors == 0
