import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.sync.view.sequence import Sequence
from twin_edge.twin.packet import Flags, Packet


def packet(seq, count=1, session=1, flags=Flags.NONE):
    return Packet(0, session, seq, 0, np.zeros((count, 4), np.int8), tuple(range(count)), flags)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_gaps_duplicates_and_batches():
    sequence = Sequence(Clock())
    assert sequence.take(packet(5), retained=False) == [(0, 0)]
    assert sequence.take(packet(6, 3), retained=False) == [(0, 0), (1, 0), (2, 0)]
    assert sequence.take(packet(8, 3), retained=False) == [(1, 0), (2, 0)]
    assert sequence.take(packet(13, 2), retained=False) == [(0, 2), (1, 0)]
    assert sequence.take(packet(12), retained=False) == []
    assert sequence.duplicates == 2


def test_what_lies_between_a_retained_packet_and_the_stream_was_never_ours():
    sequence = Sequence(Clock())
    assert sequence.take(packet(5), retained=True) == [(0, 0)]
    assert sequence.take(packet(50), retained=False) == [(0, 0)]
    assert sequence.take(packet(52), retained=False) == [(0, 1)]


def test_wrap_around():
    sequence = Sequence(Clock())
    sequence.take(packet(2**32 - 2, 4), retained=False)
    assert sequence.take(packet(3), retained=False) == [(0, 1)]


def test_new_session_begins_anew_and_old_one_is_ignored():
    sequence = Sequence(Clock())
    sequence.take(packet(5, session=7), retained=False)
    assert sequence.take(packet(900, session=8), retained=False) == [(0, 0)]
    assert sequence.take(packet(6, session=7), retained=False) == []
    assert sequence.session == 8


def test_device_that_lost_its_counters_is_followed_after_a_while():
    clock = Clock()
    sequence = Sequence(clock)
    sequence.take(packet(5, session=7), retained=False)
    clock.now += 5
    assert sequence.take(packet(0, session=1), retained=False) == []
    clock.now += 6
    assert sequence.take(packet(1, session=1), retained=True) == []
    assert sequence.take(packet(1, session=1, flags=Flags.HISTORICAL), retained=False) == []
    assert sequence.take(packet(1, session=1), retained=False) == [(0, 0)]
    assert sequence.take(packet(2, session=1), retained=False) == [(0, 0)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5))), st.integers(0, 2**32 - 1))
def test_whatever_comes_each_state_comes_once_and_all_are_accounted_for(arrivals, base):
    sequence = Sequence(Clock())
    seen, missed = [], 0
    for offset, count in arrivals:
        first = (base + offset) % 2**32
        for place, lost in sequence.take(packet(first, count), retained=False):
            seen.append(offset + place)
            missed += lost
    assert seen == sorted(set(seen))
    if seen:
        assert len(seen) + missed == seen[-1] - seen[0] + 1
