"""A subject is filmed with the real command."""

from __future__ import annotations

import json
import signal

import cv2
import numpy as np


def times_of(path):
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    times = []
    while video.grab():
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    return times


def test_a_rig_is_filmed(command, tmp_path):
    options = ("--frames", 12, "--fps", 10, "--preview", "framing.png", "--region", "0.25,0.1,0.5,0.8")
    film = command("capture", "--camera", "rig:seed=4", "-o", "rig.mkv", *options)
    assert film.wait() == 0, film.err
    assert "all frames are there: 12 frames of 480x360" in "".join(film.out)
    np.testing.assert_allclose(np.diff(times_of(tmp_path / "rig.mkv")), 0.1, atol=0.002)
    assert cv2.imread(str(tmp_path / "framing.png")).shape == (360, 480, 3)
    again = command("capture", "--camera", "rig:", "-o", "rig.mkv", "--frames", 3)
    assert again.wait() == 2
    assert again.errors == ["error: rig.mkv is there already: give another name, or --force to replace it"]
    forced = command("capture", "--camera", "rig.mkv", "-o", "rig.mkv", "--frames", 3, "--force", "--json")
    assert forced.wait() == 0, forced.err
    summary = json.loads(forced.out[-1])
    assert (summary["reason"], summary["frames"]) == ("frames", 3)
    assert len(times_of(tmp_path / "rig.mkv")) == 3


def test_it_is_stopped_with_a_whole_video(command, tmp_path, until):
    film = command("capture", "--camera", "rig:", "-o", "rig.mkv", "--lock-exposure", "--json")
    assert until(lambda: any(each["frames"] for each in film.objects("stats")), 30), film.err
    film.signal(signal.SIGINT)
    assert film.wait() == 0, film.err
    (summary,) = film.objects("summary")
    assert summary["reason"] == "stopped"
    assert len(times_of(tmp_path / "rig.mkv")) == summary["frames"]
    assert summary["bytes"] == (tmp_path / "rig.mkv").stat().st_size
    assert film.says("exposure cannot be held: rig: has none that can be set")


def test_a_camera_that_is_not_there(command, tmp_path):
    film = command("capture", "--camera", "/dev/video987", "-o", "none.mkv")
    assert film.wait() == 4
    assert len(film.errors) == 1
    assert "there is no camera at /dev/video987" in film.errors[0]
    assert not list(tmp_path.glob("none*"))
