import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.sync.mqtt.broker_url import BrokerAddress
from twin_edge.sync.mqtt.transport import BrokerConfig


@pytest.mark.parametrize(
    ("url", "expected", "shown"),
    [
        ("mqtt://localhost", ("mqtt", "localhost", 1883, None), "mqtt://localhost:1883"),
        ("mqtts://broker.example", ("mqtts", "broker.example", 8883, None), "mqtts://broker.example:8883"),
        ("ws://h", ("ws", "h", 80, None), "ws://h:80/mqtt"),
        ("wss://u@h:9001/live", ("wss", "h", 9001, "u"), "wss://h:9001/live"),
        ("mqtt://cam-01@[::1]:1999", ("mqtt", "::1", 1999, "cam-01"), "mqtt://[::1]:1999"),
        ("mqtt://a%40b@h/", ("mqtt", "h", 1883, "a@b"), "mqtt://h:1883"),
    ],
)
def test_addresses(url, expected, shown):
    address = BrokerAddress.parse(url)
    assert (address.scheme, address.host, address.port, address.user) == expected
    assert str(address) == shown
    assert address.tls == url.startswith(("mqtts", "wss"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://h",
        "mqtt://",
        "mqtt://h:0",
        "mqtt://h:99999",
        "mqtt://h:x",
        "mqtt://h/path",
        "mqtt://h?x=1",
        "mqtt://[::1",
        "mqtt://a%00b@h",
        "embedded:",
        "mqtt://:1883",
    ],
)
def test_malformed_urls_are_refused(url):
    with pytest.raises(ConfigError):
        BrokerAddress.parse(url)


def test_password_is_refused_and_not_repeated():
    for url in (
        "mqtt://user:hunter2@host",
        "mqtt://user:hunter2@host:port",
        "http://user:hunter2@h",
        "mqtt://:hunter2@h",
    ):
        with pytest.raises(ConfigError) as caught:
            BrokerAddress.parse(url)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="TWIN_EDGE_MQTT_PASSWORD"):
        BrokerAddress.parse("mqtt://user:hunter2@host")


@given(st.text())
def test_any_text_is_an_address_or_an_error(text):
    for url in (text, f"mqtt://{text}", f"wss://u@{text}"):
        with contextlib.suppress(ConfigError):
            BrokerAddress.parse(url)


def test_config_takes_the_password_from_the_environment_and_hides_it():
    config = BrokerConfig.from_url("mqtt://u@h", environ={"TWIN_EDGE_MQTT_PASSWORD": "hunter2"})
    assert config.password == "hunter2"  # noqa: S105
    assert "hunter2" not in repr(config)
    assert BrokerConfig.from_url("mqtt://h", environ={}).password is None


def test_unreadable_ca_file_is_a_config_error(tmp_path):
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigError, match="CA file"):
            BrokerConfig.from_url("mqtts://h", ca_file=tmp_path / name, environ={})


def test_tls_is_always_verified():
    context = BrokerConfig.from_url("mqtts://h", environ={}).tls_context()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert "insecure" not in {field.name for field in dataclasses.fields(BrokerConfig)}
