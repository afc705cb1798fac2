"""`inspect` and `bench` take every kind of bundle: fixed, moving, colorless."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twin_edge.cli.app import app
from twin_edge.errors import BundleError

KINDS = ("bundle_path", "moving_path", "gray_path")


@pytest.fixture
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The commands set up logging for a process of their own.
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("path", KINDS, indirect=True)
def test_inspect(path: Path) -> None:
    table = CliRunner().invoke(app, ["inspect", str(path)])
    assert table.exit_code == 0, table.output
    value = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--runtimes", "--json"]).output)
    drawn = path.stem != "strokes"
    assert (value["drawing"]["passed"], "shown on devices only" in value["drawing"]["problem"]) == (drawn, not drawn)
    assert len(value["runtimes"]) == 2
    assert all(check["passed"] for check in value["runtimes"]), value["runtimes"]
    moving = path.stem == "square"
    assert value["state"]["bytes"] == value["state"]["latent"] + (4 if moving else 0)
    assert ("plate.png" in value["members"]) == moving


@pytest.mark.parametrize("path", ["bundle_path"], indirect=True)
def test_a_twin_whose_encoder_runs_on_devices_only_is_shown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_content: bytes) -> None:
        raise BundleError("this twin's encoder runs on devices only")

    monkeypatch.setattr("twin_edge.twin.models.NearEncoder", refuse)
    drawing = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).output)["drawing"]
    assert (drawing["passed"], drawing["certain"], drawing["problem"]) == (True, True, "")
    assert (drawing["state_steps"], drawing["pixel_levels"]) == (None, 0)
    table = CliRunner().invoke(app, ["inspect", str(path)]).output
    assert "without a runtime" in table
    assert "on devices only" in table


@pytest.mark.parametrize("path", KINDS, indirect=True)
def test_bench(path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", str(path), "--rounds", "3", "--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.output)
    assert len({times["runtime"] for times in value["twins"]}) == 2
    for times in value["twins"]:
        stages = times["stages"]
        assert 0 < stages["encode"]["p50_ms"] <= stages["whole"]["p95_ms"]
