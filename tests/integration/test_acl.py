"""The rules of 'twin-edge provision' at a real mosquitto: who forges gets nowhere, who belongs gets everything done."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import ssl

import numpy as np
import paho.mqtt.client as mqtt
import pytest

from brokers import eventually
from provisioned import ADA, CAM_1, CAM_2, HA, OLGA, ProvisionedMosquitto, issue
from twin_edge.config import load_run_config
from twin_edge.errors import BrokerUnreachableError
from twin_edge.provisioning import Plan, provision
from twin_edge.runtime.brokers import broker_config
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, StateReport, TwinId, TwinView
from twin_edge.twin.packet import Flags, Packet

pytestmark = pytest.mark.broker

NOT_AUTHORIZED = 0x87
OTHERS = (
    "twin/v1/org.acme/cam-02/up/z",
    "twin/v1/org.acme/cam-02/up/avail",
    "twin/v1/org.acme/cam-02/up/bundle/index",
    "twin/v1/org.acme/cam-02/down/req",
    "twin/v1/org.evil/cam-01/up/state",  # its own name in another namespace
    "twin/v1/org.acme/cam-01/down/req",  # requests to itself
    "twin/v1/org.acme/cam-01",
    "twin/v1/org.acme/cam-010/up/z",
    "twin/v1/org.acme/cam-01/upper",
    "homeassistant/device/cam-02/config",
    "homeassistant/status",
    "homeassistant/sensor/x/config",
    "anything",
    "$SYS/broker/version",
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = ProvisionedMosquitto(tmp_path_factory.mktemp("provision"))
    broker.start()
    yield broker
    broker.kill()


@pytest.mark.parametrize("protocol", [mqtt.MQTTv5, mqtt.MQTTv311])
def test_device_writes_its_own_topics_only(broker, protocol):
    with broker.client(OLGA) as witness, broker.client(CAM_1, protocol=protocol) as forger:
        witness.subscribe("twin/#")
        for topic in OTHERS:
            answer = forger.publish(topic)
            # 3.1.1 has no way to say no: the message is thrown away.
            assert answer.value == (NOT_AUTHORIZED if protocol == mqtt.MQTTv5 else 0), topic
        assert forger.publish("twin/v1/org.acme/cam-01/up/z", b"own").value in {0, 0x10}
        assert eventually(lambda: witness.heard)
        assert witness.heard == [("twin/v1/org.acme/cam-01/up/z", b"own")]


def test_home_assistant_sees_no_forged_device(broker):
    with broker.client(HA) as witness, broker.client(CAM_1) as forger:
        witness.subscribe("homeassistant/#")
        assert forger.publish("homeassistant/device/cam-02/config").value == NOT_AUTHORIZED
        assert not forger.publish("homeassistant/device/cam-01/config", b"{}").is_failure
        assert eventually(lambda: witness.heard)
        assert witness.topics() == ["homeassistant/device/cam-01/config"]


def test_device_reads_its_own_requests_only(broker):
    with broker.client(OLGA) as operator, broker.client(CAM_1) as spy:
        for topic in ("#", "twin/#", "twin/v1/+/+/down/#", "twin/v1/org.acme/cam-02/#", "$SYS/#"):
            spy.subscribe(topic)
        for twin in (CAM_2, CAM_1):
            assert not operator.publish(twin.topics.request, b"{}").is_failure
            assert not operator.publish(f"{twin.topics.root}down/set/rate", b"5").is_failure
        assert eventually(lambda: len(set(spy.topics())) >= 2)
        assert set(spy.topics()) == {CAM_1.topics.request, f"{CAM_1.topics.root}down/set/rate"}


def test_device_hears_home_assistant(broker):
    with broker.client(HA) as home, broker.client(CAM_1) as device:
        device.subscribe("homeassistant/status")
        assert not home.publish("homeassistant/status", b"online").is_failure
        assert eventually(lambda: device.heard == [("homeassistant/status", b"online")])


def test_forged_will_is_not_published(broker):
    with broker.client(ADA) as witness:
        witness.subscribe("twin/#")
        broker.client(CAM_1, will=CAM_2.topics.avail).break_off()
        broker.client(CAM_2, will=CAM_2.topics.avail).break_off()
        assert eventually(lambda: witness.heard)
        # The honest one came second, so that the forged one would have come by now.
        assert witness.topics() == [CAM_2.topics.avail]


def test_subscribers_do_what_their_role_says(broker):
    root = CAM_1.topics.root
    allowed = {
        ADA: {"down/req"},
        OLGA: {"down/req", "down/set/rate", "down/ota"},
        HA: {"down/req", "down/set/rate", "down/ota"},
    }
    for who, expected in allowed.items():
        with broker.client(who) as client:
            tried = ("up/z", "up/state", "up/avail", "down/req", "down/set/rate", "down/ota", "down/ditto")
            taken = {topic for topic in tried if not client.publish(f"{root}{topic}").is_failure}
            assert taken == expected, who


def test_user_name_and_client_id_are_not_believed(broker):
    with broker.client(CAM_1, user="cam-02", client_id="cam-02") as forger:
        assert forger.publish("twin/v1/org.acme/cam-02/up/z").value == NOT_AUTHORIZED
        assert not forger.publish("twin/v1/org.acme/cam-01/up/z").is_failure


def test_pinned_client_ids_protect_the_connection(tmp_path):
    broker = ProvisionedMosquitto(tmp_path, pin_client_ids=True)
    broker.start()
    try:
        with (
            broker.client(CAM_2, client_id="cam-02") as victim,
            broker.client(CAM_1, client_id="cam-02") as forger,
        ):
            assert forger.connected
            assert not victim.publish("twin/v1/org.acme/cam-02/up/z").is_failure
            assert victim.connected
    finally:
        broker.kill()


def connect(broker, folder, **changes):
    """Connects as the project's own client does; raises what it raises."""
    paths = {"ca_file": folder / "ca.pem", "cert_file": folder / "cert.pem", "key_file": folder / "key.pem", **changes}
    url = paths.pop("url", broker.url)
    config = BrokerConfig.from_url(url, environ={}, **paths)
    with TwinView(dataclasses.replace(config, connect_timeout_s=3.0)) as view:
        assert view.stats().connected


