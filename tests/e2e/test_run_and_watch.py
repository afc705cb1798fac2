from __future__ import annotations

import json
import resource
import signal
import time

import cv2
import numpy as np
import pytest

from twin_converters.codec_tables import LOSSES_DB

pytestmark = pytest.mark.broker


def test_a_watcher_that_waits_sees_every_state(command, mosquitto, bundle_path, tmp_path, listen, until):
    ear = listen(mosquitto.port)
    watch = command("watch", "--broker", mosquitto.url, "--frames", 40, "--save", "kept", "--json")
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", "org.acme/a", "--json")
    assert watch.wait() == 0, watch.err
    assert until(ear.avail)
    run.signal(signal.SIGINT)
    assert run.wait() == 0, run.err
    updates = watch.objects("update")
    assert len(updates) == 40
    assert set(updates[0]) == {
        "type", "twin", "session", "seq", "time", "missed", "gap", "in_sync", "latency_ms", "payload_bytes"
    }  # fmt: skip
    assert updates[0]["twin"] == "org.acme/a"
    seqs = [update["seq"] for update in updates]
    assert seqs == sorted(set(seqs))
    (heard,), (done,) = watch.objects("summary"), run.objects("summary")
    assert heard["bundle"] == done["bundle"]
    assert heard["saved"] == 40
    assert done["reason"] == "stopped"
    assert done["frames"] > 3 * done["sent"]  # several states share a packet
    assert 0 < heard["state_bytes"] < 16
    assert 0 < done["state_bytes"] < 16
    assert done["kbps"] > heard["kbps"] > 0  # headers
    pictures = sorted((tmp_path / "kept").glob("0*.png"))
    assert [int(path.stem) for path in pictures] == seqs
    sheet = cv2.imread(str(tmp_path / "kept" / "contact-sheet.png"))
    assert sheet.shape[1] > 8 * cv2.imread(str(pictures[0])).shape[1]
    assert [(each["status"], each["reason"]) for each in ear.avail()] == [("online", None), ("offline", "stopped")]
    assert {"gap", "in_sync", "seq", "rev"} <= set(ear.values("up/state")[0]["twin"]["properties"])


def test_an_embedded_broker_and_a_late_watcher(command, bundle_path, free_port, until):
    port = free_port()
    run = command("run", "--bundle", bundle_path, "--broker", f"embedded:{port}", "--frames", 900)
    assert until(lambda: run.says("fps"), 15), run.err
    assert run.says(f"twin-edge watch --broker mqtt://127.0.0.1:{port}")
    watch = command("watch", "--broker", f"mqtt://127.0.0.1:{port}", "--frames", 15)
    assert watch.wait() == 0, watch.err
    assert "15 updates" in watch.out[-1]
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert run.says("stopped:")


def test_sigterm_ends_it_within_two_seconds(command, mosquitto, bundle_path, listen, until):
    ear = listen(mosquitto.port)
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--json")
    assert until(lambda: ear.avail() and run.objects("stats"), 15), run.err
    started_s = time.monotonic()
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert time.monotonic() - started_s < 2
    assert until(lambda: ear.avail()[-1]["reason"] == "stopped")
    assert run.objects("summary")[0]["reason"] == "stopped"
    assert run.objects("stats")[-1]["connected"] is True
    last_key = [payload for _, topic, payload in ear.heard if topic.endswith("up/key")][-1]
    last = [payload for _, topic, payload in ear.heard if topic.endswith("up/z")][-1]
    assert last_key == last


def test_a_finite_source_of_many_sizes_ends(command, mosquitto, bundle_path, tmp_path, listen):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, shape in enumerate([(480, 640, 3), (100, 30, 3), (64, 64, 3)] * 3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full(shape, 100, np.uint8))
    ear = listen(mosquitto.port)
    run = command(
        "run", "--bundle", bundle_path, "--broker", mosquitto.url, "--camera", "images:images", "--fps", "max", "--json"
    )
    assert run.wait() == 0, run.err
    (summary,) = run.objects("summary")
    assert (summary["reason"], summary["frames"], summary["dropped"]) == ("camera-ended", 9, 0)
    assert ear.avail()[-1]["reason"] == "camera-ended"


