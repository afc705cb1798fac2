from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from twin_edge.cameras import Frame
from twin_edge.config import RunConfig
from twin_edge.errors import CameraError
from twin_edge.runtime import DeviceRuntime

pytestmark = pytest.mark.broker


class LiveCamera:
    """A live camera that can be unplugged."""

    uri = "fake:0"
    fps = 30.0
    live = True

    def __init__(self):
        self.plugged = True
        self.index = 0

    def open(self):
        self._check()

    def read(self, timeout_s):  # noqa: ARG002 - the protocol's
        time.sleep(1 / self.fps)
        self._check()
        self.index += 1
        return Frame(np.full((120, 160, 3), 90, np.uint8), time.time_ns() // 1000, self.index)

    def close(self):
        pass

    def _check(self):
        if not self.plugged:
            raise CameraError("fake:0 is gone", fix="plug it in")


def test_a_camera_that_goes_away_and_comes_back(mosquitto, bundle_path, tmp_path, listen, until, caplog):
    ear = listen(mosquitto.port)
    camera, stats, summary = LiveCamera(), [], []
    config = RunConfig(bundle=bundle_path, broker=mosquitto.url, state_dir=tmp_path)
    runtime = DeviceRuntime(config, camera=camera, on_stats=stats.append)
    thread = threading.Thread(target=lambda: summary.append(runtime.run()))
    thread.start()
    try:
        assert until(lambda: stats and stats[-1].gap is not None)
        camera.plugged = False
        assert until(lambda: stats[-1].camera == "backoff" and stats[-1].gap is None)
        assert stats[-1].in_sync is None
        away = len(stats)
        frames = stats[-1].frames
        assert until(lambda: len(stats) > away)
        camera.plugged = True
        assert until(lambda: stats[-1].frames > frames)
    finally:
        runtime.stop("stopped")
        thread.join(5)
    assert summary[0].reason == "stopped"
    assert until(lambda: [each["status"] for each in ear.avail()] == ["online", "offline"])
    assert any(report["twin"]["properties"]["in_sync"] is None for report in ear.values("up/state"))
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len([message for message in warnings if "fake:0 is" in message]) == 1
