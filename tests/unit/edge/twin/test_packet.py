"""Packets: byte for byte as on the protocol page, and refused when they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.twin import Flags, Packet
from twin_edge.twin.packet import HEADER_BYTES, MAX_TIME_US, seq_distance

LENGTH = 5


def packets() -> st.SearchStrategy[Packet]:
    def build(count: int, draw: tuple[int, int, int, int, int, list[int], bytes]) -> Packet:
        model, session, seq, time_us, flags, offsets, body = draw
        states = np.frombuffer(body, np.int8).reshape(count, LENGTH)
        return Packet(model, session, seq, time_us, states, (0, *sorted(offsets)), Flags(flags))

    u32 = st.integers(0, 2**32 - 1)
    return st.integers(1, 255).flatmap(
        lambda count: st.tuples(
            u32,
            u32,
            u32,
            st.integers(0, MAX_TIME_US),
            st.integers(0, 15),
            st.lists(st.integers(0, 65535), min_size=count - 1, max_size=count - 1),
            st.binary(min_size=count * LENGTH, max_size=count * LENGTH),
        ).map(lambda draw: build(count, draw))
    )


def test_bytes_are_those_of_the_protocol_page() -> None:
    packet = Packet(
        model=0x04030201,
        session=7,
        seq=9,
        time_us=0x0102030405,
        states=np.array([[1, -1]], np.int8),
        flags=Flags.KEY | Flags.CLOCK_UNSYNCED,
    )
    assert packet.encode() == bytes.fromhex("01 05 00 01 01020304 07000000 09000000 0504030201000000 0000 01ff")


@settings(deadline=None)
@given(packets())
def test_round_trip(packet: Packet) -> None:
    again = Packet.decode(packet.encode(), state_length=LENGTH)
    np.testing.assert_array_equal(again.states, packet.states)
    for field in ("model", "session", "seq", "time_us", "offsets_ms", "flags"):
        assert getattr(again, field) == getattr(packet, field)


@settings(deadline=None, max_examples=1000)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(lambda tail: b"\x01\x01\x00\x02" + tail)))
def test_any_bytes_are_a_packet_or_refused(data: bytes) -> None:
    try:
        packet = Packet.decode(data, state_length=LENGTH)
    except MessageError:
        return
    assert packet.encode() == data


@settings(deadline=None)
@given(packets(), st.integers(1, 40))
def test_truncation_is_refused(packet: Packet, cut: int) -> None:
    with pytest.raises(MessageError):
        Packet.decode(packet.encode()[:-cut], state_length=LENGTH)


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [(0, 2, "version"), (1, 16, "flags"), (2, 9, "codec"), (3, 0, "without states"), (3, 2, "has"), (23, 255, "9999")],
)
def test_each_field_is_checked(at: int, value: int, reason: str) -> None:
    data = bytearray(Packet(1, 2, 3, 4, np.zeros((1, LENGTH), np.int8)).encode())
    data[at] = value
    with pytest.raises(MessageError, match=reason):
        Packet.decode(bytes(data), state_length=LENGTH)


def test_states_of_another_length_are_refused() -> None:
    data = Packet(1, 2, 3, 4, np.zeros((1, LENGTH + 1), np.int8)).encode()
    with pytest.raises(MessageError):
        Packet.decode(data, state_length=LENGTH)


def test_what_does_not_fit_is_not_encoded() -> None:
    good = np.zeros((2, LENGTH), np.int8)
    for wrong in (
        Packet(2**32, 0, 0, 0, good, (0, 1)),
        Packet(0, 0, 0, -1, good, (0, 1)),
        Packet(0, 0, 0, 0, good, (0,)),
        Packet(0, 0, 0, 0, good, (5, 6)),
        Packet(0, 0, 0, 0, good, (0, 70000)),
        Packet(0, 0, 0, 0, good.astype(np.int16), (0, 1)),  # type: ignore[arg-type]
        Packet(0, 0, 0, 0, good[:0], ()),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong.encode()


def test_a_state_costs_its_length_and_two_bytes() -> None:
    one, two = (Packet(1, 2, 3, 4, np.zeros((n, 32), np.int8), tuple(range(n))).encode() for n in (1, 2))
    assert len(one) == HEADER_BYTES + 34
    assert len(two) - len(one) == 34


def test_sequence_numbers_wrap() -> None:
    packet = Packet(1, 2, 2**32 - 1, 4, np.zeros((3, LENGTH), np.int8), (0, 0, 0))
    assert packet.seqs() == [2**32 - 1, 0, 1]
    assert seq_distance(1, 2**32 - 1) == 2
    assert seq_distance(2**32 - 1, 1) == -2
