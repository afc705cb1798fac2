from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from twin_edge.cameras import (
    Capture,
    CaptureConfig,
    CaptureState,
    Frame,
    RigCamera,
    open_camera,
)
from twin_edge.cameras.pacing import Pacer, pacer_for
from twin_edge.cameras.settings import TRANSITIONS
from twin_edge.errors import (
    CameraEndedError,
    CameraError,
    CameraOpenError,
    CameraTimeoutError,
    ConfigError,
)

IMAGE = np.zeros((4, 4, 3), np.uint8)


class ScriptedCamera:
    """A camera that does what a script says, one entry per read: None is a frame, a number waits first."""

    uri = "scripted:"

    def __init__(self, script: list[Any], *, live: bool = True, fps: float | None = None) -> None:
        self.live = live
        self.fps = fps
        self.opens: list[Any] = []
        """What happens on opening: an error or None; empty is None."""
        self.script = list(script)
        self.opened = self.closed = self.index = 0
        self.threads: set[int] = set()
        self.release = threading.Event()

    def open(self) -> None:
        self.threads.add(threading.get_ident())
        self.opened += 1
        if self.opens and (error := self.opens.pop(0)) is not None:
            raise error

    def read(self, timeout_s: float) -> Frame:
        assert timeout_s > 0
        self.threads.add(threading.get_ident())
        act = self.script.pop(0) if self.script else 0.002
        if act == "block":
            self.release.wait(20.0)
        elif isinstance(act, float):
            time.sleep(act)
        elif isinstance(act, Exception):
            raise act
        self.index += 1
        return Frame(IMAGE, 0, self.index - 1)

    def close(self) -> None:
        self.closed += 1


FAST = {"backoff_min_s": 0.001, "backoff_max_s": 0.01}
GONE = CameraError("unplugged")


def wait_until(condition: Callable[[], object], timeout_s: float = 3.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "capture"])


def write_video(path: Path, count: int) -> str:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (64, 48))
    for index in range(count):
        writer.write(np.full((48, 64, 3), index, np.uint8))
    writer.release()
    return str(path)


def drain(capture: Capture) -> list[int]:
    """Takes frames until the source has ended; what they were."""
    indices = []
    while True:
        try:
            frame = capture.get(2.0)
        except CameraEndedError:
            return indices
        assert frame is not None
        indices.append(frame.index)


def test_as_fast_as_possible_hands_over_every_frame(tmp_path: Path) -> None:
    camera = open_camera(write_video(tmp_path / "clip.avi", 40))
    with Capture(camera, CaptureConfig(fps=math.inf)) as capture:
        time.sleep(0.05)  # A reader that ran ahead would drop here.
        assert drain(capture) == list(range(40))
        assert capture.state is CaptureState.ENDED
        stats = capture.stats()
        assert (stats.frames, stats.dropped) == (40, 0)
        with pytest.raises(CameraEndedError):
            capture.get(0.0)
    assert capture.state is CaptureState.CLOSED


def test_files_are_paced_in_real_time() -> None:
    camera = RigCamera("rig:fps=50,nuisance=0")
    with Capture(camera) as capture:
        started_s = time.monotonic()
        indices = [0]
        while indices[-1] < 25:
            frame = capture.get(1.0)
            assert frame is not None
            indices.append(frame.index)
        took_s = time.monotonic() - started_s
    assert 0.4 < took_s < 3.0
    assert len(indices) > 8


def test_a_limit_sets_the_pace_of_a_source_that_waits() -> None:
    with Capture(ScriptedCamera([None] * 500, live=False), CaptureConfig(fps=200.0)) as capture:
        started_s = time.monotonic()
        for _ in range(60):
            frame = capture.get(1.0)
        took_s = time.monotonic() - started_s
        assert frame is not None
        assert 0.2 < took_s < 3.0
    assert capture.stats().skipped == 0


