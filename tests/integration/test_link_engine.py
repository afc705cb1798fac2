"""The link engine with a real broker: outages, kills, freezes, and messages that a broker does not take."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from brokers import find_free_port
from twin_edge.errors import BrokerRefusedError
from twin_edge.sync import BrokerConfig, Delivery, DeviceLink, EngineConfig, LinkConfig, MqttVersion, Outbound, TwinId
from twin_edge.sync.mqtt import backoff
from twin_edge.sync.wire.events import Event, parse_event
from twin_edge.sync.wire.history import parse_history
from twin_edge.sync.wire.messages import parse_avail
from twin_edge.twin.packet import Flags, Packet, PacketHeader

pytestmark = pytest.mark.broker
TWIN = TwinId("org.acme", "cam-01")

PUBLISHER = """
import sys, time
from pathlib import Path
from twin_edge.bundle import Bundle
from twin_edge.sync import BrokerConfig, DeviceLink, EngineConfig, Event, LinkConfig, TwinId
url, bundle, spool, session = sys.argv[1:5]
config = LinkConfig(BrokerConfig.from_url(url), wait=True, uploads_bundle=False, engine=EngineConfig(Path(spool)))
link = DeviceLink(config, TwinId("org.acme", "cam-01"), Bundle.open(Path(bundle)), int(session))
link.start()
for number in range(10_000):
    receipt = link.event(Event("gap-high", number, 0, {"number": number}))
    if receipt.wait_safe(5):
        print(number, flush=True)
    time.sleep(0.002)
"""

QUIET = """
import sys, time
from pathlib import Path
import numpy as np
from twin_edge.bundle import Bundle
from twin_edge.sync import BrokerConfig, DeviceLink, EngineConfig, Event, LinkConfig, StateReport, TwinId
from twin_edge.twin.packet import Flags, Packet
url, path, spool = sys.argv[1:4]
bundle = Bundle.open(Path(path))
config = LinkConfig(BrokerConfig.from_url(url), uploads_bundle=False, engine=EngineConfig(Path(spool)))
def written():
    return int(next(l for l in open("/proc/self/io") if l.startswith("write_bytes")).split()[1])
