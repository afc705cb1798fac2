"""Many devices, one subscriber: all of them over one connection of a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest

from twin_edge.errors import ConfigError, SyncError
from twin_edge.sync import StateReport, TwinId, TwinView, TwinViews
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.sync.wire.events import Event, build_event
from twin_edge.sync.wire.history import build_history, frame
from twin_edge.twin.packet import Flags, Packet

pytestmark = pytest.mark.broker


@pytest.fixture
def fleet(mosquitto, twin_bundle, device_class):
    """Gives a function that starts devices."""
    with contextlib.ExitStack() as stack:

        def start(*names, bundle=twin_bundle, session=1):
            devices = [device_class(mosquitto.url, bundle, session, TwinId("org.acme", name)) for name in names]
            for device in devices:
                stack.enter_context(device)
                device.send(Flags.KEY)
            for device in devices:
                assert device.link.wait_ready(20)
            return devices

        yield start


def send_all(devices, count, per_second=20.0):
    for _ in range(count):
        for device in devices:
            device.send(Flags.KEY if device.link.take_resync() else Flags.NONE)
        time.sleep(1 / per_second)


def by_twin(updates):
    found = {}
    for update in updates:
        found.setdefault(str(update.twin), []).append(update)
    return found


def test_twenty_devices_over_one_connection(mosquitto, fleet, twin_bundle, tmp_path, until):
    devices = fleet(*(f"cam-{number:02}" for number in range(20)))
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path, max_queued=1000) as views:
        assert until(lambda: len(views.twins) == 20 and all(each.bundle for each in views.status()))
        sender = threading.Thread(target=send_all, args=(devices, 40))
        sender.start()
        updates = list(views.updates(timeout_s=2.0))
        sender.join()
        found = by_twin(updates)
        assert len(found) == 20
        for own in found.values():
            seqs = [update.seq for update in own]
            assert seqs == list(range(41))
            assert sum(update.missed for update in own) == 0
            assert all(np.array_equal(update.state, devices[0].state(update.seq)) for update in own)
        stats = views.stats()
        assert (stats.twins, stats.updates, stats.dropped, stats.malformed, stats.errors) == (20, 820, 0, 0, 0)
        assert len({id(each.bundle) for each in views.status()}) == 1
        assert {each.online for each in views.status()} == {True}
        assert found["org.acme/cam-03"][-1].rendering.shape == (
            twin_bundle.manifest.view.height,
            twin_bundle.manifest.view.width,
            3,
        )


def test_twins_that_come_later_and_a_late_joiner(mosquitto, fleet, tmp_path, until):
    (first,) = fleet("a")
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views:
        assert views.next_update(10).twin == TwinId("org.acme", "a")
        second, other = fleet("b", "c")
        assert until(lambda: len(views.twins) == 3)
        send_all([first, second, other], 5)
        with TwinViews(mosquitto.url, ["org.acme/b", "org.acme/d"], tmp_path) as late:
            assert late.next_update(10).twin.device == "b"
            assert late.twins == (TwinId("org.acme", "b"), TwinId("org.acme", "d"))
            assert not late["org.acme/d"].online
            with pytest.raises(KeyError):
                late["org.acme/x"]
        found = by_twin(views.updates(timeout_s=1.0))
        assert {name: own[-1].seq for name, own in found.items()} == {f"org.acme/{name}": 5 for name in "abc"}


def test_a_bundle_switch_of_one_twin_leaves_the_others_alone(
    mosquitto, fleet, other_bundle, twin_bundle, tmp_path, until
):
    first, second = fleet("a", "b")
    with TwinViews(mosquitto.url, "*/*", tmp_path) as views:
        assert until(lambda: all(each.bundle for each in views.status()) and len(views.twins) == 2)
        first.link.stop()
        (first,) = fleet("a", bundle=other_bundle, session=2)
        assert until(lambda: getattr(views["org.acme/a"].bundle, "digest", "") == other_bundle.digest)
        send_all([first, second], 10)
        found = by_twin(views.updates(timeout_s=1.0))
        assert found["org.acme/a"][-1].bundle.digest == other_bundle.digest
        assert found["org.acme/b"][-1].bundle.digest == twin_bundle.digest
        assert [update.seq for update in found["org.acme/b"]] == list(range(11))
        assert views["org.acme/b"].stats.missed == 0


def test_history_and_events(mosquitto, fleet, twin_bundle, tmp_path, raw_client):
    (device,) = fleet("a")
    topics = TwinId("org.acme", "a").topics
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views:
        assert views.next_update(10).seq == 0
        send_all([device], 3)
        live = [views.next_update(5) for _ in range(3)]
        skipped = [
            Packet(twin_bundle.model_id, 1, seq, time.time_ns() // 1000, device.state(seq)[np.newaxis]).encode()
            for seq in range(2, 9)
        ]
        device.seq = 9
        device.send()
        after = views.next_update(5)
        assert (after.seq, after.missed) == (9, 5)
        for _ in range(2):
            raw_client.publish(topics.history, build_history(map(frame, skipped)), qos=1)
        late = [views.next_update(5) for _ in range(5)]
        assert [update.seq for update in live] == [1, 2, 3]
        assert [(update.seq, update.historical, update.missed) for update in late] == [
            (seq, True, 0) for seq in range(4, 9)
        ]
        assert all(np.array_equal(update.state, device.state(update.seq)) for update in late)
        device.send()
        assert (views.next_update(5).seq, views["org.acme/a"].stats.historical) == (10, 5)
        happened = build_event(1, 1, Event("gap-high", 9, time.time_ns() // 1000, {"gap": 0.995}))
        for _ in range(2):
            raw_client.publish(topics.event, happened, qos=1)
        raw_client.publish(topics.event, build_event(1, 2, Event("gap-normal", 9, time.time_ns() // 1000)), qos=1)
        events = [views.events.take(5) for _ in range(2)]
        assert [event.event.kind for event in events] == ["gap-high", "gap-normal"]
        assert events[0].event.evidence == {"gap": 0.995}


def test_reports_and_going_offline_show_in_the_status(mosquitto, fleet, tmp_path, until):
    (device,) = fleet("a")
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views:
        views.next_update(10)
        for rev, gap in enumerate((0.5, 0.995)):
            device.link.report(
                StateReport(10 + rev, 0, time.time_ns() // 1000, gap, in_sync=gap < 0.99, properties={"level": 63.0})
            )
            # Of two reports at once only the latter would be sent.
            assert until(lambda reports=rev + 1: views["org.acme/a"].stats.gap.reports == reports)
        send_all([device], 20)
        status = views["org.acme/a"]
        assert status.report.properties == {"level": 63.0}
        assert status.stats.gap.mean == pytest.approx(0.7475)
        assert status.stats.gap.out_of_sync_s > 0.5
        assert 1 < status.stats.fps < 40
        assert status.stats.latency_p95_ms < 5000
        device.link.stop("maintenance")
        assert until(lambda: not views["org.acme/a"].online)
        assert views["org.acme/a"].availability.reason == "maintenance"
        out_s = views["org.acme/a"].stats.gap.out_of_sync_s
        time.sleep(0.1)
        assert views["org.acme/a"].stats.gap.out_of_sync_s == out_s


def test_asyncio(mosquitto, fleet, tmp_path):
    devices = fleet("a", "b")

    async def read():
        found = []
        async with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views, asyncio.timeout(20):
            sending = asyncio.create_task(asyncio.to_thread(send_all, devices, 20))
            async for update in views:
                found.append(update)
                if sum(update.seq == 20 for update in found) == 2:
                    break
            await sending
            waiting = asyncio.create_task(views.events.next())
            await asyncio.sleep(0.05)
            views.close()
            assert await waiting is None
        async with TwinView(mosquitto.url, "org.acme/b", tmp_path) as view, asyncio.timeout(10):
            async for update in view:
                assert update.twin.device == "b"
                break
        return by_twin(found)

    found = asyncio.run(read())
    assert [update.seq for update in found["org.acme/a"]] == list(range(21))
    assert [update.seq for update in found["org.acme/b"]] == list(range(21))


def test_a_slow_reader_of_many_is_told_what_it_lost_of_each(mosquitto, fleet, tmp_path, until):
    devices = fleet("a", "b")
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path, max_queued=5) as views:
        assert until(lambda: views.stats().states == 2)
        send_all(devices, 30, 100)
        assert until(lambda: views.stats().states == 62)
        found = by_twin(views.updates(timeout_s=0.3))
        for own in found.values():
            assert [update.seq for update in own] == list(range(26, 31))
            assert own[0].missed == 26
        stats = views.stats()
        assert (stats.dropped, stats.missed, stats.updates) == (52, 52, 10)
        assert views["org.acme/a"].stats.dropped == 26


def test_twins_beyond_the_cap_are_ignored(mosquitto, fleet, tmp_path, until):
    fleet(*(f"cam-{number}" for number in range(5)))
    with TwinViews(mosquitto.url, "*/*", tmp_path, max_twins=2) as views:
        assert until(lambda: views.stats().ignored >= 3)
        assert len(views.twins) == 2
    with pytest.raises(ConfigError, match="more than 2 twins"):
        TwinViews(mosquitto.url, ["a/b", "a/c", "a/d"], max_twins=2)


def test_what_is_missing_is_said(mosquitto, fleet, tmp_path):
    with (
        TwinViews(mosquitto.url, "org.none/*", tmp_path) as views,
        pytest.raises(SyncError, match=r"no twin org.none/"),
    ):
        views.next_update(0.5)
    (device,) = fleet("a")
    device.link.stop()
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views:
        views.next_update(10)
        with pytest.raises(SyncError, match="all of the 1 twins found are offline"):
            views.next_update(0.5)


def test_it_goes_on_after_the_broker_was_away(mosquitto, fleet, tmp_path, until):
    devices = fleet("a", "b")
    with TwinViews(mosquitto.url, "org.acme/*", tmp_path) as views:
        assert until(lambda: views.stats().states == 2)
        mosquitto.restart()
        assert until(lambda: views.stats().reconnects == 1, 30)
        assert until(lambda: all(device.link.stats().ready for device in devices), 30)
        send_all(devices, 10)
        assert until(lambda: {views[twin].stats.states for twin in views.twins} >= {11} or views.stats().states >= 22)
        found = by_twin(views.updates(timeout_s=0.5))
        for own in found.values():
            assert own[-1].seq == 10


def test_many_small_and_a_few_large_messages_come_unchanged(mosquitto, raw_client, until):
    """The quick way of reading takes what paho takes: any size, either QoS, in order."""
    from twin_edge.sync import BrokerConfig, MqttVersion
    from twin_edge.sync.mqtt.client import MqttClient

    class Ear:
        def __init__(self):
            self.heard = []

        def on_connected(self):
            pass

        on_disconnected = on_tick = on_connected

        def on_message(self, message):
            self.heard.append((message.topic, message.payload, message.retained))

    for version in (MqttVersion.V5, MqttVersion.V311):
        ear = Ear()
        config = BrokerConfig.from_url(mosquitto.url)
        client = MqttClient(type(config)(config.address, protocol=version), f"ear-{version.value}", ear)
        raw_client.publish("test/kept", b"kept", retain=True)
        client.connect()
        client.subscribe([("test/#", 1)])
        assert until(lambda ear=ear: ear.heard)
        sizes = [n * n % 400 if n % 100 else 40_000 for n in range(1000)]
        sent = [(f"test/ü{n % 3}", n.to_bytes(2) + bytes([n % 256]) * size) for n, size in enumerate(sizes)]
        for number, (topic, payload) in enumerate(sent):
            raw_client.publish(topic, payload, qos=number % 7 == 0)
        assert until(lambda ear=ear: len(ear.heard) == 1001), len(ear.heard)
        client.close()
        assert ear.heard[0] == ("test/kept", b"kept", True)
        # mosquitto keeps the order of each QoS, not of both together.
        for qos in (0, 1):
            expected = [pair for number, pair in enumerate(sent) if (number % 7 == 0) == qos]
            heard = [(topic, payload) for topic, payload, _ in ear.heard[1:]]
            assert [pair for pair in heard if pair in set(expected)] == expected
        assert client.stats().errors == 0


def test_a_message_with_properties_takes_the_long_way(mosquitto, raw_client, until):
    from twin_edge.sync import BrokerConfig
    from twin_edge.sync.mqtt.client import MqttClient

    class Ear:
        heard = ()

        def on_connected(self):
            pass

        on_disconnected = on_tick = on_connected

        def on_message(self, message):
            self.heard = (*self.heard, message)

    ear = Ear()
    client = MqttClient(BrokerConfig.from_url(mosquitto.url), "ear", ear)
    client.connect()
    client.subscribe([("test", 0)])
    time.sleep(0.3)
    raw_client.request("test", b"question", "answers/here", b"7")
    assert until(lambda: ear.heard)
    client.publish(Outbound("test", b"x"))
    assert until(lambda: len(ear.heard) == 2)
    client.close()
    assert (ear.heard[0].response_topic, ear.heard[0].correlation) == ("answers/here", b"7")
    assert ear.heard[1].payload == b"x"
