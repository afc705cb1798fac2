"""Coded states over a real broker: the same at both ends, and whole again soon after a packet is lost."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from twin_edge.runtime.sending import SendingConfig, StateSender
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, TwinId, TwinView
from twin_edge.twin.packet import Codec

pytestmark = pytest.mark.broker

FPS = 60.0


class Lossy:
    """A link that loses packets on the way: the device does not notice."""

    def __init__(self, link):
        self.link = link
        self.lose = 0
        self.lost = []
        self.decoded = {}

    def publish(self, packet):
        self.decoded |= dict(zip(packet.seqs(), packet.states, strict=True))
        if self.lose:
            self.lose -= 1
            self.lost += packet.seqs()
            return True
        return self.link.publish(packet)

    @property
    def stands_alone(self):
        return self.link.stands_alone

    def take_resync(self):
        return self.link.take_resync()


class CodedDevice:
    """Sends states that wander, and remembers what subscribers should have."""

    def __init__(self, url, bundle):
        config = LinkConfig(BrokerConfig.from_url(url), codec=Codec.DELTA)
        self.link = DeviceLink(config, TwinId("org.acme", "cam-01"), bundle, 1)
        self.sink = Lossy(self.link)
        self.sender = StateSender(self.sink, bundle, 1, SendingConfig(batch_ms=100))
        self.random = np.random.default_rng(1)
        self.state = np.zeros(bundle.manifest.state.length)
        self.sent = 0

    @property
    def decoded(self):
        return self.sink.decoded

    def stream(self, count):
        due = time.monotonic()
        for _ in range(count):
            self.state += self.random.normal(size=len(self.state)) * 3 - self.state * 0.02
            state = np.clip(np.rint(self.state), -128, 127).astype(np.int8)
            self.sender.put(state, self.sent, time.time_ns() // 1000, time.monotonic())
            self.sent += 1
            due += 1 / FPS
            time.sleep(max(0.0, due - time.monotonic()))

    def __enter__(self):
        self.link.start()
        assert self.link.wait_ready(10)
        return self

    def __exit__(self, *_):
        self.link.stop()


def check(updates, device):
    for update in updates:
        np.testing.assert_array_equal(update.state, device.decoded[update.seq])
    seqs = [update.seq for update in updates]
    assert seqs == sorted(set(seqs))


def test_subscribers_have_exactly_the_decoded_states(mosquitto, twin_bundle, tmp_path):
    with CodedDevice(mosquitto.url, twin_bundle) as device:
        device.stream(1)
        with TwinView(mosquitto.url, cache_dir=tmp_path, max_queued=1000) as view:
            sender = threading.Thread(target=device.stream, args=(240,))
            sender.start()
            updates = list(view.updates(timeout_s=1.5))
            sender.join()
            check(updates, device)
            assert len(updates) > 150
            assert sum(update.missed for update in updates) == 0
            stats = view.stats()
            assert (stats.malformed, stats.errors) == (0, 0)
            assert sum(update.payload_bytes for update in updates) / len(updates) < twin_bundle.manifest.state.length
            assert device.link.stats().sent < 60


def test_a_lost_packet_is_missed_and_a_key_asked_for(mosquitto, twin_bundle, tmp_path):
    with CodedDevice(mosquitto.url, twin_bundle) as device, TwinView(mosquitto.url, cache_dir=tmp_path) as view:
        updates = []
        listener = threading.Thread(target=lambda: updates.extend(view.updates(timeout_s=2.0)))
        device.stream(30)
        listener.start()
        device.stream(60)
        before = view.stats().resyncs
        device.sink.lose = 1
        device.stream(150)
        listener.join()
        check(updates, device)
        stats = view.stats()
        assert stats.resyncs - before == 1
        assert stats.lost_packets >= 1
        seqs = [update.seq for update in updates]
        lost = set(range(seqs[0], len(device.decoded))) - set(seqs)
        assert set(device.sink.lost) <= lost
        # From the loss to the key it is a second at most, and what went by meanwhile was not rendered.
        assert len(lost) < 1.5 * FPS
        first = next(update for update in updates if update.seq > device.sink.lost[0])
        assert first.key
        assert first.missed == len([seq for seq in lost if seq < first.seq])


def test_a_late_joiner_asks_for_a_key_and_goes_on(mosquitto, twin_bundle, tmp_path):
    with CodedDevice(mosquitto.url, twin_bundle) as device:
        device.stream(60)
        sender = threading.Thread(target=device.stream, args=(240,))
        sender.start()
        with TwinView(mosquitto.url, cache_dir=tmp_path) as view:
            retained = view.next_update(5)
            assert retained.key
            live = [view.next_update(3) for _ in range(60)]
            sender.join()
            check([retained, *live], device)
            assert sum(update.missed for update in live) == 0
            assert live[0].key
            assert view.stats().resyncs == 1
