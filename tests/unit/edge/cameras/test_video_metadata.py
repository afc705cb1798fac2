"""What a video says of itself is believed where it can be true: how it is turned, and when its frames are shown."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.cameras import RigCamera, VideoCamera, open_camera
from twin_edge.errors import CameraEndedError

av = pytest.importorskip("av")

MS = 1000


def write(path: Path, times_ms: list[int], turned: int = 0) -> Path:
    """Writes a video with a light corner at the top left."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.time_base = Fraction(1, MS)
        if turned:
            stream.set_display_rotation(turned)
        for number, time_ms in enumerate(times_ms):
            image = np.full((120, 160, 3), 40, np.uint8)
            image[:40, :60] = 220
            image[80:100, 2 * number : 2 * number + 10] = 120
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, MS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path, count: int | None = None, *, loop: bool = False) -> tuple[VideoCamera, list[float], np.ndarray]:
    camera = VideoCamera(path, loop=loop)
    camera.open()
    times, first = [], None
    try:
        while count is None or len(times) < count:
            frame = camera.read(1.0)
            first = frame.image if first is None else first
            times.append(frame.source_s)
    except CameraEndedError:
        pass
    camera.close()
    return camera, times, first


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("turned", "size", "corner"),
    [(0, (120, 160), (0, 0)), (90, (160, 120), (-1, 0)), (-90, (160, 120), (0, -1)), (180, (120, 160), (-1, -1))],
)
def test_it_is_turned_as_its_metadata_say(tmp_path: Path, ending, turned, size, corner) -> None:
    camera, _, image = read(write(tmp_path / f"turned.{ending}", [0, 33, 67], turned))
    assert image.shape[:2] == size
    bright = [place for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if image[place].mean() > 150]
    assert bright == [corner]
    assert camera.rotation == -turned % 360


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_have_the_times_of_the_file(tmp_path: Path, ending) -> None:
    times_ms = [0, 20, 120, 140, 240, 900, 933, 2000]
    _, times, _ = read(write(tmp_path / f"varying.{ending}", times_ms))
    assert times == pytest.approx([time_ms / MS for time_ms in times_ms], abs=0.002)


def test_times_go_on_over_a_loop(tmp_path: Path) -> None:
    path = write(tmp_path / "again.mkv", list(range(0, 2000, 100)))
    _, times, _ = read(path, 43, loop=True)
    assert times[:20] == pytest.approx(np.arange(20) / 10, abs=0.002)
    assert np.diff(times).min() > 0
    assert times[40] - times[20] == pytest.approx(times[20], rel=0.01)


def test_a_file_without_sane_times_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("twin_edge.cameras.video._stated_s", lambda _video: 0.0)
    _, times, _ = read(write(tmp_path / "even.mp4", [0, 40, 80, 120]))
    assert np.diff(times) == pytest.approx([0.04] * 3, rel=0.1)  # the stated rate is a little off


def test_sources_without_a_file_have_times_too(tmp_path: Path) -> None:
    rig = RigCamera("rig:fps=10")
    rig.open()
    assert [rig.read(1.0).source_s for _ in range(3)] == pytest.approx([0, 0.1, 0.2])
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    folder = open_camera(f"images:{tmp_path}?fps=4&loop=1")
    folder.open()
    assert [folder.read(1.0).source_s for _ in range(4)] == pytest.approx([0, 0.25, 0.5, 0.75])
