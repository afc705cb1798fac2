"""Packets go live or become history, and a reader of the history has what it needs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from engine_parts import packet
from twin_edge.sync.engine.stream import LiveStream
from twin_edge.twin.packet import Flags, PacketHeader


def put(stream, seq, *, connected=True, key=False):
    one = packet(seq, key=key)
    return [PacketHeader.decode(entry.data).seq for entry in stream.put(one, one.encode(), connected=connected)]


def take_all(stream):
    taken = []
    while (data := stream.take()) is not None:
        taken.append(PacketHeader.decode(data).seq)
    return taken


def seqs(entries):
    return [PacketHeader.decode(entry.data).seq for entry in entries]


def test_what_is_unconfirmed_becomes_history_with_the_key_before_it():
    stream = LiveStream()
    for seq in range(8):
        assert put(stream, seq, key=seq in {0, 4}) == []
    assert take_all(stream) == list(range(8))
    stream.confirm(6)
    assert seqs(stream.interrupt()) == [4, 5, 6, 7]
    assert seqs(stream.interrupt()) == []
    assert put(stream, 8, connected=False) == [8]


def test_after_an_outage_the_stream_goes_on_with_a_key():
    stream = LiveStream()
    assert put(stream, 0, connected=False, key=True) == [0]
    assert put(stream, 1, connected=True) == [1], "it hangs on one that is history"
    assert stream.broken
    assert put(stream, 2, connected=True, key=True) == []
    assert take_all(stream) == [2]
    assert not stream.broken


def test_the_first_packet_of_an_outage_brings_what_it_hangs_on():
    stream = LiveStream()
    for seq in range(4):
        put(stream, seq, key=seq == 0)
    take_all(stream)
    stream.confirm(stream.handed)
    assert seqs(stream.interrupt()) == []
    assert put(stream, 4, connected=False) == [0, 1, 2, 3, 4]
    assert put(stream, 5, connected=False) == [5]
    assert put(stream, 6, connected=False, key=True) == [6]


def test_packets_that_pile_up_are_given_up_together():
    stream = LiveStream()
    put(stream, 0, key=True)
    assert take_all(stream) == [0]
    lost = []
    for seq in range(1, 20):
        lost += put(stream, seq)
    assert lost[:18] == list(range(18)), "with the key before them"
    assert stream.waiting == 0
    assert lost == list(range(20))


def test_what_is_unconfirmed_goes_along_when_packets_pile_up():
    stream = LiveStream()
    put(stream, 0, key=True)
    put(stream, 1, key=True)
    assert take_all(stream) == [0, 1]
    history = []
    for seq in range(2, 19):
        history += put(stream, seq)
    assert history + seqs(stream.interrupt()) == list(range(19)), "not the unconfirmed ones after all others"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_and_history_can_be_read(data):
    stream, connected, live, history, arrived, marks, seq = LiveStream(), False, [], [], set(), [], 0
    for step in data.draw(st.lists(st.sampled_from("pppppptmacis"), max_size=120)):
        if step == "p":
            key = seq == 0 or data.draw(st.integers(0, 4)) == 0
            history += put(stream, seq, connected=connected, key=key)
            live.append(key)
            seq += 1
        elif step == "t" and connected and (one := stream.take()) is not None:
            arrived.add(PacketHeader.decode(one).seq)
        elif step == "m" and connected:
            marks.append((stream.handed, set(arrived)))
        elif step == "a" and marks:
            stream.confirm(marks.pop(0)[0])
        elif step == "c":
            connected = True
        elif step == "i" and connected:
            connected = False
            # The broker has only what it acknowledged, as far as anybody knows.
            history += seqs(stream.interrupt())
            marks = []
        elif step == "s" and connected:
            history += seqs(stream.spill())
    history += seqs(stream.interrupt()) if connected else []
    assert history == sorted(set(history)), "the oldest first, each once"
    assert arrived | set(history) == set(range(seq))
    keys = {number for number, key in enumerate(live) if key}
    known = set()
    for number in history:
        # Read in order, each packet is a key or follows the one before it, which was history as well.
        assert number in keys or number - 1 in known
        known.add(number)


def test_a_log_without_confirmation_stays_bounded():
    stream, kept = LiveStream(), 0
    for seq in range(30_000):
        kept += len(put(stream, seq, key=seq % 30 == 0))
        take_all(stream)
    assert stream._log_bytes <= 512 * 1024
    assert kept + len(stream._log) == 30_000
    assert all(entry.data[1] & Flags.HISTORICAL == 0 for entry in stream._log)
