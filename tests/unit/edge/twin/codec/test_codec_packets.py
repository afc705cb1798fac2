"""Packets of a stream: gathered, spaced, and read again in order or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codec_states import LENGTH, MSE, walk
from twin_converters.codec_tables import Recorded, fit
from twin_edge.errors import LostPacketError, MessageError
from twin_edge.twin.codec import CodecTables, PacketReader, PacketWriter
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, Packet

START_US = 1_700_000_000_000_000


def write(writer: PacketWriter, states: np.ndarray, times_us: list[int], keys: set[int] = frozenset()) -> list[Packet]:
    packets = []
    for row, (state, time_us) in enumerate(zip(states, times_us, strict=True)):
        packets += writer.put(state, row, time_us, key=row in keys)
    return packets + list(writer.flush())


def even(count: int, fps: float = 12.0) -> list[int]:
    return [START_US + round(1e6 * row / fps) for row in range(count)]


def seen(packets: list[Packet]) -> np.ndarray:
    return np.concatenate([packet.states for packet in packets])


def test_states_wait_for_each_other_within_the_budget(tables: CodecTables) -> None:
    states = walk(60, 1)
    packets = write(PacketWriter(1, 2, tables, batch_ms=500), states, even(60))
    assert [len(packet.states) for packet in packets] == [6] * 10
    assert [packet.seq for packet in packets] == list(range(0, 60, 6))
    assert packets[0].flags & Flags.KEY
    assert not any(packet.flags for packet in packets[1:])
    assert {packet.offsets_ms for packet in packets} == {(0, 83, 166, 249, 332, 415)}
    assert sum(len(packet.encode()) - HEADER_BYTES for packet in packets) < 60 * 6


@pytest.mark.parametrize("batch_ms", [0.0, 50.0])
def test_no_budget_sends_each_state_at_once(tables: CodecTables, batch_ms: float) -> None:
    writer = PacketWriter(1, 2, tables, batch_ms=batch_ms)
    for row, time_us in enumerate(even(10)):
        packets = writer.put(walk(10, 2)[row], row, time_us)
        # Without a budget every state goes at once; a short one is known to be too short from the second state on.
        assert bool(packets) or (batch_ms and row == 0)
    assert writer.waiting == 0


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("late", range(1, 40, 3))
def test_after_a_pause_states_are_gathered_again(tables: CodecTables, late: int, *, coded: bool) -> None:
    times = [time_us + 400_000 * (row >= late) for row, time_us in enumerate(even(120))]
    packets = write(PacketWriter(1, 2, tables if coded else None, batch_ms=250), walk(120, 3), times)
    # Three to a packet but around the pause.
    assert len(packets) <= 120 / 3 + 3


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps_ms=st.lists(st.integers(-50, 3000) | st.just(83), min_size=1, max_size=60),
    keys=st.sets(st.integers(0, 60), max_size=4),
    batch_ms=st.sampled_from([0.0, 100.0, 500.0, 10_000.0]),
    coded=st.booleans(),
    session=st.integers(0, 2**32 - 1),
)
def test_whatever_the_times_the_reader_has_what_the_writer_said(
    tables: CodecTables, *, gaps_ms: list[int], keys: set[int], batch_ms: float, coded: bool, session: int
) -> None:
    times = [START_US + 1000 * int(t) for t in np.cumsum(gaps_ms)]
    states = walk(len(times), session % 1000)
    writer = PacketWriter(1, session, tables if coded else None, batch_ms=batch_ms)
    reader = PacketReader(tables)
    packets = write(writer, states, times, keys)
    heard = [reader.read(packet.encode()) for packet in packets]
    np.testing.assert_array_equal(seen(heard), seen(packets))
    if not coded:
        np.testing.assert_array_equal(seen(heard), states)
    assert [seq for packet in heard for seq in packet.seqs()] == list(range(len(times)))
    heard_us = [packet.time_us + 1000 * offset for packet in heard for offset in packet.offsets_ms]
    steady = np.abs(np.array(heard_us) - times)
    assert steady.max() <= max(30_000, 0.5 * 1000 * max(gaps_ms))
    starts = {packet.seq for packet in heard if packet.flags & Flags.KEY}
    assert {key for key in keys if key < len(times)} <= starts


def test_a_frame_that_is_missing_ends_the_packet(tables: CodecTables) -> None:
    times = even(12)
    times = times[:4] + [time + 250_000 for time in times[4:]]
    packets = write(PacketWriter(1, 2, tables, batch_ms=1000), walk(12, 3), times)
    assert [len(packet.states) for packet in packets] == [4, 8]
    assert not packets[1].flags


def test_a_lost_packet_stops_the_stream_until_the_next_key(tables: CodecTables) -> None:
    packets = write(PacketWriter(1, 2, tables, batch_ms=500), walk(60, 4), even(60), {30})
    reader = PacketReader(tables)
    lost = []
    for number, packet in enumerate(packets):
        if number == 2:
            continue
        try:
            reader.read(packet.encode())
        except LostPacketError:
            lost.append(number)
            assert reader.needs_key
    assert lost == [3, 4]
    assert not reader.needs_key


def test_a_changed_packet_is_refused_and_so_is_what_follows(tables: CodecTables) -> None:
    packets = write(PacketWriter(1, 2, tables, batch_ms=500), walk(24, 5), even(24))
    reader = PacketReader(tables)
    reader.read(packets[0].encode())
    data = bytearray(packets[1].encode())
    data[-1] ^= 64
    with pytest.raises(MessageError):
        reader.read(bytes(data))
    assert reader.needs_key
    with pytest.raises(LostPacketError):
        reader.read(packets[2].encode())
    reader.read(packets[0].encode())
    assert not reader.needs_key


def test_a_key_that_comes_again_changes_nothing(tables: CodecTables) -> None:
    packets = write(PacketWriter(1, 2, tables, batch_ms=500), walk(24, 6), even(24))
    reader = PacketReader(tables)
    for packet in packets[:3]:
        reader.read(packet.encode())
    again = reader.read(packets[0].encode())
    np.testing.assert_array_equal(again.states, packets[0].states)
    with pytest.raises(MessageError, match="already"):
        reader.read(packets[1].encode())
    assert not reader.needs_key
    np.testing.assert_array_equal(reader.read(packets[3].encode()).states, packets[3].states)


def test_flags_that_are_set_on_the_way_do_not_spoil_a_packet(tables: CodecTables) -> None:
    (packet, *_) = write(PacketWriter(1, 2, tables, batch_ms=500), walk(6, 7), even(6))
    data = bytearray(packet.encode())
    data[1] |= Flags.HISTORICAL | Flags.CLOCK_UNSYNCED
    assert PacketReader(tables).read(bytes(data)).flags & Flags.HISTORICAL
    data[1] &= ~Flags.KEY
    with pytest.raises(LostPacketError):
        PacketReader(tables).read(bytes(data))


def test_another_session_begins_with_its_key(tables: CodecTables) -> None:
    reader = PacketReader(tables)
    for session in (7, 8, 3):
        packets = write(PacketWriter(1, session, tables, batch_ms=500), walk(12, session), even(12))
        with pytest.raises(LostPacketError):
            reader.read(packets[1].encode())
        for packet in packets:
            assert reader.read(packet.encode()).session == session


def test_an_abrupt_change_is_a_key_of_its_own() -> None:
    slow = np.stack([walk(400, seed)[:, 0] for seed in range(8)], axis=1)
    tables = fit([Recorded(slow)], np.full(8, 0.02), MSE)
    states = slow[:80].copy()
    states[40:] = np.clip(states[40:].astype(int) // 8 - 100, -128, 127)
    states[60:] = slow[60:80] // 4
    packets = write(PacketWriter(1, 2, tables, batch_ms=500), states, even(80))
    assert [packet.seq for packet in packets if packet.flags & Flags.SCENE_CUT] == [60]
    assert packets[0].flags == Flags.KEY
    assert all(packet.flags & Flags.KEY for packet in packets if packet.flags & Flags.SCENE_CUT)


def test_a_level_changes_between_packets(tables: CodecTables) -> None:
    writer, reader = PacketWriter(1, 2, tables, batch_ms=500), PacketReader(tables)
    states, times = walk(300, 9), even(300)
    sizes: dict[int, int] = {}
    for row in range(300):
        writer.level = row // 60
        for packet in writer.put(states[row], row, times[row]):
            reader.read(packet.encode())
            sizes[row // 60] = sizes.get(row // 60, 0) + len(packet.payload)
    assert sorted(sizes.values(), reverse=True) == [sizes[level] for level in range(5)]


def test_raw_packets_are_read_as_well(tables: CodecTables) -> None:
    states = walk(6, 1)
    packets = write(PacketWriter(1, 2, None, batch_ms=500), states, even(6), {0})
    reader = PacketReader(tables)
    assert [packet.codec for packet in packets] == [Codec.RAW]
    np.testing.assert_array_equal(reader.read(packets[0].encode()).states, states)
    assert packets[0].offsets_ms == (0, 83, 166, 250, 333, 416)
    assert len(packets[0].encode()) == HEADER_BYTES + 6 * (2 + LENGTH)


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[5] / "docs" / "codec.md").read_text()
    tables = CodecTables.from_bytes(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0].encode(), state_length=2)
    (example,) = re.findall(r"```\n(01 01 01 03.*?)```", page, re.DOTALL)
    reader = PacketReader(tables)
    heard = [reader.read(bytes.fromhex(line.replace("|", ""))) for line in example.splitlines()]
    assert seen(heard).tolist() == [[30, 4], [29, -4], [42, -14], [120, -18], [119, -23], [117, -16]]
    assert [packet.offsets_ms for packet in heard] == [(0, 83, 166)] * 2
    assert heard[0].flags == Flags.KEY
    writer = PacketWriter(heard[0].model, heard[0].session, tables, batch_ms=170)
    states = np.array([[30, 3], [31, -2], [41, -20], [120, -21], [118, -20], [118, -19]], np.int8)
    packets = []
    for row, state in enumerate(states):
        packets += writer.put(state, 3600 + row, heard[0].time_us + 83_333 * row)
    assert [packet.encode().hex(" ") for packet in packets] == [line.replace(" |", "") for line in example.splitlines()]