with DeviceLink(config, TwinId("org.acme", "cam-01"), bundle, 1) as link:
    assert link.wait_ready(10)
    before = written()
    for seq in range(120):
        states = np.zeros((1, bundle.manifest.state.length), np.int8)
        link.publish(Packet(bundle.model_id, 1, seq, time.time_ns() // 1000, states, flags=Flags(not seq % 30)))
        if not seq % 30:
            link.event(Event("gap-high", seq, 0))
            link.report(StateReport(seq, seq, 0))
        time.sleep(1 / 30)
    assert link.wait_ready(5)
    print(written() - before)
"""


class Cable:
    """Leads connections to a port of this machine, until it is pulled out."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.ends = []
        self.up = bytearray()
        self.plug(find_free_port())

    def plug(self, port=None):
        self.port = port or self.port
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.url = f"mqtt://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(self.target)
                self.ends += [near, far]
                for one, other, seen in ((near, far, self.up), (far, near, bytearray())):
                    threading.Thread(target=self._lead, args=(one, other, seen), daemon=True).start()

    def _lead(self, one, other, seen):
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                seen += data
                other.sendall(data)
        self._cut(one, other)

    def unplug(self):
        self._cut(self.listener, *self.ends)
        self.ends.clear()

    @staticmethod
    def _cut(*sockets):
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def cable(mosquitto):
    one = Cable(mosquitto.port)
    yield one
    one.unplug()


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def events_of(client):
    return [parse_event(payload) for payload in client.all(TWIN.topics.event)]


def seqs_of(client):
    live = [PacketHeader.decode(payload) for payload in client.all(TWIN.topics.stream)]
    history = [
        PacketHeader.decode(data) for payload in client.all(TWIN.topics.history) for data in parse_history(payload)
    ]
    assert not any(header.flags & Flags.HISTORICAL for header in live)
    assert all(header.flags & Flags.HISTORICAL for header in history)
    return {header.seq for header in live}, [header.seq for header in history]


def test_an_outage_loses_no_state_and_no_event(cable, twin_bundle, device_class, raw_client, until):
    raw_client.subscribe(TWIN.topics.root + "up/#", 1)
    with device_class(cable.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        device.stream(60)
        receipts = [device.link.event(Event("gap-high", 1, 0))]
        cable.unplug()
        device.stream(60)
        receipts.append(device.link.event(Event("gap-normal", 2, 0)))
        assert device.link.stats().engine.history_states >= 50
        cable.plug()
        assert until(lambda: device.link.stats().connected, 15)
        device.stream(60)
        assert until(lambda: not device.link.stats().engine.depth)
        assert all(receipt.wait(5).final and receipt.acknowledged for receipt in receipts)
        assert until(lambda: set.union(seqs_of(raw_client)[0], seqs_of(raw_client)[1]) == set(range(180)))
        _, history = seqs_of(raw_client)
        assert history == sorted(history)
        assert until(lambda: {event.kind for event in events_of(raw_client)} == {"gap-high", "gap-normal"})
        assert device.link.stats().errors == 0
        assert device.link.stats().engine.backfilled >= 50


def test_a_restarted_broker_is_told_everything_again(mosquitto, twin_bundle, device_class, raw_client, until):
    with device_class(mosquitto.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        device.send(Flags.KEY)
        mosquitto.kill()
        assert until(lambda: not device.link.stats().connected)
        receipt = device.link.event(Event("gap-high", 1, 0))
        mosquitto.start()
        assert receipt.wait(20).value == "acknowledged"
        raw_client.subscribe(TWIN.topics.root + "up/#", 1)
        for topic in (TWIN.topics.avail, TWIN.topics.codec, TWIN.topics.key):
            assert until(lambda topic=topic: raw_client.last(topic))


@pytest.mark.parametrize(
    ("version", "most", "named"), [(MqttVersion.V5, 10, 2), (MqttVersion.V5, 0, 60), (MqttVersion.V311, 10, 60)]
)
def test_an_alias_stands_for_the_topic_of_states(
    mosquitto_factory, raw_client_class, twin_bundle, version, most, named, until
):
    """It is told anew on each connection, and only where the broker takes it."""
    broker = mosquitto_factory(extra=f"max_topic_alias {most}").start()
    cable = Cable(broker.port)
    heard = raw_client_class(broker.port)
    heard.subscribe(TWIN.topics.stream, 0)
    config = BrokerConfig(BrokerConfig.from_url(cable.url).address, protocol=version, backoff_min_s=0.1)
    try:
        with DeviceLink(LinkConfig(config, uploads_bundle=False), TWIN, twin_bundle, 1) as link:
            states = np.zeros((1, twin_bundle.manifest.state.length), np.int8)
            for seq in range(60):
                if seq == 30:
                    cable.unplug()
                    assert until(lambda: not link.stats().connected)
                    cable.plug()
                assert until(lambda: link.stats().connected)
                link.publish(Packet(twin_bundle.model_id, 1, seq, 1, states))
                assert until(lambda seq=seq: len(heard.all(TWIN.topics.stream)) == seq + 1)
        assert cable.up.count(TWIN.topics.stream.encode()) == named
    finally:
        cable.unplug()
        heard.close()


@pytest.mark.slow
def test_events_survive_kills_of_the_device(mosquitto, bundle_path, twin_bundle, raw_client, until, tmp_path):
    """Whatever a receipt said to be safe arrives, though the process is killed at any moment and the broker away."""
    raw_client.subscribe(TWIN.topics.event, 1)
    safe = set()
    for session in range(1, 7):
        if session % 2:
            mosquitto.kill()
        command = [sys.executable, "-c", PUBLISHER, mosquitto.url, str(bundle_path), str(tmp_path), str(session)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
            said = [int(process.stdout.readline()) for _ in range(30 + 7 * session)]
            process.send_signal(signal.SIGKILL)
            said += [int(line) for line in process.stdout if line.endswith(b"\n")]
        safe |= {(session, number) for number in said}
        if session % 2:
            mosquitto.start()
            assert until(raw_client.is_connected, 15)
    config = LinkConfig(BrokerConfig.from_url(mosquitto.url), uploads_bundle=False, engine=EngineConfig(tmp_path))
    with DeviceLink(config, TWIN, twin_bundle, 7) as link:
        assert link.wait_ready(20)
    assert until(lambda: safe <= {(event.session, event.evidence["number"]) for event in events_of(raw_client)})
    assert not (tmp_path / "spool.sqlite3.corrupt").exists()
    ids = list(dict.fromkeys(event.id for event in events_of(raw_client) if event.session == 6))
    assert ids == sorted(ids, key=lambda one: int(one.split("-")[1]))


@pytest.mark.slow
def test_a_frozen_broker_is_noticed_and_live_is_live_again(mosquitto, twin_bundle, device_class, raw_client, until):
    raw_client.subscribe(TWIN.topics.root + "up/#", 1)
    with device_class(mosquitto.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        device.stream(30)
        mosquitto.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        while device.link.stats().connected and time.monotonic() - began < 20:
            device.stream(10, 30)
        noticed = time.monotonic() - began
        device.stream(60, 30)
        mosquitto.process.send_signal(signal.SIGCONT)
        assert noticed < 15
        deadline = time.monotonic() + 20
        while not device.link.stats().connected and time.monotonic() < deadline:
            device.stream(3, 30)
        resumed = time.monotonic()
        lag = None
        while time.monotonic() - resumed < 5:
            device.stream(3, 30)
            newest = raw_client.last(TWIN.topics.stream)
            lag = device.seq - 1 - PacketHeader.decode(newest).seq
        assert lag < 30, "at most a second behind"
        assert until(lambda: not device.link.stats().engine.history_states, 15)
        assert until(lambda: set.union(seqs_of(raw_client)[0], seqs_of(raw_client)[1]) == set(range(device.seq)))
        assert device.link.stats().engine.dead_links >= 1


@pytest.mark.parametrize("version", [MqttVersion.V5, MqttVersion.V311])
def test_a_message_too_long_for_the_broker_is_isolated(mosquitto_factory, twin_bundle, version, until):
    broker = mosquitto_factory(extra="max_packet_size 5000").start()
    address = BrokerConfig.from_url(broker.url, environ={}).address
    config = LinkConfig(BrokerConfig(address, protocol=version, backoff_min_s=0.2), uploads_bundle=False)
    with DeviceLink(config, TWIN, twin_bundle, 1) as link:
        assert link.wait_ready(10)
        before = link.send(Outbound(TWIN.topics.event, b"before"), Delivery.CRITICAL)
        long = link.send(Outbound(TWIN.topics.event, bytes(9000)), Delivery.CRITICAL)
        after = [link.send(Outbound(TWIN.topics.event, b"%d" % n), Delivery.CRITICAL) for n in range(5)]
        assert before.wait(20).final
        assert all(receipt.wait(20).final and receipt.acknowledged for receipt in [before, *after])
        assert long.wait(1).value == "rejected"
        assert long.reason
        assert until(lambda: link.stats().connected)
        stats = link.stats()
        assert stats.engine.quarantined == 1
        assert stats.reconnects <= 4


def test_receive_maximum_is_taken_from_the_broker(mosquitto_factory, twin_bundle):
    broker = mosquitto_factory(extra="max_inflight_messages 3").start()
    config = LinkConfig(BrokerConfig.from_url(broker.url, environ={}), uploads_bundle=False)
    with DeviceLink(config, TWIN, twin_bundle, 1) as link:
        assert link.wait_ready(10)
        assert link._client._session.connection.max_inflight == 3
        receipts = [link.event(Event("gap-high", number, 0)) for number in range(300)]
        assert all(receipt.wait(10).final and receipt.acknowledged for receipt in receipts)


class Breaking:
    """A part whose every method raises."""

    def attach(self, publish):
        self.publish = publish

    def subscriptions(self):
        return [(TWIN.topics.root + "down/set/+", 1)]

    def connected(self):
        raise RuntimeError("connected")

    def hear(self, message):
        raise RuntimeError(message.topic)

    def tick(self, now_s):
        raise RuntimeError(f"tick {now_s}")

    def disconnected(self):
        raise RuntimeError("disconnected")


class Echo(Breaking):
    """A part that says again what it hears."""

    def connected(self):
        self.publish(Outbound(TWIN.topics.root + "up/cfg/greeting", b"hello", 1, retain=True), Delivery.GREETING)

    def hear(self, message):
        self.publish(Outbound(TWIN.topics.root + "up/cfg/rate", message.payload, 1, retain=True), Delivery.STATE)

    def tick(self, now_s):
        pass

    def disconnected(self):
        pass


def test_parts_speak_and_hear_and_a_breaking_one_harms_nobody(mosquitto, twin_bundle, raw_client, until):
    raw_client.subscribe(TWIN.topics.root + "up/#", 1)
    config = LinkConfig(BrokerConfig.from_url(mosquitto.url), uploads_bundle=False)
    with DeviceLink(config, TWIN, twin_bundle, 1, [Breaking(), Echo()]) as link:
        assert link.wait_ready(10)
        raw_client.publish(TWIN.topics.root + "down/set/rate", b"12", qos=1)
        assert until(lambda: raw_client.last(TWIN.topics.root + "up/cfg/rate") == b"12")
        topics = [topic.removeprefix(TWIN.topics.root) for topic, _ in raw_client.heard]
        assert topics[:4] == ["up/birth", "up/codec", "up/cfg/greeting", "up/avail"]
        assert link.stats().errors > 0
        birth = json.loads(raw_client.last(TWIN.topics.birth))
        assert birth["path"] == "/"
        assert birth["value"]["attributes"]["bundle"] == twin_bundle.digest


@pytest.mark.slow
def test_of_two_devices_of_one_name_one_stops_and_says_why(mosquitto, twin_bundle, until, raw_client):
    broker = BrokerConfig.from_url(mosquitto.url)
    broker = BrokerConfig(broker.address, backoff_min_s=0.2, backoff_max_s=2.0)
    links = [DeviceLink(LinkConfig(broker, wait=True, uploads_bundle=False), TWIN, twin_bundle, n) for n in (1, 2)]
    for link in links:
        link.start()
    assert until(lambda: any(link.failure for link in links), 60)
    failures = [link.failure for link in links if link.failure]
    assert len(failures) == 1
    assert isinstance(failures[0], BrokerRefusedError)
    assert "duplicate identity" in failures[0].message
    (other,) = (link for link in links if not link.failure)
    assert until(lambda: other.stats().ready, 10)
    raw_client.subscribe(TWIN.topics.avail, 1)
    assert until(
        lambda: raw_client.last(TWIN.topics.avail) and parse_avail(TWIN, raw_client.last(TWIN.topics.avail)).online
    )
    for link in links:
        link.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_network_thread_is_started_again(mosquitto, twin_bundle, device_class, until, monkeypatch):
    with device_class(mosquitto.url, twin_bundle, uploads_bundle=False) as device:
        assert device.link.wait_ready(10)
        client = device.link._client
        monkeypatch.setattr(client._session, "_turn", lambda _connection: sys.exit())
        assert until(lambda: not client._thread.is_alive(), 5)
        monkeypatch.undo()
        device.send()
        assert until(lambda: device.link.stats().connected, 10)
        assert device.link.stats().restarts == 1
        assert device.link.wait_ready(10)


def test_nothing_is_written_while_the_broker_acknowledges(mosquitto, bundle_path, tmp_path):
    spool = tmp_path / "spool"
    command = [sys.executable, "-c", QUIET, mosquitto.url, str(bundle_path), str(spool)]
    done = subprocess.run(command, capture_output=True, env=environment(), check=True, timeout=60)
    assert int(done.stdout) == 0
    assert not spool.exists()


def test_back_off_grows_with_jitter_and_ends_after_a_stable_connection():
    draws = iter([1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    waits = backoff.BackOff(1.0, 60.0, lambda: next(draws))
    assert [waits.next_s() for _ in range(8)] == [1, 2, 2, 8, 16, 32, 60, 60]
    assert waits.next_s(29.0) == 0.1
    assert waits.next_s(31.0) == 1.0
    assert waits.next_s(hopeless=True) == 30.0


def test_nobody_at_that_port_is_tried_for_ever(twin_bundle, until):
    config = BrokerConfig.from_url(f"mqtt://127.0.0.1:{find_free_port()}", environ={})
    link = DeviceLink(LinkConfig(config, wait=True), TWIN, twin_bundle, 1)
    link.start()
    assert until(lambda: "connection refused" in link.stats().trouble)
    assert link.failure is None
    link.stop()
