"""Filming ends with a whole video, however it ends."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.cameras import Frame
from twin_edge.errors import CameraError, ConfigError, TwinEdgeError
from twin_edge.filming import FilmConfig, FilmStats, config, film, recorder
from twin_edge.filming.config import interval_of, parse_interval
from twin_edge.filming.exposure import HeldExposure
from twin_edge.filming.preview import framed
from twin_edge.preprocess import ViewSpec


def frames_of(path: Path) -> list[float]:
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    times = []
    while video.grab():
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    return times


class Live:
    """A camera at its own pace, whose frames can be listened to."""

    live = True

    def __init__(self, count: int = 1000, pause_s: float = 0.01, sizes: tuple[int, ...] = (64,)) -> None:
        self.uri, self.fps = "/dev/video9", 1 / pause_s
        self.count, self.pause_s, self.sizes = count, pause_s, sizes
        self.given = 0
        self.calls: list[str] = []
        self.accepts = True
        self.clock_s = 0.0

    def open(self) -> None:
        self.calls.append("open")

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - it is never late
        time.sleep(self.pause_s)
        if self.given >= self.count:
            raise CameraError("unplugged", fix="plug it in")
        self.given += 1
        side = self.sizes[self.given * len(self.sizes) // (self.count + 1)]
        return Frame(
            np.full((48, side, 3), self.given % 200, np.uint8),
            time.time_ns() // 1000 + round(1e6 * self.clock_s),
            self.given,
        )

    def lock_exposure(self) -> bool:
        self.calls.append(f"lock after {self.given}")
        return self.accepts

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Live:
    camera = Live()
    monkeypatch.setattr(recorder, "open_camera", lambda _uri: camera)
    return camera


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize(
    ("limits", "reason", "count"),
    [
        ({"frames": 7}, "frames", 7),
        ({"seconds": 0.5}, "duration", 15),
        ({"interval_s": 2.0, "frames": 4}, "frames", 4),
        ({"interval_s": 0.1, "seconds": 1.0}, "duration", 10),
        ({"max_bytes": 1_000_000}, "full", None),
    ],
)
def test_a_rig_is_filmed_by_its_own_time(tmp_path: Path, stop, limits, reason, count) -> None:
    path = tmp_path / "deep" / "film.mkv"
    stats = film(FilmConfig("rig:seed=3", path, **limits), stop=stop)
    assert stats.reason == reason
    times = frames_of(path)
    assert len(times) == stats.frames == (count or stats.frames)
    assert stats.bytes == path.stat().st_size <= limits.get("max_bytes", 1 << 30)
    every = limits.get("interval_s", 1 / 30)
    np.testing.assert_allclose(np.diff(times), every, atol=0.002)
    assert [name.name for name in path.parent.iterdir()] == ["film.mkv"]


def test_a_video_ends_by_itself_and_keeps_its_times(tmp_path: Path, stop) -> None:
    film(FilmConfig("rig:", tmp_path / "one.mkv", frames=5, interval_s=0.4), stop=stop)
    stats = film(FilmConfig(str(tmp_path / "one.mkv"), tmp_path / "two.mkv"), stop=stop)
    assert stats.reason == "ended"
    assert frames_of(tmp_path / "two.mkv") == pytest.approx(frames_of(tmp_path / "one.mkv"))


@pytest.mark.usefixtures("live")
def test_stopping_ends_with_a_whole_video(tmp_path: Path, stop) -> None:
    told: list[FilmStats] = []

    def tell(stats: FilmStats) -> None:
        told.append(stats)
        if len(told) == 2:
            stop.set()

    stats = film(FilmConfig("9", tmp_path / "film.mkv", interval_s=0.05), stop=stop, on_stats=tell)
    assert stats.reason == "stopped"
    assert told[0].frames == 0
    assert told[0].camera == "streaming"
    times = frames_of(tmp_path / "film.mkv")
    assert len(times) == stats.frames > 10
    assert np.diff(times).min() > 0.02
    assert stats.to_json()["type"] == "summary"
    assert told[1].to_json()["type"] == "stats"


def test_a_camera_that_goes_away_leaves_what_there_was(tmp_path: Path, stop, live: Live, monkeypatch) -> None:
    monkeypatch.setattr(recorder, "_GIVE_UP_S", 0.3)
    live.count = 20
    with pytest.raises(CameraError, match=r"\d+ frames before are kept in .*film\.mkv"):
        film(FilmConfig("9", tmp_path / "film.mkv"), stop=stop)
    assert len(frames_of(tmp_path / "film.mkv")) > 5


def test_frames_of_another_size_end_it(tmp_path: Path, stop, live: Live) -> None:
    live.count, live.sizes = 40, (64, 80)
    with pytest.raises(CameraError, match=r"changed its frames from 64x48 to 80x48; .* are kept"):
        film(FilmConfig("9", tmp_path / "film.mkv"), stop=stop)
    assert len(frames_of(tmp_path / "film.mkv")) > 5


@pytest.mark.usefixtures("live")
def test_a_live_camera_is_filmed_for_so_long(tmp_path: Path, stop) -> None:
    stats = film(FilmConfig("9", tmp_path / "film.mkv", seconds=0.5), stop=stop)
    assert stats.reason == "duration"
    assert 0.3 < stats.seconds <= 0.5  # of the milliseconds that the file holds


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0])
def test_a_clock_that_is_set_meanwhile(tmp_path: Path, stop, live: Live, jump_s: float) -> None:
    def tell(stats: FilmStats) -> None:
        live.clock_s = jump_s if stats.frames else 0.0

    stats = film(FilmConfig("9", tmp_path / "film.mkv", seconds=1.6), stop=stop, on_stats=tell)
    assert live.clock_s == jump_s
    assert stats.reason == "duration"
    times = frames_of(tmp_path / "film.mkv")
    assert 1.3 < times[-1] <= 1.6
    assert np.median(np.diff(times)) < 0.05


def test_a_disk_that_fills(tmp_path: Path, stop, monkeypatch) -> None:
    path = tmp_path / "film.mkv"
    notices: list[str] = []
    monkeypatch.setattr(recorder, "_free_bytes", lambda _config: recorder.RESERVE_BYTES - 1)
    with pytest.raises(TwinEdgeError, match="less than 200 MB free"):
        film(FilmConfig("rig:", path), stop=stop)
    assert not path.exists()
    rooms = iter([10_000_000, 10_000_000, 0])
    monkeypatch.setattr(recorder, "_free_bytes", lambda _config: recorder.RESERVE_BYTES + next(rooms, 0))
    monkeypatch.setattr(recorder, "_DISK_EVERY_S", 0.05)
    stats = film(FilmConfig("rig:", path), stop=stop, on_notice=notices.append)
    assert stats.reason == "disk"
    assert len(frames_of(path)) == stats.frames > 0
    assert "room for 10 MB" in notices[0]


def test_what_will_not_fit_is_told_early(tmp_path: Path, stop) -> None:
    notices: list[str] = []
    settings = FilmConfig("rig:", tmp_path / "film.mkv", seconds=3600, max_bytes=6_000_000)
    stats = film(settings, stop=stop, on_notice=notices.append)
    assert stats.reason == "full"
    assert "all of it would take about" in notices[-1]
    assert "--fps" in notices[-1]


def test_the_preview_shows_the_framing_without_filming(tmp_path: Path, stop) -> None:
    path = tmp_path / "framing.png"
    stats = film(FilmConfig("rig:", preview=path, frames=3, region=(120, 60, 240, 240)), stop=stop)
    assert (stats.frames, stats.bytes) == (3, 0)
    assert cv2.imread(str(path)).shape == (360, 480, 3)
    with pytest.raises(ConfigError, match="does not fit frames of 480x360"):
        film(FilmConfig("rig:", preview=path, frames=3, region=(400, 60, 240, 240)), stop=stop)


def test_what_the_twin_does_not_see_is_darker() -> None:
    frame = np.full((90, 160, 3), 200, np.uint8)
    whole = framed(frame, ViewSpec())
    assert (whole[45, 80] == 200).all()
    assert (whole[45, 10] < 100).all()
    part = framed(frame, ViewSpec(region=(0, 0, 0.5, 0.5)))
    assert (part[20, 40] == 200).all()
    assert (part[45, 80] < 100).all()
    assert (frame == 200).all()


@pytest.mark.parametrize(("accepts", "words"), [(True, "are held"), (False, "cannot be held: the driver")])
def test_exposure_is_held_after_it_has_settled(tmp_path: Path, stop, live: Live, accepts, words, monkeypatch) -> None:
    live.accepts = accepts
    monkeypatch.setattr(recorder, "HeldExposure", lambda camera, notice: HeldExposure(camera, notice, 0.1))
    notices: list[str] = []
    settings = FilmConfig("9", tmp_path / "film.mkv", frames=3, lock_exposure=True)
    film(settings, stop=stop, on_notice=notices.append)
    assert live.calls[0] == "open"
    assert int(live.calls[1].removeprefix("lock after ")) > 3
    assert words in notices[-1]


def test_a_camera_without_exposure_says_so_once() -> None:
    class Plain(Live):
        lock_exposure = None

    notices: list[str] = []
    camera = HeldExposure(Plain(), notices.append, 0.0)
    for _ in range(2):
        camera.open()
        camera.close()
    assert notices == ["exposure cannot be held: /dev/video9 has none that can be set"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": None}, "nothing to write"),
        ({"path": Path("film.mp4")}, r"\.mkv"),
        ({"preview": Path("film.jpg")}, r"\.png"),
        ({"seconds": 0.0}, "--minutes"),
        ({"frames": 0}, "--frames"),
        ({"interval_s": -1.0}, "--every"),
        ({"interval_s": float("nan")}, "--every"),
        ({"max_bytes": 10}, "--max-mb"),
        ({"quality": 101}, "--quality"),
    ],
)
def test_settings_out_of_range(change, words) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(FilmConfig("rig:", Path("film.mkv")), **change)


@pytest.mark.parametrize("name", ["film.mkv", "film.mkv.part"])
def test_what_is_there_stays(tmp_path: Path, stop, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ConfigError, match=f"{name} is there already.*--force"):
        FilmConfig("rig:", tmp_path / "film.mkv")
    film(FilmConfig("rig:", tmp_path / "film.mkv", frames=2, force=True), stop=stop)
    assert len(frames_of(tmp_path / "film.mkv")) == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2), ("2s", 2), ("500ms", 0.5), ("1m", 60), ("1.5min", 90), ("1h", 3600), (" 3 s", 3)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_interval(text) == pytest.approx(seconds)
    assert interval_of(text, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "2 days", "fast", "1ss"])
def test_no_times(text: str) -> None:
    with pytest.raises(ConfigError, match="no time"):
        parse_interval(text)


def test_rates() -> None:
    assert interval_of(None, None) == 0
    assert interval_of(None, 12.5) == pytest.approx(0.08)
    for wrong in (0.0, -3.0, 1e9):
        with pytest.raises(ConfigError, match="--fps"):
            interval_of(None, wrong)
    with pytest.raises(ConfigError, match="say the same"):
        interval_of("2s", 3.0)
    assert config.SUFFIX == ".mkv"
