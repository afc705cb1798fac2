from __future__ import annotations

import logging
import socket
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from twin_edge.cameras import CsiCamera, DeviceCamera, StreamCamera, device, stream
from twin_edge.errors import CameraError, CameraOpenError, CameraTimeoutError

FRAMES = 12


class MotionJpeg(BaseHTTPRequestHandler):
    """A network camera: frames of growing brightness, then the end."""

    def do_GET(self) -> None:
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(FRAMES):
            data = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * index, np.uint8))[1].tobytes()
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")
        self.wfile.write(b"--frame--\r\n")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_stream_is_read_until_it_breaks_off(server: str) -> None:
    camera = StreamCamera(f"http://bob:tiger@{server}/cam?token=abc")
    assert camera.uri == f"http://{server}/cam?token=***"
    camera.open()
    frames = [camera.read(5.0) for _ in range(FRAMES - 2)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    # Not the end: a live camera is expected back.
    with pytest.raises(CameraError, match="broke off") as caught:
        [camera.read(5.0) for _ in range(3)]
    assert type(caught.value) is CameraError
    assert frames[0].image.shape == (48, 64, 3)
    camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.read(1.0)


def test_stream_that_is_not_there(server: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
    with caplog.at_level(logging.DEBUG):
        for url, says in (
            (f"http://bob:tiger@{server}/missing", "no video stream"),
            (f"http://bob:tiger@127.0.0.1:{nobody}/", "cannot be reached"),
            (f"rtsp://bob:tiger@127.0.0.1:{nobody}/", "cannot be reached"),
        ):
            with pytest.raises(CameraOpenError, match=says) as caught:
                StreamCamera(url).open()
            assert "tiger" not in str(caught.value)
    assert "tiger" not in caplog.text


def test_stream_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_OPEN_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(CameraOpenError, match=r"within 0\.5 s"):
        StreamCamera(f"http://127.0.0.1:{silent.getsockname()[1]}/").open()


def test_device_that_is_not_there() -> None:
    for camera in (DeviceCamera(987), DeviceCamera("/dev/v4l/by-id/usb-none-video-index0")):
        with pytest.raises(CameraOpenError, match=r"there is no camera at /dev") as caught:
            camera.open()
        assert "csi:0" in caught.value.fix
        with pytest.raises(CameraError, match="not open"):
            camera.read(1.0)


def test_device_that_is_no_camera(tmp_path: Path) -> None:
    path = tmp_path / "video0"
    path.write_bytes(b"x")
    with pytest.raises(CameraOpenError, match="not a camera") as caught:
        DeviceCamera(str(path)).open()
    assert "csi:0" in caught.value.fix


def test_ribbon_cable_camera_opened_by_number_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video0").mkdir()
    (tmp_path / "video0" / "name").write_text("rp1-cfe-csi2_ch0\n")
    monkeypatch.setattr(device, "_SYS", tmp_path)
    assert "use csi:0" in device._hint(Path("/dev/video0"))
    (tmp_path / "video0" / "name").write_text("HD Pro Webcam C920\n")
    assert "other programs" in device._hint(Path("/dev/video0"))


class FakeVideo:
    """What OpenCV would give for a webcam."""

    def __init__(self, images: list[Any]) -> None:
        self.images = images
        self.released = False

    def read(self) -> tuple[bool, Any]:
        image = self.images.pop(0) if self.images else None
        return image is not None, image

    def set(self, _key: int, _value: float) -> bool:
        return True

    def get(self, _key: int) -> float:
        return 15.0

    def release(self) -> None:
        self.released = True


def test_device_delivers_times_out_and_is_unplugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "video0"
    path.touch()
    video = FakeVideo([np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8)])
    monkeypatch.setattr(device, "open_video", lambda *_: video)
    camera = DeviceCamera(str(path))
    camera.open()
    assert camera.fps == 15.0
    assert [camera.read(1.0).index for _ in range(2)] == [0, 1]
    with pytest.raises(CameraTimeoutError, match="no frame"):
        camera.read(0.0)
    with pytest.raises(CameraError, match="gives no frames"):
        camera.read(5.0)
    path.unlink()
    with pytest.raises(CameraError, match="unplugged"):
        camera.read(5.0)
    camera.close()
    assert video.released


class Settings(FakeVideo):
    """A webcam that keeps its settings."""

    def __init__(self, refused: tuple[int, ...] = ()) -> None:
        super().__init__([])
        self.refused = refused
        self.values = {
            cv2.CAP_PROP_AUTO_EXPOSURE: 3.0,
            cv2.CAP_PROP_EXPOSURE: 166.0,
            cv2.CAP_PROP_AUTO_WB: 1.0,
            cv2.CAP_PROP_WB_TEMPERATURE: 4600.0,
        }

    def get(self, key: int) -> float:
        return self.values.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        if key not in self.refused:
            self.values[key] = value
        return key not in self.refused


@pytest.mark.parametrize(
    ("refused", "held"), [((), True), ((cv2.CAP_PROP_AUTO_WB,), True), ((cv2.CAP_PROP_EXPOSURE,), False)]
)
def test_device_holds_its_exposure_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, refused: tuple[int, ...], held: bool
) -> None:
    path = tmp_path / "video0"
    path.touch()
    video = Settings(refused)
    before = video.values.copy()
    monkeypatch.setattr(device, "open_video", lambda *_: video)
    camera = DeviceCamera(str(path))
    with pytest.raises(CameraError, match="not open"):
        camera.lock_exposure()
    camera.open()
    assert camera.lock_exposure() is held
    assert video.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert video.values[cv2.CAP_PROP_AUTO_WB] == (1 if refused == (cv2.CAP_PROP_AUTO_WB,) else 0)
    camera.close()
    assert {key: video.values[key] for key in before} == before


