import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.recording.chunks import MAX_CHUNK_BYTES, ChunkBuilder, read_chunk, varint
from twin_edge.twin.packet import MAX_TIME_US, Flags, PacketHeader

U32 = st.integers(0, 2**32 - 1)
HEADERS = st.builds(
    PacketHeader,
    st.sampled_from([Flags(n) for n in range(16)]),
    st.integers(0, 255),
    st.integers(1, 255),
    U32,
    U32,
    U32,
    st.integers(0, MAX_TIME_US),
)


def chunk_of(packets):
    builder = ChunkBuilder()
    for packet in packets:
        builder.add(packet, PacketHeader.decode(packet).time_us, alone=bool(packet[1] & Flags.KEY))
    return builder


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=40)), min_size=1, max_size=8))
def test_packets_come_out_as_they_went_in(parts):
    packets = [header.encode() + payload for header, payload in parts]
    builder = chunk_of(packets)
    assert read_chunk(builder.data()) == packets
    assert builder.packets == len(packets)
    assert builder.states == sum(header.count for header, _ in parts)
    times = [header.time_us for header, _ in parts]
    assert (builder.start_us, builder.end_us) == (min(times), max(times))
    assert builder.key == bool(parts[0][0].flags & Flags.KEY)


def test_packets_in_a_row_cost_a_few_bytes_each():
    packets, time_us, seq = [], 1_700_000_000_000_000, 2**32 - 40
    for number in range(20):
        flags = Flags.KEY if number == 0 else Flags.NONE
        packets.append(PacketHeader(flags, 1, 8, 77, 5, seq, time_us).encode() + bytes(12))
        seq, time_us = (seq + 8) % 2**32, time_us + 266_664 + 13 * (number % 3)
    builder = chunk_of(packets)
    assert read_chunk(builder.data()) == packets
    assert len(builder.data()) < 40 + 19 * (12 + 5)


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_refused(data):
    try:
        packets = read_chunk(data)
    except MessageError:
        return
    for packet in packets:
        PacketHeader.decode(packet)


@settings(max_examples=500)
@given(st.lists(st.tuples(HEADERS, st.binary(max_size=20)), min_size=1, max_size=5), st.data())
def test_whatever_is_changed_is_packets_or_refused(parts, data):
    chunk = bytearray(chunk_of([header.encode() + payload for header, payload in parts]).data())
    for _ in range(data.draw(st.integers(1, 4))):
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    chunk = chunk[: data.draw(st.integers(0, len(chunk)))]
    try:
        packets = read_chunk(bytes(chunk))
    except MessageError:
        return
    assert sum(map(len, packets)) <= 24 * len(chunk) + len(chunk)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(MAX_CHUNK_BYTES + 1),
        b"\5\0\0",
        b"\0" + b"\xff" * 12,
        b"\0" + varint(24) + bytes(23),
        b"\0" + varint(2**60) + bytes(24),
    ],
)
def test_what_does_not_fit_is_refused(data):
    with pytest.raises(MessageError):
        read_chunk(data)
