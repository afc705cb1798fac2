from __future__ import annotations

import time

import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, RigCamera
from twin_edge.errors import CameraError
from twin_edge.runtime import frames as frames_module
from twin_edge.runtime.frames import FrameWorker
from twin_edge.twin import Flags, Packet, Twin


class FakeSink:
    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.wanted = False

    def publish(self, packet: Packet) -> bool:
        length = packet.states.shape[1]
        self.packets.append(Packet.decode(packet.encode(), state_length=length))
        return False  # as without a broker: numbering goes on

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
    sink = FakeSink()
    worker = FrameWorker(twin, sink, session=7)
    for _ in range(3):
        worker.work(frame)
    assert [packet.seq for packet in sink.packets] == [0, 1, 2]
    assert {packet.session for packet in sink.packets} == {7}
    assert {packet.model for packet in sink.packets} == {twin.bundle.model_id}
    assert sink.packets[0].time_us == frame.time_us
    np.testing.assert_array_equal(sink.packets[0].states[0], twin.encode(twin.make_view(frame.image)))


def test_first_state_and_a_resync_make_key_packets(twin, frame):
    sink = FakeSink()
    worker = FrameWorker(twin, sink, session=1)
    worker.work(frame)
    worker.work(frame)
    sink.wanted = True
    worker.work(frame)
    worker.work(frame)
    assert keys(sink) == [True, False, True, False]


def test_key_packets_come_every_ten_seconds(twin, frame, monkeypatch):
    sink = FakeSink()
    worker = FrameWorker(twin, sink, session=1)
    now_s = [1000.0]
    monkeypatch.setattr(frames_module.time, "monotonic", lambda: now_s[0])
    for _ in range(25):
        worker.work(frame)
        now_s[0] += 1.0
    assert [i for i, key in enumerate(keys(sink)) if key] == [0, 10, 20]


def test_the_last_state_is_published_again_under_its_number(twin, frame):
    sink = FakeSink()
    worker = FrameWorker(twin, sink, session=1)
    worker.publish_last()
    assert not sink.packets
    worker.work(frame)
    worker.work(frame)
    worker.publish_last()
    assert [packet.seq for packet in sink.packets] == [0, 1, 1]
    assert keys(sink) == [True, False, True]


def test_frames_of_any_size_and_clocks_that_go_back(twin):
    worker = FrameWorker(twin, FakeSink(), session=1)
    later_us = time.time_ns() // 1000 + 10_000_000
    for shape in ((480, 640, 3), (33, 1000, 3), (64, 64, 3), (1, 1, 3)):
        worker.work(Frame(np.full(shape, 90, np.uint8), later_us, 0))
    spreads = worker.times.spreads()
    assert spreads["age"].p95_ms == 0
    assert spreads["whole"].p50_ms >= spreads["encode"].p50_ms > 0


def test_what_is_no_color_image_is_a_camera_error(twin):
    with pytest.raises(CameraError):
        FrameWorker(twin, FakeSink(), session=1).work(Frame(np.zeros((48, 64), np.uint8), 0, 0))
