from __future__ import annotations

import time

import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, RigCamera
from twin_edge.errors import CameraError
from twin_edge.runtime import frames as frames_module
from twin_edge.runtime.frames import FrameWorker
from twin_edge.runtime.reporting import GapSchedule
from twin_edge.runtime.sending import SendingConfig
from twin_edge.twin import Flags, Packet, Twin
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.gap import Gap

AT_ONCE = SendingConfig(batch_ms=0)


class FakeSink:
    """Keeps what a subscriber would read."""

    def __init__(self, twin: Twin) -> None:
        self.packets: list[Packet] = []
        self.wanted = False
        self.works = True
        self._reader = PacketReader(twin.bundle.codec)

    @property
    def stands_alone(self) -> bool:
        return not self.works

    def publish(self, packet: Packet) -> bool:
        self.packets.append(self._reader.read(packet.encode()))
        return self.works

    def take_resync(self) -> bool:
        wanted, self.wanted = self.wanted, False
        return wanted


@pytest.fixture(scope="module")
def twin(bundle_path):
    return Twin(Bundle.open(bundle_path))


@pytest.fixture
def frame():
    camera = RigCamera("rig:")
    camera.open()
    return camera.read(1.0)


def keys(sink):
    return [bool(packet.flags & Flags.KEY) for packet in sink.packets]


def test_states_are_numbered_whether_they_are_sent_or_not(twin, frame):
    sink = FakeSink(twin)
    worker = FrameWorker(twin, sink, session=7, sending=AT_ONCE)
    for _ in range(3):
        worker.work(frame)
    assert [packet.seq for packet in sink.packets] == [0, 1, 2]
    assert {packet.session for packet in sink.packets} == {7}
    assert {packet.model for packet in sink.packets} == {twin.bundle.model_id}
    assert sink.packets[0].time_us == frame.time_us
    off = sink.packets[0].states[0] - twin.encode(twin.make_view(frame.image)).astype(int)
    assert (np.abs(off) <= np.array(twin.bundle.codec.levels[1].steps)).all()


def test_first_state_and_a_resync_make_key_packets(twin, frame):
    sink = FakeSink(twin)
    worker = FrameWorker(twin, sink, session=1, sending=AT_ONCE)
    worker.work(frame)
    worker.work(frame)
    sink.wanted = True
    worker.work(frame)
    worker.work(frame)
    assert keys(sink) == [True, False, True, False]


def test_key_packets_come_every_ten_seconds(twin, frame, monkeypatch):
    sink = FakeSink(twin)
    worker = FrameWorker(twin, sink, session=1, sending=AT_ONCE)
    now_s = [1000.0]
    monkeypatch.setattr(frames_module.time, "monotonic", lambda: now_s[0])
    for _ in range(25):
        worker.work(frame)
        now_s[0] += 1.0
    assert [i for i, key in enumerate(keys(sink)) if key] == [0, 10, 20]


def test_the_last_state_is_published_again_under_its_number(twin, frame):
    sink = FakeSink(twin)
    worker = FrameWorker(twin, sink, session=1, sending=AT_ONCE)
    worker.publish_last()
    assert not sink.packets
    worker.work(frame)
    worker.work(frame)
    worker.publish_last()
    assert [packet.seq for packet in sink.packets] == [0, 1, 1]
    assert keys(sink) == [True, False, True]


def test_frames_of_any_size_and_clocks_that_go_back(twin):
    worker = FrameWorker(twin, FakeSink(twin), session=1)
    later_us = time.time_ns() // 1000 + 10_000_000
    for shape in ((480, 640, 3), (33, 1000, 3), (64, 64, 3), (1, 1, 3)):
        worker.work(Frame(np.full(shape, 90, np.uint8), later_us, 0))
    spreads = worker.times.spreads()
    assert spreads["age"].p95_ms == 0
    assert spreads["whole"].p50_ms >= spreads["encode"].p50_ms > 0


def test_what_is_no_color_image_is_a_camera_error(twin):
    with pytest.raises(CameraError):
        FrameWorker(twin, FakeSink(twin), session=1).work(Frame(np.zeros((48, 64), np.uint8), 0, 0))


def test_every_state_is_published_and_some_frames_are_rendered(twin, frame, monkeypatch):
    gaps = iter([0.1] * 4 + [0.97, 0.999, 0.2] + [0.1] * 9)
    monkeypatch.setattr(twin, "compare", lambda *_seen: Gap(next(gaps), 1.0, np.zeros((1, 1), np.float32)))
    monkeypatch.setattr(frames_module.time, "monotonic", lambda: 1000.0)
    sink = FakeSink(twin)
    worker = FrameWorker(twin, sink, session=1, schedule=GapSchedule(3), sending=AT_ONCE)
    rendered = []
    for number in range(20):
        before = worker.measured
        worker.work(frame)
        if worker.measured > before:
            rendered.append(number)
    assert rendered == [0, 3, 6, 9, 12, 13, 14, 17]
    assert len(sink.packets) == worker.frames == 20
    spreads = worker.times.spreads()
    assert spreads["render"].p50_ms > 0
    worker.camera_went_away()
    worker.work(frame)
    assert worker.measured == 9


def test_a_snapshot_is_the_latest_state_in_a_packet_of_its_own(twin, frame):
    worker = FrameWorker(twin, FakeSink(twin), session=7, sending=SendingConfig(batch_ms=10_000))
    assert worker.snapshot() is None
    for _ in range(3):
        worker.work(frame)
    packet = PacketReader(twin.bundle.codec).read(worker.snapshot().encode())
    assert (packet.session, packet.seqs(), packet.flags) == (7, [2], Flags.KEY)
    np.testing.assert_array_equal(packet.states[0], twin.encode(twin.make_view(frame.image)))


def test_who_wants_renderings_gets_those_that_are_made(twin, frame):
    shown = []
    worker = FrameWorker(
        twin,
        FakeSink(twin),
        session=7,
        schedule=GapSchedule(100),
        on_rendered=lambda at, rendering: shown.append((at, rendering)),
    )
    for _ in range(5):
        worker.work(frame)
    assert len(shown) == worker.measured
    assert shown[0][0] is frame
    assert shown[0][1].shape == (twin.bundle.manifest.view.height, twin.bundle.manifest.view.width, 3)