def test_slow_consumers_get_the_latest_frame_and_drops_are_counted() -> None:
    with Capture(ScriptedCamera([0.002] * 1000, fps=None)) as capture:
        taken = []
        for _ in range(5):
            time.sleep(0.05)
            frame = capture.get(1.0)
            assert frame is not None
            taken.append(frame.index)
        stats = capture.stats()
        assert all(later - earlier > 3 for earlier, later in itertools.pairwise(taken))
        assert stats.dropped > 20
        assert stats.frames - stats.dropped - 5 in (0, 1)


def test_a_limit_skips_frames_of_a_live_camera() -> None:
    with Capture(ScriptedCamera([0.004] * 200), CaptureConfig(fps=25.0)) as capture:
        started_s = time.monotonic()
        for _ in range(8):
            assert capture.get(1.0) is not None
        took_s = time.monotonic() - started_s
        stats = capture.stats()
    assert 0.2 < took_s < 3.0
    assert stats.skipped > 20
    assert stats.dropped <= 1


def test_get_waits_no_longer_than_it_says() -> None:
    camera = ScriptedCamera([None, "block"])
    with Capture(camera) as capture:
        assert capture.get(1.0) is not None
        started_s = time.monotonic()
        assert capture.get(0.05) is None
        assert capture.get(0.0) is None
        assert 0.04 < time.monotonic() - started_s < 1.0
        camera.release.set()
    assert camera.closed == 1


def test_the_first_error_of_opening_is_raised_at_once() -> None:
    camera = ScriptedCamera([])
    camera.opens = [CameraOpenError("nothing there", fix="plug it in")]
    capture = Capture(camera)
    with pytest.raises(CameraOpenError, match="nothing there: plug it in"):
        capture.start()
    assert capture.state is CaptureState.CLOSED
    assert (camera.opened, camera.closed) == (1, 1)
    capture.start()  # It is there now.
    capture.stop()


def test_a_camera_that_opens_without_a_frame_fails_the_start() -> None:
    with pytest.raises(CameraTimeoutError, match="silence"):
        Capture(ScriptedCamera([CameraTimeoutError("silence")])).start()
    with pytest.raises(CameraEndedError, match="empty"):
        Capture(ScriptedCamera([CameraEndedError("empty")], live=False)).start()
    camera = ScriptedCamera(["block"])
    started_s = time.monotonic()
    with pytest.raises(CameraOpenError, match="gave no frame"):
        Capture(camera, CaptureConfig(open_timeout_s=0.05)).start()
    assert time.monotonic() - started_s < 2.0
    camera.release.set()


def test_opening_is_tried_as_often_as_asked() -> None:
    camera = ScriptedCamera([])
    camera.opens = [CameraOpenError("not yet")] * 3
    with Capture(camera, CaptureConfig(max_attempts=4, **FAST)) as capture:
        assert capture.get(1.0) is not None
    assert camera.opened == 4
    camera.opens = [CameraOpenError("not yet")] * 3
    with pytest.raises(CameraOpenError, match="not yet"):
        Capture(camera, CaptureConfig(max_attempts=2, **FAST)).start()
    assert camera.opened == 6


def test_a_vanished_camera_is_reopened(caplog: pytest.LogCaptureFixture) -> None:
    camera = ScriptedCamera([None, None, GONE, None])
    camera.opens = [None, CameraOpenError("away"), CameraOpenError("away"), None]
    with caplog.at_level(logging.DEBUG), Capture(camera, CaptureConfig(**FAST)) as capture:
        wait_until(lambda: capture.stats().reconnects == 1)
        frame = capture.get(1.0)
        assert frame is not None
        assert capture.state is CaptureState.STREAMING
    assert camera.opened == 4
    assert camera.closed == 4
    assert len(camera.threads) == 1
    words = [record.getMessage() for record in caplog.records]
    assert [word.split(" is ")[1].split(":")[0] for word in words] == [
        "opening", "streaming", "backoff", "opening", "backoff", "opening", "backoff", "opening", "streaming", "closed",
    ]  # fmt: skip
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_a_timeout_reopens_a_live_camera() -> None:
    camera = ScriptedCamera([None, CameraTimeoutError("late"), None])
    with Capture(camera, CaptureConfig(**FAST)) as capture:
        wait_until(lambda: capture.stats().reconnects == 1)
        assert capture.stats().timeouts == 1