def test_a_source_that_is_deleted_ends_with_the_camera_code(command, mosquitto, bundle_path, tmp_path, listen, until):
    folder = tmp_path / "images"
    folder.mkdir()
    image = folder / "0.png"
    cv2.imwrite(str(image), np.full((48, 64, 3), 100, np.uint8))
    ear = listen(mosquitto.port)
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--camera", "images:images?loop=1")
    assert until(ear.avail, 15), run.err
    image.unlink()
    assert run.wait() == 4
    assert len(run.errors) == 1
    assert "put the files back" in run.errors[0]
    assert ear.avail()[-1]["reason"] == "error"


def test_a_full_disk_while_saving_is_one_line(command, mosquitto, bundle_path, tmp_path):
    cache = tmp_path / "cache"
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url)
    first = command("watch", "--broker", mosquitto.url, "--cache-dir", cache, "--frames", 1)
    assert first.wait() == 0, first.err
    watch = command(
        "watch", "--broker", mosquitto.url, "--cache-dir", cache, "--save", "kept",
        preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert watch.wait() == 1
    assert len(watch.errors) == 1
    assert "free some space" in watch.errors[0]
    assert not list((tmp_path / "kept").iterdir())
    run.signal(signal.SIGTERM)
    assert run.wait() == 0


def test_the_config_file_and_the_password_of_a_service(command, mosquitto_factory, bundle_path, tmp_path):
    broker = mosquitto_factory({"cam": "secret"}).start()
    config = tmp_path / "twin.toml"
    values = {
        "bundle": str(bundle_path),
        "broker": broker.url.replace("//", "//cam@"),
        "twin": "org.acme/cam",
        "frames": 5,
    }
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    for password, code in (("secret", 0), ("wrong", 5)):
        run = command("run", "--config", config, "--json", env={"TWIN_EDGE_MQTT_PASSWORD": password})
        assert run.wait() == code, run.err
        assert not any(password in line for line in (*run.out, *run.err))
    assert len(run.errors) == 1
    assert "TWIN_EDGE_MQTT_PASSWORD" in run.errors[0]


def test_a_service_waits_for_its_broker(command, bundle_path, mosquitto, listen, until):
    mosquitto.kill()
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--wait-for-broker", "--json")
    assert until(lambda: run.objects("stats"), 20), run.err
    assert run.objects("stats")[0]["connected"] is False
    mosquitto.start()
    ear = listen(mosquitto.port)
    assert until(ear.avail, 20), run.err
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert run.objects("summary")[0]["frames"] > run.objects("summary")[0]["sent"] > 0


def test_a_broker_that_goes_away_and_comes_back(command, bundle_path, mosquitto, listen, until):
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--json")
    assert until(lambda: run.objects("stats"), 20), run.err
    mosquitto.kill()
    assert until(lambda: not run.objects("stats")[-1]["connected"])
    frames = run.objects("stats")[-1]["frames"]
    mosquitto.start()
    ear = listen(mosquitto.port)
    assert until(ear.avail, 20), run.err
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert until(lambda: ear.avail()[-1]["reason"] == "stopped")
    (summary,) = run.objects("summary")
    assert summary["reconnects"] == 1
    assert summary["frames"] > frames
    assert summary["skipped"] > 0


def test_raw_states_at_once(command, mosquitto, bundle_path):
    watch = command("watch", "--broker", mosquitto.url, "--frames", 30, "--json")
    run = command(
        "run", "--bundle", bundle_path, "--broker", mosquitto.url, "--codec", "raw", "--batch-ms", 0, "--json"
    )
    assert watch.wait() == 0, watch.err
    run.signal(signal.SIGINT)
    assert run.wait() == 0, run.err
    (done,) = run.objects("summary")
    assert done["frames"] == done["sent"] - 1  # the last one is sent again as a key packet
    assert done["state_bytes"] == 18
    assert {update["payload_bytes"] for update in watch.objects("update")} == {18}


def test_the_quality_must_be_one_of_the_bundle(command, mosquitto, bundle_path):
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--quality", 7)
    assert run.wait() == 2
    assert len(run.errors) == 1
    assert f"levels 0-{len(LOSSES_DB) - 1}" in run.errors[0]
