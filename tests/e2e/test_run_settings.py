"""A running device that is set from afar."""

from __future__ import annotations

import base64
import json
import signal

import cv2
import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.twin import Twin
from twin_edge.twin.codec import PacketReader

pytestmark = pytest.mark.broker

ROOT = "twin/v1/org.acme/a/"


@pytest.fixture
def device(command, mosquitto, bundle_path, listen, until):
    ear = listen(mosquitto.port)
    run = command(
        "run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", "org.acme/a", "--fps", 30, "--no-ditto",
        "--json",
    )  # fmt: skip
    assert until(lambda: ear.avail() and run.objects("stats"), 20), run.err
    yield run, ear
    run.signal(signal.SIGTERM)
    assert run.wait() == 0, run.err


def last(ear, topic):
    return next((payload for _, heard, payload in reversed(ear.heard) if heard == f"{ROOT}{topic}"), None)


def test_pace_and_pause(device, until):
    run, ear = device
    assert until(lambda: last(ear, "up/cfg/fps") == b"30")
    ear.publish(f"{ROOT}down/set/fps", b"4")
    assert until(lambda: last(ear, "up/cfg/fps") == b"4")
    assert until(lambda: 2 < run.objects("stats")[-1]["fps"] < 7, 20), run.objects("stats")[-1]
    ear.publish(f"{ROOT}down/set/run", b"OFF")
    assert until(lambda: last(ear, "up/cfg/run") == b"OFF")
    assert until(lambda: run.objects("stats")[-1]["fps"] == 0 and run.objects("stats")[-1]["in_sync"] is None)
    assert until(lambda: ear.values("up/state")[-1]["config"]["properties"]["run"] is False)
    ear.publish(f"{ROOT}down/set/run", b"ON")
    assert until(lambda: run.objects("stats")[-1]["in_sync"] is True)


def test_snapshot_and_preview(device, until, bundle_path):
    _, ear = device
    ear.publish(f"{ROOT}down/req", json.dumps({"id": "s1", "op": "snapshot"}).encode())
    assert until(lambda: last(ear, "up/res") is not None)
    answer = json.loads(last(ear, "up/res"))
    assert (answer["id"], answer["ok"]) == ("s1", True)
    bundle = Bundle.open(bundle_path)
    packet = PacketReader(bundle.codec).read(base64.b64decode(answer["packet"]))
    rendering = Twin(bundle, encodes=False).render(packet.states[-1])
    assert (answer["settings"]["fps"], answer["delta"]) == (30.0, {})
    assert last(ear, "up/preview") in {None, b""}
    ear.publish(f"{ROOT}down/set/preview", b"ON")
    assert until(lambda: last(ear, "up/preview"))
    shown = cv2.imdecode(np.frombuffer(last(ear, "up/preview"), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == rendering.shape
    ear.publish(f"{ROOT}down/set/preview", b"OFF")
    assert until(lambda: last(ear, "up/preview") == b"")


def test_a_device_that_has_gone_is_unpaired(command, mosquitto, bundle_path, listen, until):
    ear = listen(mosquitto.port)
    run = command("run", "--bundle", bundle_path, "--broker", mosquitto.url, "--twin", "org.acme/a", "--frames", 20)
    assert run.wait() == 0, run.err
    assert until(lambda: ear.avail() and ear.avail()[-1]["status"] == "offline")
    for cleared in (1, 0):
        unpair = command("unpair", "--broker", mosquitto.url, "--twin", "org.acme/a", "--json")
        assert unpair.wait() == 0, unpair.err
        assert unpair.objects("unpair") == [{"type": "unpair", "twin": "org.acme/a", "cleared": cleared}]
    missing = command("unpair", "--broker", "mqtt://127.0.0.1:1", "--twin", "org.acme/a")
    assert missing.wait() == 5
    assert len(missing.errors) == 1
