"""A device, a broker and a subscriber: states in order, and a late joiner that knows nothing but the broker."""

import threading
import time

import numpy as np
import pytest

from twin_edge.sync import EmbeddedBroker, StateReport, TwinId, TwinView
from twin_edge.twin.packet import Flags
from twin_edge.twin.twin import Twin

pytestmark = pytest.mark.broker


@pytest.fixture(params=["mosquitto", "embedded"])
def broker_url(request):
    if request.param == "mosquitto":
        yield request.getfixturevalue("mosquitto").url
    else:
        pytest.importorskip("amqtt")
        with EmbeddedBroker() as broker:
            yield broker.url


def test_states_arrive_in_order_and_once(broker_url, twin_bundle, device_class, tmp_path):
    with device_class(broker_url, twin_bundle) as device:
        assert device.link.wait_ready(10)
        with TwinView(broker_url, cache_dir=tmp_path, max_queued=1000) as view:
            device.send(Flags.KEY)
            view.next_update(5)
            sender = threading.Thread(target=device.stream, args=(300, 150.0))
            sender.start()
            updates = list(view.updates(timeout_s=1.0))
            sender.join()
            assert len(updates) >= 297
            seqs = [update.seq for update in updates]
            assert seqs == sorted(set(seqs))
            assert all(np.array_equal(update.state, device.state(update.seq)) for update in updates)
            assert sum(update.missed for update in updates) == 300 - len(updates)
            stats = device.link.stats()
            assert stats.sent + stats.skipped == 301
            assert (stats.errors, view.stats().errors, view.stats().malformed) == (0, 0, 0)


def test_late_joiner_renders_from_the_broker_alone(broker_url, twin_bundle, device_class, tmp_path):
    with device_class(broker_url, twin_bundle) as device:
        device.send(Flags.KEY)
        device.link.report(
            StateReport(
                7, 0, time.time_ns() // 1000, gap=0.25, in_sync=True, properties={"level": 63.0, "light": "run"}
            )
        )
        assert device.link.wait_ready(10)
        began = time.monotonic()
        with TwinView(broker_url, cache_dir=tmp_path / "empty") as view:
            update = view.next_update(5)
            rendering = update.rendering
            took = time.monotonic() - began
            assert took < 2
            assert np.array_equal(rendering, Twin(twin_bundle, encodes=False).render(device.state(0)))
            assert update.rendering is rendering
            assert update.key
            assert update.missed == 0
            assert (update.gap, update.in_sync) == (0.25, True)
            assert view.report.properties == {"level": 63.0, "light": "run"}
            assert view.online
            assert view.twin == TwinId("org.acme", "cam-01")
            assert view.stats().resyncs == 0
        cached = tmp_path / "empty" / f"{twin_bundle.digest}.twin"
        assert cached.read_bytes() == twin_bundle.data


def test_reconnecting_device_does_not_send_the_bundle_again(broker_url, twin_bundle, device_class):
    with device_class(broker_url, twin_bundle, 1) as device:
        assert device.link.wait_ready(10)
        assert device.link.stats().uploads == 1
    with device_class(broker_url, twin_bundle, 2) as device:
        assert device.link.wait_ready(10)
        assert device.link.stats().uploads == 0


def test_spoiled_cache_is_fetched_again(mosquitto, twin_bundle, device_class, tmp_path):
    cached = tmp_path / f"{twin_bundle.digest}.twin"
    cached.write_bytes(twin_bundle.data[:-1000] + bytes(1000))
    with device_class(mosquitto.url, twin_bundle) as device:
        device.send(Flags.KEY)
        assert device.link.wait_ready(10)
        with TwinView(mosquitto.url, "org.acme/cam-01", tmp_path) as view:
            assert view.next_update(5).bundle.digest == twin_bundle.digest
    assert cached.read_bytes() == twin_bundle.data


def test_model_switch_never_mixes_bundles(mosquitto, twin_bundle, other_bundle, device_class, tmp_path):
    with TwinView(mosquitto.url, "org.acme/cam-01", tmp_path) as view:
        with device_class(mosquitto.url, twin_bundle, 1) as device:
            assert device.link.wait_ready(10)
            device.stream(30, 100)
        with device_class(mosquitto.url, other_bundle, 2) as device:
            device.stream(30, 100)
            assert device.link.wait_ready(10)
            device.stream(30, 100)
        by_session = {1: set(), 2: set()}
        for update in view.updates(timeout_s=1.0):
            by_session[update.session].add(update.bundle.digest)
            assert update.rendering.any()
        assert by_session == {1: {twin_bundle.digest}, 2: {other_bundle.digest}}
        assert view.bundle.digest == other_bundle.digest


def test_lost_blocks_are_asked_for(mosquitto, twin_bundle, device_class, tmp_path, raw_client, until):
    with device_class(mosquitto.url, twin_bundle) as device:
        device.send(Flags.KEY)
        assert device.link.wait_ready(10)
        raw_client.publish("twin/v1/org.acme/cam-01/up/bundle/block/0", b"", qos=1, retain=True)
        raw_client.publish("twin/v1/org.acme/cam-01/up/bundle/block/1", b"rubbish", qos=1, retain=True)
        time.sleep(0.2)
        device.link._upload._began_at -= 60
        with TwinView(mosquitto.url, cache_dir=tmp_path) as view:
            assert view.next_update(8).rendering.any()
            assert view.stats().resyncs >= 1
        assert until(lambda: device.link.stats().uploads == 2)


def test_sequence_numbers_wrap_around(mosquitto, twin_bundle, device_class, tmp_path):
    with device_class(mosquitto.url, twin_bundle) as device:
        assert device.link.wait_ready(10)
        with TwinView(mosquitto.url, cache_dir=tmp_path) as view:
            device.send(Flags.KEY, seq=2**32 - 3)
            view.next_update(5)
            device.send()
            device.send()
            device.send(seq=1)
            device.send(seq=1)
            updates = list(view.updates(timeout_s=0.5))
            assert [(update.seq, update.missed) for update in updates] == [(2**32 - 2, 0), (2**32 - 1, 0), (1, 1)]


def test_slow_reader_gets_the_newest_and_is_told(mosquitto, twin_bundle, device_class, tmp_path):
    with device_class(mosquitto.url, twin_bundle) as device:
        assert device.link.wait_ready(10)
        with TwinView(mosquitto.url, cache_dir=tmp_path, max_queued=10) as view:
            device.send(Flags.KEY)
            view.next_update(5)
            device.stream(50, 200)
            time.sleep(0.3)
            updates = list(view.updates(timeout_s=0.2))
            assert len(updates) == 10
            assert updates[-1].seq == 50
            assert updates[0].missed + len(updates) == 50
            assert view.stats().dropped == 40
