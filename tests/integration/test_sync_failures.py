"""What goes wrong on a network, and what a device and a subscriber make of it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from twin_edge.errors import BrokerRefusedError, BrokerUnreachableError, ConfigError, SyncError
from twin_edge.sync import (
    BrokerConfig,
    DeviceLink,
    EmbeddedBroker,
    LinkConfig,
    MqttVersion,
    StateReport,
    TwinId,
    TwinView,
)
from twin_edge.sync.wire.messages import parse_avail, parse_codec, parse_state
from twin_edge.twin.packet import Flags

pytestmark = pytest.mark.broker
TWIN = TwinId("org.acme", "cam-01")

DEVICE_PROCESS = """
import sys, time
from pathlib import Path
from twin_edge.bundle import Bundle
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, TwinId
link = DeviceLink(LinkConfig(BrokerConfig.from_url(sys.argv[1])), TwinId("org.acme", "cam-01"),
                  Bundle.open(Path(sys.argv[2])), 5)
link.start()
assert link.wait_ready(20)
print("ready", flush=True)
time.sleep(60)
"""


def test_killed_device_goes_offline(mosquitto, bundle_path, raw_client, until):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", DEVICE_PROCESS, mosquitto.url, str(bundle_path)],
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            raw_client.subscribe(TWIN.topics.avail, 1)
            assert until(lambda: raw_client.last(TWIN.topics.avail))
            assert parse_avail(TWIN, raw_client.last(TWIN.topics.avail)).online
        finally:
            process.send_signal(signal.SIGKILL)
    # The broker holds the will back for ten seconds, in case that the device comes back.
    assert until(lambda: not parse_avail(TWIN, raw_client.last(TWIN.topics.avail)).online, 20)
    heard = parse_avail(TWIN, raw_client.last(TWIN.topics.avail))
    assert (heard.session, heard.reason) == (5, "")


def test_stop_says_why_and_is_quick(mosquitto, twin_bundle, device_class, raw_client, until):
    device = device_class(mosquitto.url, twin_bundle, 6)
    with device:
        assert device.link.wait_ready(10)
        began = time.monotonic()
        device.link.stop("SIGTERM")
        assert time.monotonic() - began < 1.5
    raw_client.subscribe(TWIN.topics.avail, 1)
    assert until(lambda: raw_client.last(TWIN.topics.avail))
    heard = parse_avail(TWIN, raw_client.last(TWIN.topics.avail))
    assert (heard.online, heard.session, heard.reason) == (False, 6, "SIGTERM")


def test_frozen_broker_delays_neither_frames_nor_stop(mosquitto, twin_bundle, device_class):
    with device_class(mosquitto.url, twin_bundle) as device:
        assert device.link.wait_ready(10)
        mosquitto.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for _ in range(20_000):
                device.send()
            assert time.monotonic() - began < 8
            stats = device.link.stats()
            assert stats.skipped > 0
            began = time.monotonic()
            device.link.stop()
            assert time.monotonic() - began < 1.6
        finally:
            mosquitto.process.send_signal(signal.SIGCONT)


def test_broker_restart_brings_everything_back(mosquitto, twin_bundle, device_class, tmp_path, until):
    with (
        device_class(mosquitto.url, twin_bundle) as device,
        TwinView(mosquitto.url, str(TWIN), tmp_path / "a") as view,
    ):
        assert device.link.wait_ready(10)
        device.send(Flags.KEY)
        device.link.report(StateReport(8, 0, 0, gap=0.5))
        assert view.next_update(5).seq == 0
        mosquitto.kill()
        assert until(lambda: not device.link.stats().connected)
        assert not device.send()
        mosquitto.start()
        assert until(lambda: device.link.stats().connected and view.stats().connected, 10)
        assert device.link.wait_ready(10)
        assert device.link.take_resync()
        device.send(Flags.KEY)
        updates = [view.next_update(5)]
        while not {1, 2} <= {update.seq for update in updates}:
            updates.append(view.next_update(5))
        # What was sent into the outage comes later, as history.
        assert [(u.seq, u.missed) for u in updates if not u.historical and u.seq] == [(2, 1)]
        assert [u.seq for u in updates if u.historical] == [1]
        assert until(lambda: view.online)
        with TwinView(mosquitto.url, cache_dir=tmp_path / "b") as late:
            assert late.next_update(5).seq == 2
            assert until(lambda: late.report is not None)
            assert late.report.rev == 8
        assert device.link.stats().reconnects == 1
        assert device.link.stats().errors == 0


def test_nobody_there(twin_bundle, device_class):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"mqtt://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(BrokerUnreachableError, match="twin-edge broker") as caught:
            device_class(url, twin_bundle).link.start()
        assert "--broker" in caught.value.fix
        with pytest.raises(BrokerUnreachableError), TwinView(url):
            pass
    with pytest.raises(BrokerUnreachableError, match="name is not known"):
        device_class("mqtt://no-such-host.invalid", twin_bundle).link.start()


def test_silent_and_talking_strangers_are_no_brokers(twin_bundle):
    for greeting in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x02\x00"):
        with socket.create_server(("127.0.0.1", 0)) as server:
            config = BrokerConfig.from_url(f"mqtt://127.0.0.1:{server.getsockname()[1]}", environ={})
            config = BrokerConfig(config.address, connect_timeout_s=0.3)

            def answer(server=server, greeting=greeting):
                server.settimeout(3)
                kept = []
                try:
                    for _ in range(2):
                        kept.append(server.accept()[0])
                        kept[-1].sendall(greeting)
                    time.sleep(0.4)
                except OSError:
                    pass
                for each in kept:
                    each.close()

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(BrokerUnreachableError):
                DeviceLink(LinkConfig(config), TWIN, twin_bundle, 1).start()
            thread.join()


@pytest.mark.parametrize("version", list(MqttVersion))
def test_wrong_password_and_no_user(mosquitto_factory, twin_bundle, version):
    broker = mosquitto_factory(users={"cam-01": "right"}).start()
    address = BrokerConfig.from_url(broker.url, environ={}).address
    for password in ("wrong", None):
        config = BrokerConfig(address, password, protocol=version)
        with pytest.raises(BrokerRefusedError, match="TWIN_EDGE_MQTT_PASSWORD") as caught:
            DeviceLink(LinkConfig(config), TWIN, twin_bundle, 1).start()
        assert "wrong" not in str(caught.value)
    config = BrokerConfig(address, "right", protocol=version)
    assert "right" not in repr(config)
    link = DeviceLink(LinkConfig(config), TWIN, twin_bundle, 1)
    link.start()
    assert link.wait_ready(10)
    assert link.stats().protocol == ("3.1.1" if version is MqttVersion.V311 else "5")
    link.stop()


def test_service_starts_without_a_broker(mosquitto, twin_bundle, device_class, until):
    mosquitto.kill()
    with device_class(mosquitto.url, twin_bundle, wait=True) as device:
        assert not device.send(Flags.KEY)
        mosquitto.start()
        assert until(lambda: device.link.stats().connected, 10)
        assert device.link.wait_ready(10)
        assert device.send()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe\xfd",
        b"[" * 4000,
        b'{"a":' * 600 + b"1" + b"}" * 600,
        b"x" * 1_000_000,
        b'{"id":"","op":"ping"}',
        b'{"id":1,"op":"ping"}',
        b'{"id":"a","op":["ping"]}',
        b'{"id":"a","id":"b","op":"ping"}',
        b"null",
        b'{"id":"a","op":"ping","n":NaN}',
    ],
    ids=range(11),
)
def test_malformed_requests_do_not_hurt(quiet_device, raw_client, payload, until):
    refused = quiet_device.link.stats().refused
    raw_client.publish(TWIN.topics.request, payload, qos=1)
    assert until(lambda: quiet_device.link.stats().refused == refused + 1)
    stats = quiet_device.link.stats()
    assert (stats.errors, stats.reconnects, stats.connected) == (0, 0, True)
    assert quiet_device.send()


def test_requests_are_answered_once(mosquitto, twin_bundle, device_class, raw_client, until):
    with device_class(mosquitto.url, twin_bundle, 9) as device:
        assert device.link.wait_ready(10)
        raw_client.subscribe(TWIN.topics.answer, 1)
        time.sleep(0.1)
        for payload in (b'{"id":"a","op":"ping"}', b'{"id":"a","op":"ping"}', b'{"id":"b","op":"explode"}'):
            raw_client.publish(TWIN.topics.request, payload, qos=1)
        raw_client.publish(TWIN.topics.request, b'{"id":"r","op":"ping"}', qos=1, retain=True)
        assert until(lambda: len(raw_client.all(TWIN.topics.answer)) == 3)
        answers = [raw_client.json(payload) for payload in raw_client.all(TWIN.topics.answer)]
        assert [(answer["id"], answer["ok"], answer["session"]) for answer in answers] == [
            ("a", True, 9),
            ("b", False, 9),
            ("r", True, 9),
        ]
        for number in range(100):
            raw_client.publish(TWIN.topics.request, b'{"id":"flood-%d","op":"resync"}' % number, qos=1)
        assert until(lambda: device.link.stats().refused >= 80)
        assert device.link.take_resync()
    raw_client.forget()
    with device_class(mosquitto.url, twin_bundle, 10) as device:
        assert device.link.wait_ready(10)
        assert until(lambda: device.link.stats().refused == 1)  # the retained one
        assert device.link.stats().requests == 0


@pytest.mark.usefixtures("quiet_device")
def test_ping_with_a_response_topic(raw_client, until):
    raw_client.subscribe("answers/#", 1)
    raw_client.subscribe("twin/v1/org.acme/other/#", 1)
    time.sleep(0.1)
    raw_client.request(TWIN.topics.request, b'{"id":"p1","op":"ping"}', "answers/me", b"\x00\xff")
    assert until(lambda: raw_client.correlations == [b"\x00\xff"])
    raw_client.request(TWIN.topics.request, b'{"id":"p2","op":"ping"}', "twin/v1/org.acme/other/down/req", b"")
    raw_client.request(TWIN.topics.request, b'{"id":"p3","op":"ping"}', "answers/me", b"3")
    assert until(lambda: raw_client.correlations == [b"\x00\xff", b"3"])
    assert raw_client.all("twin/v1/org.acme/other/down/req") == []


def test_late_will_is_contradicted(quiet_device, raw_client, until):
    raw_client.subscribe(TWIN.topics.avail, 1)
    time.sleep(1.2)
    raw_client.publish(TWIN.topics.avail, quiet_device.link._presence.will.payload, qos=1, retain=True)
    assert until(
        lambda: [parse_avail(TWIN, each).online for each in raw_client.all(TWIN.topics.avail)] == [True, False, True]
    )


def test_retained_messages_are_what_the_protocol_says(quiet_device, raw_client, until, twin_bundle):
    quiet_device.link.report(StateReport(3, 2, 1_700_000_000_123_456, gap=float("nan"), properties={"t": 1.5}))
    raw_client.subscribe(TWIN.topics.root + "up/#", 1)
    assert until(lambda: raw_client.last(TWIN.topics.state))
    heard = parse_state(TWIN, raw_client.last(TWIN.topics.state))
    assert (heard.rev, heard.gap, heard.properties) == (3, None, {"t": 1.5})
    value = raw_client.json(raw_client.last(TWIN.topics.state))
    assert value["value"]["twin"]["properties"]["ts"] == "2023-11-14T22:13:20.123Z"
    assert parse_codec(raw_client.last(TWIN.topics.codec)).bundle == twin_bundle.digest


def test_view_survives_rubbish(mosquitto, twin_bundle, device_class, tmp_path, raw_client):
    with (
        device_class(mosquitto.url, twin_bundle, 3) as device,
        TwinView(mosquitto.url, cache_dir=tmp_path) as view,
    ):
        assert device.link.wait_ready(10)
        device.send(Flags.KEY)
        view.next_update(5)
        root = TWIN.topics.root
        for name in ("avail", "codec", "state", "key", "z", "bundle/index", "bundle/block/0", "bundle/block/99999999"):
            for payload in (b"", b"\xff" * 30, b"\x01" * 60, b"{}", b"[" * 5000, bytes(600_000)):
                raw_client.publish(f"{root}up/{name}", payload, qos=1)
        old = device_class(mosquitto.url, twin_bundle, 2)
        raw_client.publish(TWIN.topics.avail, old.link._presence.will.payload, qos=1)
        time.sleep(0.3)
        device.send()
        update = view.next_update(5)
        assert update.seq == 1
        assert view.online
        assert view.stats().malformed >= 20
        assert view.stats().errors == 0


def test_view_says_what_is_missing(mosquitto, twin_bundle, device_class, tmp_path):
    with TwinView(mosquitto.url) as view, pytest.raises(SyncError, match="no twin has been published"):
        view.next_update(0.3)
    with device_class(mosquitto.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        with TwinView(mosquitto.url, cache_dir=tmp_path) as view, pytest.raises(SyncError, match="bundle"):
            view.next_update(0.8)
    with TwinView(mosquitto.url) as view:
        threading.Timer(0.2, view.close).start()
        assert list(view) == []


def test_embedded_broker_refuses_politely():
    pytest.importorskip("amqtt")
    with EmbeddedBroker() as broker:
        with pytest.raises(ConfigError, match="choose another port"):
            EmbeddedBroker(port=broker.port).start()
        with socket.create_connection(("127.0.0.1", broker.port)) as stranger:
            stranger.sendall(b"\x10\xff\xff\xff\x7f" + bytes(100))
            stranger.settimeout(3)
            assert stranger.recv(10) == b""
    with pytest.raises(ConfigError):
        EmbeddedBroker(port=70_000)


def test_failing_handler_does_not_end_the_link(quiet_device, raw_client, until, caplog, monkeypatch):
    monkeypatch.setattr(quiet_device.link._gate, "admit", lambda message: message.no_such_field)
    for number in range(3):
        raw_client.publish(TWIN.topics.request, b"%d" % number, qos=1)
    assert until(lambda: quiet_device.link.stats().errors == 3)
    monkeypatch.undo()
    quiet_device.link.take_resync()
    raw_client.publish(TWIN.topics.request, b'{"id":"a","op":"resync"}', qos=1)
    assert until(quiet_device.link.take_resync)
    assert caplog.text.count("a handler failed") == 1


def test_certificate_is_verified(mosquitto_factory, twin_bundle, tmp_path):
    openssl = shutil.which("openssl") or pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", *subject, *files], check=True, capture_output=True)
    broker = mosquitto_factory(extra=f"certfile {certificate}\nkeyfile {key}").start()
    for url, ca_file, error in (
        (f"mqtts://localhost:{broker.port}", None, "certificate is not valid"),
        (f"mqtts://127.0.0.1:{broker.port}", certificate, "certificate is not valid"),
        (f"mqtt://localhost:{broker.port}", None, "does not answer as an MQTT broker"),
    ):
        config = BrokerConfig.from_url(url, ca_file=ca_file, environ={})
        with pytest.raises(BrokerUnreachableError, match=error):
            DeviceLink(LinkConfig(config), TWIN, twin_bundle, 1).start()
    config = BrokerConfig.from_url(f"mqtts://localhost:{broker.port}", ca_file=certificate, environ={})
    with DeviceLink(LinkConfig(config), TWIN, twin_bundle, 1) as link:
        assert link.wait_ready(10)


def test_websocket_carries_it_too(twin_bundle, tmp_path, free_port, until):
    # Debian's mosquitto opens no WebSocket listener in a container, amqtt does.
    pytest.importorskip("amqtt")
    port = free_port()
    config = tmp_path / "amqtt.yaml"
    config.write_text(
        f'listeners: {{default: {{type: ws, bind: "127.0.0.1:{port}"}}}}\n'
        "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}}\n"
    )
    command = [sys.executable, "-c", "from amqtt.scripts.broker_script import main; main()", "-c", str(config)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            address = BrokerConfig.from_url(f"ws://127.0.0.1:{port}", environ={}).address
            broker = BrokerConfig(address, protocol=MqttVersion.V311)
            link = DeviceLink(LinkConfig(broker, wait=True), TWIN, twin_bundle, 1)
            link.start()
            assert until(lambda: link.stats().ready, 15), (tmp_path / "log").read_text()
            with TwinView(broker, cache_dir=tmp_path) as view:
                assert until(lambda: view.bundle is not None)
            link.stop()
        finally:
            process.kill()


@pytest.fixture
def quiet_device(mosquitto, twin_bundle, device_class):
    with device_class(mosquitto.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        yield device
