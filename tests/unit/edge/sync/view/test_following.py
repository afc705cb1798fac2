"""Messages of many twins, in any order: who gets them, in what order, and what is bounded."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin_edge.bundle import Bundle, seal
from twin_edge.sync import Availability, StateReport, TwinId
from twin_edge.sync.view import bundles as bundles_module
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.wire.blocks import split
from twin_edge.sync.wire.events import Event, build_event
from twin_edge.sync.wire.history import build_history, frame
from twin_edge.sync.wire.messages import build_avail, build_state, parse_request
from view_feed import Feed, packets_of

A, B = TwinId("org.acme", "a"), TwinId("org.acme", "b")


@pytest.fixture(scope="module")
def bundle(bundle_path):
    return Bundle.open(bundle_path)


@pytest.fixture(scope="module")
def other_bundle(bundle):
    manifest = dataclasses.replace(bundle.manifest, name="other", files={})
    return Bundle.from_bytes(seal(manifest, bundle.members))


@pytest.fixture
def cached(tmp_path, bundle):
    BundleCache(tmp_path).store(bundle)
    return tmp_path


def check(updates, decoded):
    for update in updates:
        np.testing.assert_array_equal(update.state, decoded[update.seq])


def test_a_few_subscriptions_for_any_number_of_twins(cached, bundle):
    feed = Feed(cached, max_twins=100)
    before = list(feed.client.subscriptions)
    assert len(before) == 7
    for number in range(50):
        feed.announce(TwinId("org", f"cam-{number}"), bundle)
    assert feed.client.subscriptions == before
    assert len(feed.following.followers) == 50
    assert len({id(follower._loaded) for follower in feed.following.followers.values()}) == 1


def test_each_twin_gets_its_own_and_what_matches_no_pattern_is_not_followed(cached, bundle):
    feed = Feed(cached, ["org.acme/a", "org.b/cam-*"])
    c, d = TwinId("org.b", "cam-1"), TwinId("org.b", "dog")
    for twin in (A, B, c, d):
        feed.announce(twin, bundle)
    assert set(feed.following.followers) == {A, c}
    for seed, twin in enumerate((A, c, d)):
        packets, decoded = packets_of(bundle, 20, seed=seed)
        for packet in packets:
            feed.hear(twin.topics.stream, packet.encode())
        got = [update for update in feed.updates if update.twin == twin]
        check(got, decoded)
        assert len(got) == (0 if twin == d else 20)
    assert feed.follower(A).states == feed.follower(c).states == 20


def test_twins_beyond_the_cap_are_counted_and_nothing_else(cached, bundle):
    feed = Feed(cached, max_twins=3)
    for number in range(10):
        feed.announce(TwinId("org", f"cam-{number}"), bundle)
    assert len(feed.following.followers) == 3
    assert feed.following.ignored == 14
    assert len(feed.following._routes) == 3 * 7


@settings(max_examples=300)
@given(topic=st.text(max_size=60), payload=st.binary(max_size=60))
def test_rubbish_makes_no_twin(tmp_path_factory, topic, payload):
    feed = Feed(tmp_path_factory.getbasetemp())
    feed.hear(topic, payload)
    feed.hear(f"twin/v1/org/{topic}/up/codec", payload)
    feed.hear("twin/v1/org/x/up/avail", payload)
    feed.hear("twin/v1/org/x/up/codec", payload)
    assert not feed.following.followers


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_duplicates_and_losses(cached, bundle, data):
    """Whatever happens on the way, states come in order, once, unchanged, and all are accounted for."""
    packets, decoded = packets_of(bundle, 40, batch_ms=data.draw(st.sampled_from([0.0, 250.0])), keys=(0, 12, 25))
    wire = [packet.encode() for packet in packets]
    feed = Feed(cached)
    feed.announce(A, bundle)
    order = data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=2 * len(wire)))
    if data.draw(st.booleans()):
        order = sorted(order)
    for number in order:
        feed.hear(data.draw(st.sampled_from([A.topics.stream, A.topics.key])), wire[number])
    check(feed.updates, decoded)
    seqs = [update.seq for update in feed.updates]
    assert seqs == sorted(set(seqs))
    follower = feed.follower(A)
    if seqs:
        missed = sum(update.missed for update in feed.updates)
        assert len(seqs) + missed == seqs[-1] - seqs[0] + 1
        assert (follower.states, follower.missed) == (len(seqs), missed)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(live=st.sets(st.integers(0, 9)), again=st.booleans(), bad=st.binary(max_size=40))
def test_history_fills_the_holes_once_and_leaves_the_stream_alone(cached, bundle, live, again, bad):
    # Each packet is a key, as after a loss: any of them may be missing.
    parts = [packets_of(bundle, 4, first=4 * n, seed=n, batch_ms=1000.0) for n in range(10)]
    decoded = {seq: state for _, states in parts for seq, state in states.items()}
    wire = [packet.encode() for packets, _ in parts for packet in packets]
    feed = Feed(cached)
    feed.announce(A, bundle)
    for number in sorted(live):
        feed.hear(A.topics.stream, wire[number])
    feed.hear(A.topics.history, build_history([frame(packet) for packet in wire[:5]]))
    feed.hear(A.topics.history, bad)
    feed.hear(A.topics.history, build_history([frame(packet) for packet in wire[5:]]))
    if again:
        feed.hear(A.topics.history, build_history([frame(packet) for packet in wire]))
    check(feed.updates, decoded)
    streamed = [update.seq for update in feed.updates if not update.historical]
    late = [update.seq for update in feed.updates if update.historical]
    assert streamed == [seq for number in sorted(live) for seq in range(4 * number, 4 * number + 4)]
    assert late == sorted(set(range(40)) - set(streamed))
    follower = feed.follower(A)
    assert follower.history.states == len(late)
    assert all(update.missed == 0 for update in feed.updates if update.historical)
    more, states = packets_of(bundle, 4, first=40)
    feed.hear(A.topics.stream, more[0].encode())
    assert feed.updates[-1].seq == 40 + len(more[0].states) - 1
    np.testing.assert_array_equal(feed.updates[-1].state, states[feed.updates[-1].seq])


def test_history_of_the_bundle_before_is_read_too(cached, bundle, other_bundle):
    BundleCache(cached).store(other_bundle)
    feed = Feed(cached)
    feed.announce(A, bundle)
    feed.announce(A, other_bundle)
    packets, _ = packets_of(bundle, 5)
    feed.hear(A.topics.history, build_history([frame(packet.encode()) for packet in packets]))
    assert [update.seq for update in feed.updates] == list(range(5))
    assert {update.bundle.digest for update in feed.updates} == {bundle.digest}


def test_a_key_that_comes_both_ways_is_read_once(cached, bundle):
    feed = Feed(cached)
    feed.announce(A, bundle)
    (packet, *_), _ = packets_of(bundle, 3, batch_ms=1000.0)
    feed.hear(A.topics.key, packet.encode())
    feed.hear(A.topics.stream, packet.encode())
    assert len(feed.updates) == 3
    assert (feed.follower(A).duplicates, feed.follower(A).malformed) == (3, 0)


def test_packets_wait_for_their_bundle_in_bounded_memory(tmp_path, bundle):
    feed = Feed(tmp_path)
    feed.announce(A, bundle)
    packets, decoded = packets_of(bundle, 600, batch_ms=0.0, keys=range(0, 600, 10))
    for packet in packets:
        feed.hear(A.topics.stream, packet.encode())
    follower = feed.follower(A)
    assert len(follower._pending) == 128
    big = dataclasses.replace(packets[0], payload=bytes(60_000)).encode()
    for _ in range(5):
        feed.hear(A.topics.stream, big)
    assert follower._pending.bytes <= 64 * 1024
    for packet in packets[-30:]:
        feed.hear(A.topics.stream, packet.encode())
    feed.send_bundle(A, bundle)
    assert feed.follower(A).bundle.digest == bundle.digest
    check(feed.updates, decoded)
    assert [update.seq for update in feed.updates] == list(range(570, 600))
    assert follower._pending.bytes == 0


def test_a_bundle_is_fetched_once_for_all_its_twins(tmp_path, bundle):
    feed = Feed(tmp_path, max_twins=20)
    twins = [TwinId("org", f"cam-{number}") for number in range(10)]
    for twin in twins:
        feed.announce(twin, bundle)
    fetching = [topic for topic, _ in feed.client.subscriptions if "bundle" in topic]
    assert fetching == [twins[0].topics.index]
    feed.send_bundle(twins[0], bundle)
    assert {feed.follower(twin).bundle.digest for twin in twins} == {bundle.digest}
    assert not [topic for topic, _ in feed.client.subscriptions if "bundle" in topic]


def test_another_twin_is_tried_when_one_does_not_bring_its_bundle(tmp_path, bundle):
    feed = Feed(tmp_path)
    feed.announce(A, bundle)
    feed.announce(B, bundle)
    for _ in range(60):
        feed.tick()
    assert (B.topics.index, 1) in feed.client.subscriptions
    feed.send_bundle(B, bundle)
    assert feed.follower(A).bundle.digest == bundle.digest


def test_a_twin_that_lies_about_its_bundle_spoils_it_for_no_other(tmp_path, bundle, other_bundle):
    feed = Feed(tmp_path)
    feed.announce(A, bundle)
    index, blocks = split(other_bundle)
    lie = dataclasses.replace(index, digest=bundle.digest)
    feed.hear(A.topics.index, lie.to_bytes())
    for number, block in enumerate(blocks):
        feed.hear(A.topics.block(number), block)
    assert feed.following.malformed == 1
    assert "another one" in feed.follower(A).trouble
    feed.announce(B, bundle)
    feed.send_bundle(B, bundle)
    assert feed.follower(B).bundle.digest == bundle.digest


def test_the_bundles_of_all_twins_together_are_bounded(tmp_path, bundle, other_bundle, monkeypatch):
    monkeypatch.setattr(bundles_module, "MAX_LOADED_BYTES", len(bundle.data) + 100)
    for each in (bundle, other_bundle):
        BundleCache(tmp_path).store(each)
    feed = Feed(tmp_path)
    feed.announce(A, bundle)
    feed.announce(B, other_bundle)
    assert feed.follower(A).bundle is not None
    assert feed.follower(B).bundle is None
    assert "MiB" in feed.follower(B).trouble


def test_lost_packets_make_requests_and_many_twins_are_not_all_asked_at_once(cached, bundle):
    feed = Feed(cached, max_twins=100)
    twins = [TwinId("org", f"cam-{number}") for number in range(60)]
    packets, _ = packets_of(bundle, 20)
    for twin in twins:
        feed.announce(twin, bundle)
        feed.hear(twin.topics.stream, packets[0].encode())
        feed.hear(twin.topics.stream, packets[2].encode())
        assert feed.follower(twin).lost_packets == 1
    counts = []
    for _ in range(16):
        before = len(feed.client.published)
        feed.tick()
        counts.append(len(feed.client.published) - before)
    assert max(counts) <= 16
    assert {message.topic for message in feed.client.published} == {twin.topics.request for twin in twins}
    assert parse_request(feed.client.published[0].payload).op == "resync"


def test_events_come_once_each(cached, bundle):
    feed = Feed(cached)
    feed.announce(A, bundle)
    happened = build_event(3, 1, Event("gap-high", 17, 1_700_000_000_000_000, {"gap": 0.99}))
    feed.hear(A.topics.event, happened)
    feed.hear(A.topics.event, happened)
    feed.hear(A.topics.event, b"{}")
    feed.hear(A.topics.event, build_event(3, 2, Event("gap-normal", 18, 1_700_000_000_000_000)))
    assert [(event.twin, event.event.kind) for event in feed.events] == [(A, "gap-high"), (A, "gap-normal")]
    assert (feed.follower(A).events, feed.follower(A).malformed) == (2, 1)


def test_reports_make_gap_statistics_and_stand_in_updates(cached, bundle):
    feed = Feed(cached)
    feed.announce(A, bundle)
    for rev, gap in ((5, 0.25), (4, 0.9), (6, 0.75)):
        report = StateReport(rev, rev, 1_700_000_000_000_000, gap, in_sync=gap < 0.5)
        feed.hear(A.topics.state, build_state(A, 1, report))
    packets, _ = packets_of(bundle, 5)
    feed.hear(A.topics.stream, packets[0].encode())
    gap = feed.follower(A).meters.gap()
    assert (gap.last, gap.mean, gap.reports) == (0.75, 0.5, 2)
    assert (feed.updates[0].gap, feed.updates[0].in_sync) == (0.75, False)
    feed.hear(A.topics.avail, build_avail(A, Availability("offline", 1, "stopped")))
    assert not feed.follower(A).availability.online
