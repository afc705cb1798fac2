"""Many packets in one message, and what is refused."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.sync.wire.history import MAX_HISTORY_BYTES, build_history, frame, parse_history
from twin_edge.twin.packet import HEADER_BYTES, Flags, Packet

packets = st.binary(min_size=HEADER_BYTES, max_size=600)


def flagged(packet):
    return packet[:1] + bytes([packet[1] | Flags.HISTORICAL]) + packet[2:]


@given(st.lists(packets, min_size=1, max_size=30))
def test_packets_come_back_flagged_and_in_order(made):
    assert parse_history(build_history(map(frame, made))) == tuple(map(flagged, made))


@given(st.binary(max_size=400))
@example(b"\x01\xff\xff\xff\xff\x01")
@example(b"\x01\x80")
@example(b"\x01" + b"\x18" + bytes(23))
@example(b"\x02" + b"\x18" + bytes(24))
@example(b"\x01" + b"\x98\x80\x00" + bytes(24))
def test_any_bytes_are_packets_or_refused(data):
    try:
        read = parse_history(data)
    except MessageError:
        return
    assert read
    assert all(len(packet) >= HEADER_BYTES for packet in read)
    assert sum(map(len, read)) < len(data)


@given(st.lists(packets, min_size=1, max_size=10), st.data())
def test_a_cut_message_is_refused_or_ends_between_packets(made, data):
    whole = build_history(map(frame, made))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        read = parse_history(cut)
    except MessageError:
        return
    assert read == tuple(map(flagged, made))[: len(read)]


def test_a_real_packet_keeps_its_states():
    states = np.arange(-20, 20, dtype=np.int8).reshape(2, 20)
    packet = Packet(7, 3, 11, 1_700_000_000_000_000, states, (0, 33), Flags.KEY)
    (data,) = parse_history(build_history([frame(packet.encode())]))
    read = Packet.decode(data, state_length=20)
    assert read.flags == Flags.KEY | Flags.HISTORICAL
    assert np.array_equal(read.states, states)


@pytest.mark.parametrize("size", [0, HEADER_BYTES - 1, 1 << 21])
def test_what_is_no_packet_is_not_framed(size):
    with pytest.raises(ValueError, match="no packet"):
        frame(bytes(size))


def test_too_long_a_message_is_refused_at_once():
    with pytest.raises(MessageError, match="refused"):
        parse_history(b"\x01" + bytes(MAX_HISTORY_BYTES))
