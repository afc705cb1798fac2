from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.cameras import FolderCamera, Frame, VideoCamera, open_camera
from twin_edge.cameras.base import Camera
from twin_edge.cameras.folder import natural_key
from twin_edge.cameras.opencv import as_frame, hush
from twin_edge.errors import CameraEndedError, CameraError, CameraOpenError

hush()  # before the writer below makes OpenCV load FFmpeg


def write_video(path: Path, count: int = 30, fps: float = 25.0, code: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (160, 120))
    assert writer.isOpened()
    for index in range(count):
        writer.write(np.full((120, 160, 3), index * 8 % 256, np.uint8))
    writer.release()
    return path


def read_all(camera: Camera) -> tuple[list[Frame], CameraError]:
    frames = []
    while True:
        try:
            frames.append(camera.read(1.0))
        except CameraError as error:
            camera.close()
            return frames, error


@pytest.mark.parametrize(("name", "code"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_video_is_read_to_its_end(tmp_path: Path, name: str, code: str) -> None:
    camera = VideoCamera(write_video(tmp_path / name, code=code))
    assert camera.fps is None
    camera.open()
    assert camera.fps == pytest.approx(25.0)
    frames, error = read_all(camera)
    assert type(error) is CameraEndedError
    assert [frame.index for frame in frames] == list(range(30))
    assert frames[0].image.shape == (120, 160, 3)
    for index, frame in enumerate(frames):
        assert abs(float(frame.image.mean()) - index * 8) < 6
        assert frame.truth == {}
    times = [frame.time_us for frame in frames]
    assert times == sorted(times)
    with pytest.raises(CameraError, match="not open"):
        camera.read(1.0)
    camera.open()
    assert camera.read(1.0).index == 0
    camera.close()


def test_video_loops(tmp_path: Path) -> None:
    camera = open_camera(f"{write_video(tmp_path / 'clip.avi', count=5)}?loop=1")
    camera.open()
    frames = [camera.read(1.0) for _ in range(13)]
    assert [frame.index for frame in frames] == list(range(13))
    assert np.array_equal(frames[0].image, frames[5].image)
    assert np.array_equal(frames[2].image, frames[12].image)
    (tmp_path / "clip.avi").unlink()
    with pytest.raises(CameraOpenError, match="no file"):
        [camera.read(1.0) for _ in range(6)]
    camera.close()


def test_video_that_is_not_there_or_not_one(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "text.avi").write_text("not a video")
    for name, says in (
        ("missing.mp4", "there is no file"),
        ("empty.mp4", "is empty"),
        ("noise.mp4", "not a video"),
        ("text.avi", "not a video"),
    ):
        with pytest.raises(CameraOpenError, match=says) as caught:
            VideoCamera(tmp_path / name).open()
        assert name in str(caught.value)
    with pytest.raises(CameraOpenError, match="images:"):
        VideoCamera(tmp_path).open()


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG", "photo.mp4", "clip.avi", "clip.mp4"])
def test_an_image_is_not_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("clip"):
        write_video(path, count=1, code="MJPG" if name.endswith("avi") else "mp4v")
    else:
        path.write_bytes(cv2.imencode(".png", np.full((40, 60, 3), 90, np.uint8))[1].tobytes())
    for uri in (str(path), f"file:{path}", f"{path}?loop=1"):
        with pytest.raises(CameraOpenError, match=r"image, not a video: give a video, images:FOLDER .* or a camera"):
            open_camera(uri).open()


def test_a_video_whose_length_is_not_stated_is_none_the_shorter(tmp_path: Path) -> None:
    frames = [cv2.imencode(".jpg", np.full((40, 60, 3), 40 * index, np.uint8))[1].tobytes() for index in range(3)]
    (tmp_path / "clip.mjpeg").write_bytes(b"".join(frames))
    camera = VideoCamera(tmp_path / "clip.mjpeg")
    camera.open()
    read, error = read_all(camera)
    assert type(error) is CameraEndedError
    assert [round(float(frame.image.mean())) for frame in read] == pytest.approx([0, 40, 80], abs=3)
    assert [frame.index for frame in read] == [0, 1, 2]


def test_video_that_opens_without_a_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi")
    data = bytearray(path.read_bytes())
    body = data.index(b"movi") + 4
    end = data.index(b"idx1")
    data[body:end] = bytes(end - body)
    path.write_bytes(data)
    with pytest.raises(CameraOpenError, match=r"clip\.avi"):
        VideoCamera(path).open()


def test_video_that_breaks_off(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", count=60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    camera = VideoCamera(path)
    camera.open()
    frames, error = read_all(camera)
    assert type(error) is CameraError
    assert "breaks off after" in str(error)
    assert 10 < len(frames) < 50


def test_opencv_keeps_quiet(tmp_path: Path) -> None:
    """In a process of its own: FFmpeg reads its log level once."""
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    code = (
        "import sys\n"
        "from twin_edge.cameras import open_camera\n"
        "from twin_edge.errors import CameraError\n"
        "for uri in sys.argv[1:]:\n"
        "    try:\n"
        "        open_camera(uri).open()\n"
        "    except CameraError as error:\n"
        "        print(error)\n"
    )
    uris = [str(tmp_path / "noise.mp4"), "99", "http://127.0.0.1:9/x"]
    done = subprocess.run([sys.executable, "-c", code, *uris], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""


def write_images(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), np.full((20 + index, 30, 3), index * 20, np.uint8))


def test_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    write_images(tmp_path, ["10.png", "2.png", "1.png", "a1.bmp"])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "below.png").mkdir()
    camera = FolderCamera(tmp_path)
    camera.open()
    assert camera.fps == 30.0
    frames, error = read_all(camera)
    assert type(error) is CameraEndedError
    assert [frame.image.shape[0] for frame in frames] == [22, 21, 20, 23]  # frames may differ in size
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    with pytest.raises(CameraError, match="not open"):
        camera.read(1.0)


def test_folder_skips_and_counts_what_it_cannot_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, ["1.png", "3.png"])
    for name in ("0.png", "2.jpg", "4.png"):
        (tmp_path / name).write_bytes(b"no image")
    camera = FolderCamera(tmp_path)
    with caplog.at_level(logging.WARNING):
        camera.open()
        frames, _ = read_all(camera)
    assert [frame.index for frame in frames] == [1, 3]
    assert camera.skipped == 3
    assert len(caplog.records) == 1


def test_folder_loops(tmp_path: Path) -> None:
    write_images(tmp_path, ["1.png", "2.png"])
    camera = FolderCamera(tmp_path, loop=True)
    camera.open()
    frames = [camera.read(1.0) for _ in range(5)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.image.shape[0] for frame in frames] == [20, 21, 20, 21, 20]
    for name in ("1.png", "2.png"):
        (tmp_path / name).unlink()
    with pytest.raises(CameraError, match="any more"):
        camera.read(1.0)


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(CameraOpenError, match="no images"):
        FolderCamera(tmp_path).open()
    with pytest.raises(CameraOpenError, match="does not exist"):
        FolderCamera(tmp_path / "nowhere").open()
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(CameraOpenError, match=r"a\.png"):
        FolderCamera(tmp_path).open()
    with pytest.raises(CameraOpenError, match="not a folder"):
        FolderCamera(tmp_path / "a.png").open()


def test_gray_and_transparent_images_become_frames(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 9), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 9, 4), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "3.png"), np.full((8, 9), 77 * 257, np.uint16))
    camera = FolderCamera(tmp_path)
    camera.open()
    frames, _ = read_all(camera)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image.shape == (8, 9, 3)
        assert frame.image.dtype == np.uint8
        assert np.all(frame.image == 77)


def test_frames_are_bounded_and_of_one_kind(tmp_path: Path) -> None:
    assert as_frame(np.zeros((4, 5), np.uint8), "x").shape == (4, 5, 3)
    assert as_frame(np.zeros((4, 5, 1), np.uint8), "x").shape == (4, 5, 3)
    assert as_frame(np.zeros((4, 5, 4), np.uint8), "x").shape == (4, 5, 3)
    for bad in (np.zeros((4, 5, 3), np.uint16), np.zeros((4, 5, 2), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(CameraError, match="8-bit"):
            as_frame(bad, "x")
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((2, 8193), np.uint8))
    with pytest.raises(CameraError, match="8193x2"):
        FolderCamera(tmp_path).open()


def test_natural_key_never_compares_apples_and_pears() -> None:
    names = ["b", "a10", "a2", "10", "2", "a", "2a", "a2b", "²", ""]
    assert sorted(names, key=natural_key)[:4] == ["", "2", "2a", "10"]
