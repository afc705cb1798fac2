"""Sending: key packets in time, nothing left behind, and the rate that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from codec_states import LENGTH, fitted, walk
from twin_converters.codec_tables import LOSSES_DB
from twin_edge.errors import ConfigError
from twin_edge.runtime.sending import RateControl, SendingConfig, StateSender
from twin_edge.twin.codec import CodecTables, PacketReader
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, Packet

START_US = 1_700_000_000_000_000


class Bundle:
    """As much of a bundle as sending needs: what it is sealed in does not matter here."""

    model_id = 7

    def __init__(self, codec: CodecTables) -> None:
        self.codec = codec


class Sink:
    def __init__(self, tables: CodecTables) -> None:
        self.packets: list[Packet] = []
        self.wanted = False
        self.works = True
        self.reader = PacketReader(tables)

    @property
    def stands_alone(self) -> bool:
        return not self.works

    def publish(self, packet: Packet) -> bool:
        self.packets.append(self.reader.read(packet.encode()))
        return self.works

    def take_resync(self) -> bool:
        wanted, self.wanted = self.wanted, False
        return wanted


@pytest.fixture(scope="module")
def tables():
    return fitted()


def run(sender, count, fps=12.0, seed=1, start=0):
    for row, state in enumerate(walk(start + count, seed)[start:], start):
        sender.put(state, row, START_US + round(1e6 * row / fps), 100.0 + row / fps)


def keys(sink):
    return [packet.seq for packet in sink.packets if packet.flags & Flags.KEY]


def test_keys_come_first_every_ten_seconds_and_on_request(tables):
    sink = Sink(tables)
    sender = StateSender(sink, Bundle(tables), 1, SendingConfig())
    run(sender, 400)
    assert keys(sink)[:4] == [0, 120, 240, 360]
    sink.wanted = True
    run(sender, 10, start=400)
    assert keys(sink)[-1] == 400
    assert sender.states == sum(len(packet.states) for packet in sink.packets)
    assert sender.packet_bytes == sum(len(packet.encode()) for packet in sink.packets)
    assert sender.payload_bytes < 410 * LENGTH / 2


def test_packets_that_do_not_go_live_can_each_be_read_by_themselves(tables):
    sink = Sink(tables)
    sender = StateSender(sink, Bundle(tables), 1, SendingConfig(batch_ms=250))
    run(sender, 6)
    sink.works = False
    run(sender, 12, start=6)
    sink.works = True
    run(sender, 9, start=18)
    assert [packet.seq for packet in sink.packets] == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert keys(sink) == [0, 6, 9, 12, 15]


def test_what_waits_is_sent_when_no_frame_comes_and_at_the_end(tables):
    sink = Sink(tables)
    sender = StateSender(sink, Bundle(tables), 1, SendingConfig(batch_ms=500))
    run(sender, 8)
    assert sum(len(packet.states) for packet in sink.packets) == 6
    sender.send_overdue(100.8)
    assert len(sink.packets) == 1
    sender.send_overdue(101.1)
    sender.send_overdue(105.0)
    assert [len(packet.states) for packet in sink.packets] == [6, 2]
    run(sender, 2, start=8)
    sender.send_last(walk(10, 1)[-1], 9, START_US + 750_000, 101.2)
    assert [(packet.seq, len(packet.states), bool(packet.flags & Flags.KEY)) for packet in sink.packets[2:]] == [
        (8, 2, False),
        (9, 1, True),
    ]


def test_the_state_that_subscribers_have_is_near_the_true_one(tables):
    sink = Sink(tables)
    run(StateSender(sink, Bundle(tables), 1, SendingConfig(quality=0)), 48, seed=3)
    decoded = np.concatenate([packet.states for packet in sink.packets])
    # The coarsest steps of a packet are 26 sixteenths of the level's, which are in sixteenths themselves.
    assert (np.abs(decoded - walk(48, 3).astype(int)) <= np.ceil(1.7 * np.array(tables.levels[0].steps) / 16)).all()


def test_raw_states_are_sent_as_they_are(tables):
    sink = Sink(tables)
    run(StateSender(sink, Bundle(tables), 1, SendingConfig(Codec.RAW, batch_ms=500)), 12)
    np.testing.assert_array_equal(np.concatenate([packet.states for packet in sink.packets]), walk(12, 1))
    assert keys(sink) == [0]


def test_a_level_that_the_bundle_has_not(tables):
    with pytest.raises(ConfigError, match=f"levels 0-{len(LOSSES_DB) - 1}"):
        StateSender(Sink(tables), Bundle(tables), 1, SendingConfig(quality=len(LOSSES_DB)))


@pytest.mark.parametrize(("kbps", "coarsest"), [(0.45, True), (0.95, False), (50.0, False)])
def test_the_rate_is_kept_and_used(tables, kbps, coarsest):
    sink = Sink(tables)
    sender = StateSender(sink, Bundle(tables), 1, SendingConfig(batch_ms=500, kbps=kbps, quality=2))
    run(sender, 1200)
    late = [packet for packet in sink.packets if packet.seq >= 600]
    sent_kbps = 8e-3 * sum(len(packet.encode()) for packet in late) / 50
    if coarsest:
        assert sender.level == len(LOSSES_DB) - 1
    else:
        assert sent_kbps <= 1.1 * kbps
        assert sent_kbps >= 0.6 * kbps or sender.level == 0


def test_the_level_does_not_swing(tables):
    """A rate between two levels: the finer one is not tried again and again."""
    control = RateControl(tables, 0, 1.02 * 8e-3 * (24 + 60) * 2)
    bits = [level.bits for level in tables.levels]
    chosen = []
    for number in range(400):
        size = round(60 * bits[control.level] / bits[1])
        payload = bytes(size)
        packet = Packet(1, 1, number, 0, np.zeros((1, LENGTH), np.int8), codec=Codec.DELTA, payload=payload)
        assert len(packet.encode()) == HEADER_BYTES + size
        chosen.append(control.add(packet, number / 2))
    assert set(chosen[40:]) == {1}


def test_level_rate_and_batch_may_change_under_way(tables):
    sink = Sink(tables)
    sender = StateSender(sink, Bundle(tables), 1, SendingConfig(batch_ms=500, quality=0))
    run(sender, 24)
    sender.set_quality(3)
    sender.set_batch_ms(0)
    with pytest.raises(ConfigError, match=f"levels 0-{len(LOSSES_DB) - 1}"):
        sender.set_quality(len(LOSSES_DB))
    run(sender, 24, start=24)
    assert sender.level == 3
    assert len(sink.packets[-1].states) == 1
    states = np.concatenate([packet.states for packet in sink.packets])
    assert len(states) == 48
    sender.set_kbps(0.3)
    run(sender, 400, start=48)
    assert sender.level == len(LOSSES_DB) - 1
    sender.set_kbps(None)
    sender.set_quality(1)
    run(sender, 100, start=448)
    assert sender.level == 1