class Picamera2:
    """The part of picamera2 that is used."""

    cameras: ClassVar[list[dict[str, str]]] = [{"Model": "imx708"}]
    images: ClassVar[list[Any]] = []
    calls: ClassVar[list[str]] = []

    @staticmethod
    def global_camera_info() -> list[dict[str, str]]:
        return Picamera2.cameras

    def __init__(self, number: int) -> None:
        assert number == 0

    def create_video_configuration(self, **options: Any) -> dict[str, Any]:
        assert options["buffer_count"] <= 5
        assert options["main"]["format"] == "RGB888"
        return options

    def configure(self, options: dict[str, Any]) -> None:
        assert options
        self.calls.append("configure")

    def start(self) -> None:
        self.calls.append("start")

    def capture_array(self, name: str, wait: float) -> Any:
        assert name == "main"
        assert wait > 0
        image = self.images.pop(0)
        if isinstance(image, Exception):
            raise image
        return image

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    module = types.ModuleType("picamera2")
    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(Picamera2, "calls", [])
    monkeypatch.setattr(Picamera2, "images", [])
    return Picamera2


def test_csi_without_picamera2_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraOpenError, match="picamera2") as caught:
        CsiCamera(0).open()
    assert "apt" in caught.value.fix
    assert "--system-site-packages" in caught.value.fix


def test_csi_delivers_and_times_out(picamera2: type[Picamera2]) -> None:
    picamera2.images[:] = [np.zeros((4, 6, 3), np.uint8), TimeoutError(), RuntimeError("dead")]
    camera = CsiCamera(0)
    camera.open()
    frame = camera.read(1.0)
    assert (frame.index, frame.image.shape) == (0, (4, 6, 3))
    with pytest.raises(CameraTimeoutError, match="csi:0"):
        camera.read(1.0)
    with pytest.raises(CameraError, match="dead"):
        camera.read(1.0)
    camera.close()
    camera.close()
    assert picamera2.calls == ["configure", "start", "stop", "close"]


def test_csi_holds_its_exposure(picamera2: type[Picamera2], monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    told: list[dict[str, Any]] = []
    now = {"ExposureTime": 8000, "AnalogueGain": 1.5, "ColourGains": (1.9, 1.4), "Lux": 300}
    monkeypatch.setattr(picamera2, "capture_metadata", lambda _self: now, raising=False)
    monkeypatch.setattr(picamera2, "set_controls", lambda _self, values: told.append(values), raising=False)
    camera = CsiCamera(0)
    with pytest.raises(CameraError, match="not open"):
        camera.lock_exposure()
    camera.open()
    assert camera.lock_exposure()
    values = {"ExposureTime": 8000, "AnalogueGain": 1.5, "ColourGains": (1.9, 1.4)}
    assert told == [{"AeEnable": False, "AwbEnable": False, **values}]
    monkeypatch.delattr(picamera2, "set_controls")
    assert not camera.lock_exposure()
    assert "cannot be held" in caplog.text
    camera.close()


def test_csi_that_is_not_connected_or_does_not_start(
    picamera2: type[Picamera2], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CameraOpenError, match="libcamera finds 1"):
        CsiCamera(1).open()

    def broken(*_: object) -> None:
        raise RuntimeError("busy")

    monkeypatch.setattr(picamera2, "start", broken)
    monkeypatch.setattr(picamera2, "stop", broken)
    with pytest.raises(CameraOpenError, match="busy"):
        CsiCamera(0).open()
    assert "closing csi:0 failed" in caplog.text
    monkeypatch.setattr(picamera2, "global_camera_info", broken)
    with pytest.raises(CameraOpenError, match="libcamera does not work"):
        CsiCamera(0).open()
