"""A subject that moves: from a video through training, conversion and bundle to both runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import moving_subject
from twin_converters.run import Run
from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.quality import psnr
from twin_edge.runtime.frames import FrameWorker
from twin_edge.runtime.sending import SendingConfig
from twin_edge.twin import Packet, Twin
from twin_edge.twin.codec import PacketReader

pytestmark = pytest.mark.training

UNSEEN = 40


@pytest.fixture(scope="module")
def bundle(moving_path: Path) -> Bundle:
    return Bundle.open(moving_path)


@pytest.fixture(scope="module")
def unseen() -> tuple[np.ndarray, list[tuple[float, ...]]]:
    """Returns views after the end of the recording, and where the square is in them."""
    where = moving_subject.poses(400 + UNSEEN)[400:]
    return moving_subject.views(where), [pose.values() for pose in where]


def test_run_folder_hands_pose_and_plate_over(moving_path: Path, bundle: Bundle) -> None:
    run = Run.open(moving_path.parents[1] / "runs" / "square")
    assert run.pose == bundle.manifest.pose
    assert run.plate is not None
    np.testing.assert_array_equal(bundle.plate(), run.plate)
    metrics = json.loads((moving_path.parents[1] / "runs" / "square" / "metrics.json").read_text())
    assert metrics["test"]["psnr_db"] > metrics["mean_image_test"]["psnr_db"] + 2


def test_plate_is_the_wall(bundle: Bundle) -> None:
    plate = bundle.plate()
    assert plate is not None
    edge = np.ones((64, 64), bool)
    edge[8:-8, 8:-8] = False
    assert np.abs(plate[edge].astype(int) - moving_subject.wall()[edge]).mean() < 4


@pytest.mark.parametrize("name", installed_runtimes())
def test_it_follows_on_every_runtime(
    bundle: Bundle, name: str, unseen: tuple[np.ndarray, list[tuple[float, ...]]]
) -> None:
    twin = Twin(bundle, load_runtime(name))  # type: ignore[arg-type]
    twin.require_self_test()
    views, where = unseen
    states: list[np.ndarray] = []
    for view in views:
        states.append(twin.encode(view, states[-1] if states else None))
    spec = bundle.manifest.pose
    assert spec is not None
    found = np.array([spec.dequantize(state[:4]).values()[:2] for state in states])
    off = found - np.array(where)[:, :2]
    assert np.percentile(np.abs(off - np.median(off, axis=0)), 90) < 0.75
    plate = bundle.plate()
    assert plate is not None
    rendered = np.mean([psnr(view, twin.render(state)) for view, state in zip(views, states, strict=True)])
    assert rendered > np.mean([psnr(view, plate) for view in views]) + 4
    assert 0 <= twin.compare(views[0], twin.render(states[0])).score <= 1


def test_state_has_a_pose_and_its_shift_moves_the_picture(bundle: Bundle) -> None:
    twin = Twin(bundle)
    spec = bundle.manifest.pose
    assert spec is not None
    state = bundle.golden().states[0].copy()
    state[:4] = 0
    resting = twin.render(state).astype(int)
    state[0] = round(6 / spec.steps[0])
    moved = twin.render(state).astype(int)
    middle = slice(24, 40)
    assert np.abs(moved[middle, 30:46] - resting[middle, 24:40]).mean() < 4
    assert np.abs(moved[middle, 24:40] - resting[middle, 24:40]).mean() > 8


class Subscriber:
    """Reads what it is sent."""

    stands_alone = False

    def __init__(self, bundle: Bundle) -> None:
        self.states: list[np.ndarray] = []
        self._reader = PacketReader(bundle.codec)

    def publish(self, packet: Packet) -> bool:
        self.states.extend(self._reader.read(packet.encode()).states)
        return True

    def take_resync(self) -> bool:
        return False


def test_a_subscriber_sees_it_move(bundle: Bundle, unseen: tuple[np.ndarray, list[tuple[float, ...]]]) -> None:
    device, far = Twin(bundle), Twin(bundle, encodes=False)
    subscriber = Subscriber(bundle)
    worker = FrameWorker(device, subscriber, session=1, sending=SendingConfig(batch_ms=0))
    views, where = unseen
    for number, view in enumerate(views):
        worker.work(Frame(np.ascontiguousarray(view[..., ::-1]), 1_000_000 + number * 50_000, number))
    assert len(subscriber.states) == len(views)
    spec = bundle.manifest.pose
    assert spec is not None
    heard = [spec.dequantize(state[:4]).tx for state in subscriber.states]
    assert np.corrcoef(heard, [pose[0] for pose in where])[0, 1] > 0.97
    rendering = far.render(subscriber.states[-1])
    assert psnr(views[-1], rendering) > psnr(views[0], rendering) + 1