def test_without_a_certificate_nobody_gets_in(broker):
    with pytest.raises(BrokerUnreachableError, match="wants a certificate of this client") as caught:
        connect(broker, broker.of(ADA), cert_file=None, key_file=None)
    assert "--cert-file" in caught.value.fix
    with pytest.raises(BrokerUnreachableError):
        connect(broker, broker.of(ADA), cert_file=None, key_file=None, url=broker.url.replace("//", "//cam-01@"))


def test_certificate_of_another_authority_is_refused(broker, tmp_path):
    # The forger has an authority of its own, which calls itself the same and certifies any name.
    forged = ProvisionedMosquitto(tmp_path)
    with pytest.raises(BrokerUnreachableError, match="does not know the authority of this client's certificate"):
        connect(broker, forged.of(CAM_1), ca_file=broker.of(CAM_1) / "ca.pem")
    with pytest.raises(BrokerUnreachableError, match="no authority that is trusted here has signed it") as caught:
        connect(broker, forged.of(CAM_1))
    assert "--ca-file" in caught.value.fix


def test_expired_certificate_of_a_client_is_refused(broker, tmp_path):
    folder = tmp_path / "expired"
    shutil.copytree(broker.of(CAM_1), folder)
    issue(folder, broker.folder / "ca", name="cam-01", begins=-2, ends=-1)
    with pytest.raises(BrokerUnreachableError, match="has expired or is not valid yet, by the broker's clock"):
        connect(broker, folder)


def test_certificate_of_a_device_makes_no_broker(broker):
    """A stolen device key must not let its owner play the broker."""
    context = ssl.create_default_context(cafile=str(broker.folder / "ca" / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(broker.of(CAM_1) / "cert.pem", broker.of(CAM_1) / "key.pem")
    context.check_hostname = False
    a, b, c, d = (ssl.MemoryBIO() for _ in range(4))
    sides = ((context.wrap_bio(a, b), b, c), (server.wrap_bio(c, d, server_side=True), d, a))

    def shake_hands():
        for _ in range(4):
            for side, outgoing, incoming in sides:
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                incoming.write(outgoing.read())

    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake_hands()


def test_device_that_was_taken_out_gets_nowhere(tmp_path):
    broker = ProvisionedMosquitto(tmp_path)
    shutil.copytree(broker.of(CAM_2), tmp_path / "stolen")
    broker.start()
    try:
        shutil.rmtree(broker.of(CAM_2))
        done = provision(Plan(out=broker.folder))
        assert done.roster.twins == (CAM_1,)
        broker.process.send_signal(signal.SIGHUP)
        with broker.client(ADA) as witness:
            shutil.copytree(tmp_path / "stolen", broker.of(CAM_2))
            with broker.client(CAM_2) as thief:
                witness.subscribe("twin/#")
                assert eventually(lambda: thief.publish(CAM_2.topics.stream).value == NOT_AUTHORIZED)
                witness.heard.clear()
                thief.publish(CAM_2.topics.stream)
                assert not witness.publish(CAM_1.topics.request, b"{}").is_failure
                assert not witness.heard
    finally:
        broker.kill()


def test_provisioned_device_and_viewer_work_end_to_end(broker, twin_bundle, tmp_path):
    """The device as its own twin.toml says, a viewer with its own certificate, everything between them over mTLS."""
    run = load_run_config(broker.of(CAM_1) / "twin.toml", {})
    assert run.twin == "org.acme/cam-01"
    length = twin_bundle.manifest.state.length
    state = np.arange(length, dtype=np.int8)
    with DeviceLink(LinkConfig(broker_config(run)), TwinId.parse(run.twin), twin_bundle, 7) as link:
        assert link.wait_ready(20)
        link.publish(Packet(twin_bundle.model_id, 7, 0, 1_000_000, state[np.newaxis], flags=Flags.KEY))
        link.report(StateReport(1, 0, 1_000_000, gap=0.25, in_sync=True))
        folder = broker.of(ADA)
        viewer = BrokerConfig.from_url(
            broker.url,
            ca_file=folder / "ca.pem",
            cert_file=folder / "cert.pem",
            key_file=folder / "key.pem",
            environ={},
        )
        # With an empty cache, the bundle comes over the broker as well.
        with TwinView(viewer, "org.acme/cam-01", tmp_path) as view:
            update = view.next_update(20)
            np.testing.assert_array_equal(update.state, state)
            assert view.bundle is not None
            assert view.bundle.digest == twin_bundle.digest
            assert eventually(lambda: view.online and view.report is not None)
            assert view.report.gap == 0.25
            assert view.stats().protocol == "5"
        assert link.stats().errors == 0