def test_a_timeout_does_not_end_a_source_that_waits() -> None:
    camera = ScriptedCamera([None, CameraTimeoutError("slow disk"), None, CameraEndedError("ended")], live=False)
    with Capture(camera, CaptureConfig(fps=math.inf)) as capture:
        assert drain(capture) == [0, 1]
        assert capture.stats().timeouts == 1
    assert camera.opened == 1


def test_a_broken_file_fails_and_is_not_opened_again() -> None:
    camera = ScriptedCamera([None, CameraError("breaks off", fix="copy it again")], live=False)
    with Capture(camera, CaptureConfig(fps=math.inf, **FAST)) as capture:
        assert capture.get(1.0) is not None
        for _ in range(2):
            with pytest.raises(CameraError, match="breaks off: copy it again"):
                capture.get(1.0)
        assert capture.state is CaptureState.FAILED
    assert camera.opened == 1


def test_giving_up() -> None:
    camera = ScriptedCamera([None, GONE])
    camera.opens = [None, *[CameraOpenError("away")] * 10_000]
    with Capture(camera, CaptureConfig(give_up_s=0.1, **FAST)) as capture:
        assert capture.get(1.0) is not None
        with pytest.raises(CameraError, match=r"no frame from scripted: for 0\.1 s"):
            capture.get(2.0)
        assert capture.state is CaptureState.FAILED


def test_a_blocked_camera_is_noticed_and_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    camera = ScriptedCamera([None, "block"])
    capture = Capture(camera, CaptureConfig(read_timeout_s=0.05))
    capture.start()
    assert capture.get(1.0) is not None
    wait_until(lambda: capture.state is CaptureState.STALLED)
    assert capture.stats().timeouts == 1
    started_s = time.monotonic()
    capture.stop()
    assert time.monotonic() - started_s < 1.5
    assert "does not let go" in caplog.text
    with pytest.raises(CameraError, match="still hangs"):
        capture.start()
    assert capture.state is CaptureState.CLOSED
    camera.release.set()
    wait_until(lambda: camera.closed == 1)
    wait_until(lambda: not capture._thread.is_alive())
    with capture:
        assert capture.get(1.0) is not None


def test_a_blocked_camera_that_comes_back_streams_again() -> None:
    camera = ScriptedCamera([None, "block"])
    with Capture(camera, CaptureConfig(read_timeout_s=0.02)) as capture:
        wait_until(lambda: capture.state is CaptureState.STALLED)
        camera.release.set()
        wait_until(lambda: capture.state is CaptureState.STREAMING)
        assert capture.stats().timeouts == 1


def test_a_blocked_camera_is_given_up() -> None:
    camera = ScriptedCamera([None, "block"])
    with Capture(camera, CaptureConfig(read_timeout_s=0.02, give_up_s=0.1)) as capture:
        assert capture.get(1.0) is not None
        started_s = time.monotonic()
        with pytest.raises(CameraError, match="no frame"):
            capture.get(5.0)
        assert time.monotonic() - started_s < 1.0
        camera.release.set()


def test_a_bug_in_a_camera_reaches_the_consumer(caplog: pytest.LogCaptureFixture) -> None:
    with Capture(ScriptedCamera([None, ZeroDivisionError("oops")])) as capture:
        wait_until(lambda: capture.state is CaptureState.FAILED)
        assert capture.get(1.0) is not None
        with pytest.raises(CameraError, match="oops"):
            capture.get(1.0)
    assert "ZeroDivisionError" in caplog.text


def test_stop_is_quick_while_it_waits() -> None:
    gone = ScriptedCamera([None, GONE])
    slow = ScriptedCamera([None] * 9, live=False)
    full = ScriptedCamera([None] * 9, live=False)
    for camera, config in (
        (gone, CaptureConfig(backoff_min_s=600.0, backoff_max_s=600.0)),
        (slow, CaptureConfig(fps=0.01)),
        (full, CaptureConfig(fps=math.inf)),
    ):
        capture = Capture(camera, config)
        capture.start()
        time.sleep(0.02)
        started_s = time.monotonic()
        capture.stop()
        capture.stop()
        assert time.monotonic() - started_s < 0.9
        assert camera.closed == camera.opened == 1


