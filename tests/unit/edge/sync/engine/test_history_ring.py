"""The history of outages: order, exact counters, and coarser before forgetful."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_parts import packet
from twin_edge.sync.engine.history import BLOCK_BYTES, SPACINGS_S, History
from twin_edge.sync.wire.history import parse_history
from twin_edge.twin.packet import Flags, PacketHeader


def fill(history, seqs, **options):
    for seq in seqs:
        one = packet(seq, **options)
        history.add(one.encode(), len(one.states))


def drain(history, max_bytes=8192):
    seqs = []
    while (batch := history.take(max_bytes)) is not None:
        seqs += [PacketHeader.decode(data).seq for data in parse_history(batch.payload)]
        history.done(batch)
    return seqs


def test_packets_come_out_flagged_in_order_and_once():
    history = History()
    fill(history, range(3000), key=True, states=2)
    assert (history.packets, history.states) == (3000, 6000)
    batch = history.take(5000)
    assert len(batch.payload) <= 5001
    assert all(PacketHeader.decode(data).flags & Flags.HISTORICAL for data in parse_history(batch.payload))
    history.take_back(batch)
    assert drain(history) == list(range(3000))
    assert (history.packets, history.states, history.bytes, history.oldest_us) == (0, 0, 0, None)


def test_it_gets_coarser_at_the_old_end_before_it_forgets():
    history = History()
    fill(history, range(30 * 600), key=True)
    before, states = history.bytes, history.states
    history.shrink(before // 2)
    assert history.bytes <= before // 2
    assert history.dropped == 0
    assert history.decimated == states - history.states
    seqs = drain(history)
    assert seqs[0] == 0
    old = [after - one for one, after in itertools.pairwise(seqs[:50])]
    assert set(old) == {6}, "5 a second at the old end"
    assert seqs[-100:] == list(range(17_900, 18_000)), "all of them at the new one"


def test_it_forgets_the_oldest_only_when_all_is_coarse():
    history = History()
    fill(history, range(20_000), key=True)
    states = history.states
    history.shrink(3_000)
    assert history.bytes <= 3_000
    assert history.dropped > 0
    assert history.dropped + history.decimated + history.states == states
    seqs = drain(history)
    assert all(after - one >= 30 * SPACINGS_S[2] for one, after in itertools.pairwise(seqs))


def test_only_packets_that_can_be_read_alone_are_left_by_thinning():
    history = History()
    for seq in range(4000):
        fill(history, [seq], key=seq % 300 == 0)
    history.shrink(history.bytes // 3)
    thinned = drain(history)
    assert thinned
    assert all(seq % 300 == 0 for seq in thinned[: len(thinned) // 100])


def test_a_packet_longer_than_a_block_has_one_of_its_own():
    history = History()
    fill(history, [1], key=True)
    fill(history, [2], raw=True, states=100, size=1000)
    fill(history, [3], key=True)
    assert history.take(BLOCK_BYTES).packets == 1
    assert drain(history) == [2, 3]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_sequence_keeps_counters_and_the_disk_in_step(data):
    """What is on the disk is what a new process would have, whatever happens."""
    history, disk, added, arrived, flying, seq = History(), {}, 0, [], None, 0
    for step in data.draw(st.lists(st.sampled_from("aaaatdsbw"), max_size=60)):
        if step == "a":
            count = data.draw(st.integers(1, 80))
            fill(history, range(seq, seq + count), key=data.draw(st.booleans()), raw=data.draw(st.booleans()))
            seq, added = seq + count, added + count
        elif step == "t" and flying is None:
            flying = history.take(data.draw(st.integers(1, 5000)))
        elif step == "d" and flying is not None:
            arrived += [PacketHeader.decode(one).seq for one in parse_history(flying.payload)]
            history.done(flying)
            flying = None
        elif step == "b" and flying is not None:
            history.take_back(flying)
            flying = None
        elif step == "s":
            cap = data.draw(st.integers(500, 20_000))
            history.shrink(cap)
            assert history.bytes <= cap or flying is not None
        elif step == "w":
            changes = history.disk_changes()
            disk = {place: part for place, part in disk.items() if place[0] not in changes.dropped}
            disk |= {(block, part): frames for block, part, frames in changes.parts}
            assert not history.dirty
            assert {block for block, _ in disk} <= {block.number for block in history._blocks}
            restored = History()
            parts = [(*place, frames) for place, frames in sorted(disk.items())]
            assert restored.restore(parts) == 0
            again = drain(restored)
            assert again == sorted(again)
            assert len(again) >= history.packets
    if flying is not None:
        history.take_back(flying)
    assert arrived == sorted(set(arrived))
    assert added == len(arrived) + history.packets + history.decimated + history.dropped
    rest = drain(history)
    assert rest == sorted(set(rest))
    assert not set(rest) & set(arrived)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.binary(max_size=80)), max_size=6))
def test_rubbish_on_the_disk_is_left_out(parts):
    history = History()
    history.restore(sorted({(block, part): (block, part, data) for block, part, data in parts}.values()))
    drain(history)
    fill(history, [1], key=True)
    assert drain(history) == [1]


def test_no_packet_is_refused():
    with pytest.raises(ValueError, match="no packet"):
        History().add(b"short", 1)
