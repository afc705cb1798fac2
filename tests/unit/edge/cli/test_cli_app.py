from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from twin_edge import __version__
from twin_edge.cli.app import app

COMMANDS = ("run", "watch", "capture", "inspect", "bench", "unpair", "broker", "doctor", "provision")


@pytest.fixture
def invoke(monkeypatch):
    # The commands set up logging for a process of their own.
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


def test_help_loads_nothing_heavy(environment):
    heavy = "('numpy', 'cv2', 'paho', 'amqtt', 'tflite_runtime', 'ai_edge_litert', 'tensorflow')"
    code = (
        "import sys\nfrom twin_edge.cli.app import app\n"
        "try:\n    app(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit([name for name in {heavy} if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "twin-edge run --broker embedded:" in done.stdout


def test_version(invoke):
    assert invoke("--version").output == f"twin-edge {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(invoke, command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"  twin-edge {command}" in result.output
    assert "--debug" in result.output


@pytest.mark.parametrize(
    "args",
    [
        ["fly"],
        ["run", "--no-such-flag"],
        ["run", "--frames", "many"],
        ["run", "--frames", "0"],
        ["run", "--fps", "fast"],
        ["run", "--threads", "99"],
        ["run", "--bundle", "x", "--twin", "no slash"],
        ["run", "--broker", "embedded:x"],
        ["run", "--broker", "mqtt://user:secret@host"],
        ["watch", "--frames", "0"],
        ["watch", "--broker", "embedded:"],
        ["watch", "--twin", "a/b/c"],
        ["capture", "-o", "film.mkv"],
        ["capture", "--camera", "rig:"],
        ["capture", "--camera", "rig:", "-o", "film.avi"],
        ["capture", "--camera", "rig:", "-o", "film.mkv", "--every", "2s", "--fps", "3"],
        ["capture", "--camera", "rig:", "-o", "film.mkv", "--region", "1,2,3"],
        ["capture", "--camera", "what:", "-o", "film.mkv"],
        ["inspect"],
        ["broker", "--port", "70000"],
        ["unpair"],
        ["unpair", "--twin", "cam-01"],
        ["run", "--preview-source", "film"],
    ],
)
def test_usage_errors(invoke, args):
    result = invoke(*args)
    assert result.exit_code == 2
    assert "secret" not in result.output


def test_debug_shows_where_and_keeps_the_code(invoke):
    result = invoke("inspect", "no.twin", "--debug")
    assert result.exit_code == 3
    assert "Traceback" in result.output
    assert "error: cannot read the bundle no.twin" in result.output


def test_inspect_for_people_and_for_programs(invoke, bundle_path):
    table = invoke("inspect", bundle_path)
    assert table.exit_code == 0
    for word in ("digest", "generator.tflite", "CONV_2D", "minimum runtime", "to the bit", "passed"):
        assert word in table.output
    value = json.loads(invoke("inspect", bundle_path, "--json").output)
    assert value["name"] == "quick"
    assert value["state"]["bytes"] == value["state"]["latent"]
    assert value["drawing"].pop("state_steps") <= 2
    assert value["drawing"] == {"passed": True, "certain": True, "pixel_levels": 0, "problem": ""}
    assert value["runtimes"] == []
    assert "chosen" in invoke("inspect", bundle_path, "--runtimes").output
    value = json.loads(invoke("inspect", bundle_path, "--runtimes", "--json").output)
    assert all(check["passed"] for check in value["runtimes"])
    assert sum(check["chosen"] for check in value["runtimes"]) == 1


def test_bench_for_people_and_for_programs(invoke, bundle_path):
    table = invoke("bench", bundle_path, "--rounds", 2)
    assert table.exit_code == 0
    assert "excluded" in table.output
    value = json.loads(invoke("bench", bundle_path, "--rounds", 3, "--json").output)
    assert {(times["threads"]) for times in value["twins"]} == {1, 2}
    stages = value["twins"][0]["stages"]
    assert set(stages) == {"view", "encode", "render", "gap", "packet", "whole"}
    assert value["packet_bytes"] < value["jpeg_bytes"]
