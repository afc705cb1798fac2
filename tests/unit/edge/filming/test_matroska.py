"""Videos have the frames that were given, at their times, and are whole whenever writing ends."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.cameras import VideoCamera
from twin_edge.errors import CameraEndedError, TwinEdgeError
from twin_edge.filming import MatroskaWriter

TIMES = (0.0, 0.021, 0.12, 0.141, 2.5, 2.6, 40.0, 40.033)


def picture(number: int) -> np.ndarray:
    image = np.full((48, 64, 3), 20 + 25 * number, np.uint8)
    image[10:20, 5 * number : 5 * number + 8] = 255
    return image


def jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", picture(number), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def read(path: Path) -> tuple[list[float], list[np.ndarray], float | None]:
    camera = VideoCamera(path)
    camera.open()
    frames = []
    try:
        while True:
            frames.append(camera.read(1.0))
    except CameraEndedError:
        pass
    fps = camera.fps
    camera.close()
    return [frame.source_s for frame in frames], [frame.image for frame in frames], fps


def test_frames_come_back_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    writer = MatroskaWriter(path, (48, 64), 30.0)
    for number, time_s in enumerate(TIMES):
        writer.add(jpeg(number), time_s)
    expected = writer.size
    writer.close()
    writer.close()
    assert path.stat().st_size <= expected + 100
    times, images, fps = read(path)
    assert times == pytest.approx(TIMES, abs=0.0006)
    assert fps == pytest.approx((len(TIMES) - 1) / TIMES[-1], rel=1e-3)
    for number, image in enumerate(images):
        assert np.abs(image.astype(int) - picture(number)).mean() < 3
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    video.set(cv2.CAP_PROP_POS_MSEC, 40_000)  # by the index
    assert video.grab()
    assert video.get(cv2.CAP_PROP_POS_MSEC) >= 40_000
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == len(TIMES)


def test_times_always_grow(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    writer = MatroskaWriter(path, (48, 64), 30.0)
    for number, time_s in enumerate((0.0, 0.0, -3.0, 0.0004)):
        writer.add(jpeg(number), time_s)
    writer.close()
    assert read(path)[0] == pytest.approx([0, 0.001, 0.002, 0.003])


def test_a_crash_leaves_all_but_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv.part"
    writer = MatroskaWriter(path, (48, 64), 20.0)
    for number in range(100):
        writer.add(jpeg(number % 8), number / 20)
    crashed = tmp_path / "crashed.mkv"
    crashed.write_bytes(path.read_bytes())
    video = cv2.VideoCapture(str(crashed), cv2.CAP_FFMPEG)
    count = 0
    while video.grab():
        count += 1
    assert count >= 80
    writer.close()
    assert len(read(path)[0]) == 100


def test_large_pictures_do_not_gather(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    writer = MatroskaWriter(path, (48, 64), 30.0)
    for number in range(6):
        writer.add(jpeg(number) + bytes(700_000), number / 1000)
    assert path.stat().st_size > 3_000_000
    writer.close()
    assert len(read(path)[1]) == 6


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TwinEdgeError, match="cannot write") as caught:
        MatroskaWriter(tmp_path / "file" / "film.mkv", (48, 64), 30.0)
    assert caught.value.fix