def test_a_capture_runs_once_at_a_time_and_can_start_again() -> None:
    capture = Capture(ScriptedCamera([]))
    with pytest.raises(CameraError, match="does not run"):
        capture.get(0.0)
    capture.stop()
    with capture:
        assert capture.get(1.0) is not None
        with pytest.raises(CameraError, match="runs already"):
            capture.start()
    with pytest.raises(CameraError, match="does not run"):
        capture.get(0.0)
    with capture:
        assert capture.get(1.0) is not None
        assert capture.stats().reconnects == 0


def test_frames_handed_over_stay_what_they_are() -> None:
    with Capture(RigCamera("rig:fps=200"), CaptureConfig(fps=200.0)) as capture:
        first = capture.get(1.0)
        assert first is not None
        kept = first.image.copy()
        for _ in range(5):
            later = capture.get(1.0)
            assert later is not None
            assert not np.shares_memory(later.image, first.image)
        assert np.array_equal(first.image, kept)


@pytest.mark.parametrize(
    "values",
    [
        {"fps": 0.0},
        {"fps": math.nan},
        {"read_timeout_s": 0.0},
        {"read_timeout_s": math.nan},
        {"open_timeout_s": -1.0},
        {"max_attempts": 0},
        {"backoff_min_s": 0.0},
        {"backoff_max_s": 0.1},
        {"give_up_s": 0.0},
    ],
)
def test_config_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        CaptureConfig(**values)


def test_every_state_has_a_way_out_and_only_allowed_ones_are_taken() -> None:
    assert set(TRANSITIONS) == set(CaptureState)
    for state, following in TRANSITIONS.items():
        assert state is CaptureState.CLOSED or CaptureState.CLOSED in following
    capture = Capture(ScriptedCamera([]))
    with pytest.raises(AssertionError, match="closed to streaming"):
        capture._enter(CaptureState.STREAMING)


def test_pacer_keeps_a_schedule_and_does_not_rush() -> None:
    pacer = Pacer(10.0)
    assert pacer.wait_s(5.0) == 0.0
    assert pacer.wait_s(5.02) == pytest.approx(0.08)
    assert pacer.wait_s(5.13) == pytest.approx(0.07)  # late frames do not shift the schedule
    assert pacer.wait_s(9.0) == 0.0
    assert pacer.wait_s(9.0) == pytest.approx(0.1)
    assert pacer_for(None, None, live=False)._interval_s == pytest.approx(1 / 30)
    assert pacer_for(None, 60.0, live=False)._interval_s == pytest.approx(1 / 60)
    assert pacer_for(None, 60.0, live=True)._interval_s == 0.0


def test_pacer_admits_a_camera_at_its_own_rate_whatever_its_jitter() -> None:
    rng = np.random.default_rng(0)
    for limit, expected in ((30.0, 300), (15.0, 150), (10.0, 100), (100.0, 300)):
        pacer = Pacer(limit)
        times = np.arange(300) / 30.0 + rng.uniform(-0.004, 0.004, 300)
        assert sum(pacer.admits(float(now)) for now in times) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("live", [True, False])
def test_the_pace_may_change_under_way(*, live: bool) -> None:
    camera = ScriptedCamera([], live=live, fps=200.0)
    with Capture(camera, CaptureConfig(fps=0.2)) as capture:
        assert capture.get(5.0) is not None
        assert capture.get(0.1) is None
        began_s = time.monotonic()
        capture.set_fps(50.0)
        for _ in range(10):
            assert capture.get(2.0) is not None
        # Not the five seconds that the old pace had still to wait.
        assert time.monotonic() - began_s < 4.0
        with pytest.raises(ConfigError):
            capture.set_fps(-1.0)
