from __future__ import annotations

import signal
import zipfile

import cv2
import numpy as np
import pytest


@pytest.fixture
def places(tmp_path, bundle_path, free_port):
    """Returns what the arguments below may name."""
    data = bundle_path.read_bytes()
    (tmp_path / "truncated.twin").write_bytes(data[: len(data) // 2])
    middle = len(data) // 2
    (tmp_path / "tampered.twin").write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with zipfile.ZipFile(bundle_path) as old, zipfile.ZipFile(tmp_path / "missing.twin", "w") as new:
        for name in old.namelist():
            if name != "golden.npz":
                new.writestr(name, old.read(name))
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "photo.png").write_bytes(cv2.imencode(".png", np.zeros((40, 60, 3), np.uint8))[1].tobytes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.toml").write_text("fsp = 3\n", encoding="utf-8")
    return {"good": bundle_path, "nobody": f"mqtt://127.0.0.1:{free_port()}"}


CASES = {
    "no bundles": (["run"], 3, "--bundle"),
    "wrong path": (["run", "--bundle", "no.twin", "--broker", "embedded:0"], 3, "check the path of the .twin file"),
    "truncated": (["run", "--bundle", "truncated.twin"], 3, "get the bundle again"),
    "tampered": (["inspect", "tampered.twin"], 3, "get the bundle again"),
    "missing member": (["bench", "missing.twin"], 3, "golden.npz is missing"),
    "no broker": (["run", "--bundle", "{good}", "--broker", "{nobody}"], 5, "twin-edge broker"),
    "no broker to watch": (["watch", "--broker", "{nobody}"], 5, "twin-edge broker"),
    "unknown camera": (["run", "--bundle", "{good}", "--camera", "foo:1"], 2, "rig:"),
    "no camera": (["run", "--bundle", "{good}", "--camera", "77", "--broker", "embedded:0"], 4, "77"),
    "corrupt video": (["run", "--bundle", "{good}", "--camera", "noise.mp4", "--broker", "embedded:0"], 4, "MP4"),
    "empty folder": (["run", "--bundle", "{good}", "--camera", "images:empty", "--broker", "embedded:0"], 4, "files"),
    "an image": (["run", "--bundle", "{good}", "--camera", "photo.png", "--broker", "{nobody}"], 4, "give a video"),
    "image, then bundle": (["run", "--bundle", "no.twin", "--camera", "photo.png"], 3, "no.twin"),
    "port of no kind": (["run", "--bundle", "no.twin", "--broker", "embedded:x"], 2, "embedded:PORT"),
    "bundle, then broker": (
        ["run", "--bundle", "no.twin", "--broker", "{nobody}"],
        3,
        "cannot read the bundle no.twin",
    ),
    "camera, then broker": (["run", "--bundle", "{good}", "--camera", "no.mp4", "--broker", "{nobody}"], 4, "no.mp4"),
    "save, then broker": (["watch", "--save", "noise.mp4", "--broker", "{nobody}"], 2, "name a folder"),
    "save below a file": (["watch", "--save", "noise.mp4/x", "--broker", "{nobody}"], 2, "noise.mp4 is a file"),
    "file, then broker": (["record", "noise.mp4", "--broker", "{nobody}"], 1, "noise.mp4 is not a recording"),
    "place, then broker": (["record", "noise.mp4/x.rec", "--broker", "{nobody}"], 2, "noise.mp4 is a file"),
    "no broker to record": (["record", "day.rec", "--broker", "{nobody}"], 5, "twin-edge broker"),
    "export, then file": (["replay", "no.rec", "--csv", "empty"], 2, "empty is a folder: name a file"),
    "no recording": (["replay", "no.rec", "--csv", "out.csv"], 2, "twin-edge record"),
    "no bundle to inspect": (["inspect", "no.twin"], 3, "check the path"),
    "no bundle to bench": (["bench", "no.twin"], 3, "check the path"),
    "no bundle to imagine": (["imagine", "no.twin"], 3, "check the path"),
    "no place to imagine": (["imagine", "{good}", "--out", "empty"], 2, "name a file"),
    "unknown key": (["run", "--config", "bad.toml"], 2, "bad.toml: unknown key 'fsp': use only batch-ms, broker"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_one_line_that_names_the_fix(command, places, tmp_path, name):
    args, code, fix = CASES[name]
    done = command(*(arg.format(**places) for arg in args))
    assert done.wait() == code, done.err
    assert len(done.errors) == 1, done.err
    assert fix in done.errors[0]
    assert not done.says("Traceback")
    assert not done.out
    # Nothing was started in vain: what is wrong here is seen before the broker, and without leaving anything behind.
    assert done.says("embedded broker at") == (name == "no camera")
    assert not (tmp_path / "day.rec").exists()


def test_nothing_comes(command, free_port, until):
    port = free_port()
    broker = command("broker", "--port", port)
    assert until(lambda: broker.out)
    assert broker.out == [f"mqtt://127.0.0.1:{port}\n"]
    watch = command("watch", "--broker", f"mqtt://127.0.0.1:{port}", "--timeout-s", "0.5")
    taken = command("broker", "--port", port)
    assert watch.wait() == 5
    assert watch.errors == ["error: no update came within 0.5 s: no twin has been published there; " + RUN_ONE]
    assert taken.wait() == 2
    assert "another port" in taken.errors[0]
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0


RUN_ONE = "start one with 'twin-edge run'"
