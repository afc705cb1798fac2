"""Feeding the network side of a view without a network: real messages in any order."""

from __future__ import annotations

import time

import numpy as np

from twin_edge.sync import Availability
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.following import Following
from twin_edge.sync.view.patterns import parse_patterns
from twin_edge.sync.wire.blocks import split
from twin_edge.sync.wire.messages import build_avail, build_codec
from twin_edge.twin.codec import PacketWriter
from twin_edge.twin.packet import Codec


class QuietClient:
    """Remembers what it is asked for."""

    def __init__(self):
        self.subscriptions = []
        self.published = []

    def subscribe(self, topics):
        self.subscriptions += topics

    def unsubscribe(self, topics):
        self.subscriptions = [(topic, qos) for topic, qos in self.subscriptions if topic not in topics]

    def publish(self, message):
        self.published.append(message)
        return True


class Feed:
    """A `Following`, and what it made of the messages."""

    def __init__(self, folder, patterns="*/*", max_twins=8, tap=None):
        self.client = QuietClient()
        self.updates = []
        self.events = []
        self.following = Following(
            self.client, parse_patterns(patterns), BundleCache(folder), self, max_twins=max_twins, tap=tap
        )
        self.now = 1.0
        self.following.connected()

    def put_updates(self, twin, updates):
        assert all(update.twin == twin for update in updates)
        self.updates += updates

    def put_event(self, event):
        self.events.append(event)

    def hear(self, topic, payload, *, retained=False):
        self.following.heard(Inbound(topic, payload, retained=retained), self.now)

    def tick(self, seconds=0.2):
        self.now += seconds
        self.following.tick(self.now)

    def announce(self, twin, bundle, *, session=1):
        self.hear(twin.topics.codec, build_codec(bundle, Codec.DELTA), retained=True)
        self.hear(twin.topics.avail, build_avail(twin, Availability("online", session)), retained=True)

    def send_bundle(self, twin, bundle):
        index, blocks = split(bundle)
        self.hear(twin.topics.index, index.to_bytes(), retained=True)
        for number, block in enumerate(blocks):
            self.hear(twin.topics.block(number), block, retained=True)

    def follower(self, twin):
        return self.following.followers[twin]


def wander(length, count, seed=1):
    """Returns states that wander, int8 of shape (count, length)."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(count, length)) * 3
    return np.clip(np.rint(np.cumsum(steps, axis=0)), -128, 127).astype(np.int8)


def packets_of(bundle, count, *, session=1, first=0, batch_ms=250.0, keys=(0,), seed=1, begin_us=None):
    """Returns real packets of codec 1, ten states a second, and what subscribers get out of them, by seq."""
    begin_us = time.time_ns() // 1000 if begin_us is None else begin_us
    states = wander(bundle.manifest.state.length, count, seed)
    writer = PacketWriter(bundle.model_id, session, bundle.codec, batch_ms=batch_ms)
    packets, decoded = [], {}
    for place, state in enumerate(states):
        packets += writer.put(state, first + place, begin_us + 100_000 * place, key=place in keys)
    packets += writer.flush()
    for packet in packets:
        decoded |= dict(zip(packet.seqs(), packet.states, strict=True))
    return packets, decoded
