from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from twin_edge.cli.app import app
from twin_edge.cli.findings import FindingsPrinter
from twin_edge.config import RunConfig
from twin_edge.doctor import DoctorConfig, Finding, Outcome, examine, exit_code_of, machine, network
from twin_edge.doctor.examination import CHECKS, Check
from twin_edge.doctor.finding import ok, warn
from twin_edge.errors import BundleError, CameraOpenError
from twin_edge.provisioning import Plan, provision
from twin_edge.sync import TwinId

BY_NAME = {check.name: check for check in CHECKS}


def examined(config, *names):
    checks = [Check(name, BY_NAME[name].run) for name in names]
    return {finding.check: finding for finding in examine(config, checks)}


def config_of(**changes):
    return DoctorConfig(RunConfig(twin="org.acme/cam-01", **changes))


def test_every_need_is_a_check_that_comes_before():
    seen = set()
    for check in CHECKS:
        assert set(check.needs) <= seen
        seen.add(check.name)


def test_what_needs_a_failure_is_skipped_and_the_first_failure_counts():
    def breaks(_patient, _name):
        raise BundleError("no bundle", fix="make one")

    def explodes(_patient, _name):
        raise ZeroDivisionError("secret\nlines")

    def two(_patient, name):
        yield warn(name, "half", "do it")
        yield ok(f"{name} more", "well")

    checks = [
        Check("a", two),
        Check("b", breaks, ("a",)),
        Check("c", two, ("b",)),
        Check("d", explodes),
        Check("e", two, ("c",)),
    ]
    findings = list(examine(config_of(), checks))
    assert [(finding.check, finding.outcome.value) for finding in findings] == [
        ("a", "warn"),
        ("a more", "ok"),
        ("b", "fail"),
        ("c", "skipped"),
        ("d", "fail"),
        ("e", "skipped"),
    ]
    assert findings[3].seen == "needs b"
    assert findings[2].fix == "make one"
    assert "ZeroDivisionError" in findings[4].seen
    assert exit_code_of(findings) == 3
    assert exit_code_of(findings[:2]) == 0
    assert exit_code_of(findings[4:]) == 1


def test_machine_that_is_well(bundle_path, tmp_path):
    names = ("runtime", "opencv", "bundle", "camera", "state folder", "free space")
    findings = examined(config_of(bundle=bundle_path, state_dir=tmp_path), *names)
    # The quick twin may be worse than the baseline, which the doctor tells.
    assert {finding.outcome for finding in findings.values()} <= {Outcome.OK, Outcome.WARN}
    assert "self-test passed" in findings["bundle"].seen
    assert "a frame of" in findings["camera"].seen
    assert not list(tmp_path.rglob(".doctor-*"))


def test_bundle(tmp_path, monkeypatch):
    assert examined(DoctorConfig(has_bundle=False), "bundle")["bundle"].outcome is Outcome.SKIPPED
    broken = tmp_path / "broken.twin"
    broken.write_bytes(b"no zip")
    findings = examined(config_of(bundle=broken), "bundle")
    assert (findings["bundle"].outcome, exit_code_of(findings.values())) == (Outcome.FAIL, 3)
    monkeypatch.chdir(tmp_path)
    assert not machine.find_only_bundle()
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "a.twin").touch()
    assert machine.find_only_bundle()


def test_camera(tmp_path):
    findings = examined(config_of(camera=str(tmp_path / "none.mp4")), "camera")
    assert (findings["camera"].outcome, exit_code_of(findings.values())) == (Outcome.FAIL, CameraOpenError.exit_code)
    for level, outcome in ((0, Outcome.WARN), (90, Outcome.OK)):
        cv2.imwrite(str(tmp_path / "frame.png"), np.full((48, 64, 3), level, np.uint8))
        finding = examined(config_of(camera=f"images:{tmp_path}"), "camera")["camera"]
        assert finding.outcome is outcome
        assert "64x48" in finding.seen


def test_runtime_that_does_not_fit_numpy(monkeypatch):
    monkeypatch.setenv("TWIN_EDGE_RUNTIME", "tflite")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    finding = examined(config_of(), "runtime")["runtime"]
    assert finding.outcome is Outcome.FAIL
    assert "numpy<2" in finding.fix
    monkeypatch.setenv("TWIN_EDGE_RUNTIME", "none")
    findings = examined(config_of(), "runtime")
    assert exit_code_of(findings.values()) == 2


def test_state_folder_and_space(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.touch()
    finding = examined(config_of(state_dir=blocked), "state folder")["state folder"]
    assert finding.outcome is Outcome.FAIL
    assert "--state-dir" in finding.fix
    config = config_of(state_dir=tmp_path)
    for free, outcome in ((10**6, Outcome.FAIL), (10**8, Outcome.WARN), (10**10, Outcome.OK)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path, usage=usage: usage)
        assert examined(config, "state folder", "free space")["free space"].outcome is outcome


def test_clock_that_is_behind(tmp_path, monkeypatch):
    provision(Plan((TwinId("org.acme", "cam-01"),), out=tmp_path, site={"hosts": ("localhost",)}), {})
    device = tmp_path / "devices" / "org.acme" / "cam-01"
    files = {f"{name}_file": device / f"{name}.pem" for name in ("ca", "cert", "key")}
    config = config_of(broker="mqtts://localhost", **files)
    monkeypatch.setattr(network, "_SYNC_FOLDER", tmp_path / "timesync")
    assert examined(config, "clock")["clock"].outcome is Outcome.OK
    (tmp_path / "timesync").mkdir()
    finding = examined(config, "clock")["clock"]
    assert (finding.outcome, "not synchronized" in finding.seen) == (Outcome.WARN, True)
    (tmp_path / "timesync" / "synchronized").touch()
    assert examined(config, "clock")["clock"].outcome is Outcome.OK
    now = time.time()
    monkeypatch.setattr(network.time, "time", lambda: now - 5 * 86_400)
    finding = examined(config, "clock")["clock"]
    assert finding.outcome is Outcome.FAIL
    assert "has passed already" in finding.seen
    assert "timedatectl" in finding.fix


def test_secrets_over_a_plain_connection_are_warned_of(monkeypatch):
    monkeypatch.setenv("TWIN_EDGE_MQTT_PASSWORD", "hunter2")
    finding = examined(config_of(broker="mqtt://broker.lan"), "credentials")["credentials"]
    assert finding.outcome is Outcome.WARN
    assert "password without TLS" in finding.seen
    assert "hunter2" not in repr(finding)
    finding = examined(config_of(broker="mqtt://127.0.0.1"), "credentials")["credentials"]
    assert finding.outcome is Outcome.OK
    monkeypatch.delenv("TWIN_EDGE_MQTT_PASSWORD")
    assert examined(config_of(broker="mqtt://broker.lan"), "credentials")["credentials"].outcome is Outcome.WARN


def test_findings_for_people(capsys):
    with FindingsPrinter(json=False) as printer:
        printer.show(ok("dns", "broker.lan is 10.0.0.2"))
        printer.show(Finding("tls", Outcome.FAIL, "[red]expired[/red]", "renew it", 5))
    text = capsys.readouterr().out
    assert "broker.lan is 10.0.0.2" in text
    assert "[red]expired[/red]" in text  # what comes from outside is not markup
    assert "-> renew it" in text
    assert text.rstrip().endswith("1 ok, 1 fail")


def test_findings_for_programs(capsys):
    with FindingsPrinter(json=True) as printer:
        printer.show(warn("clock", "1970", "set it"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"type": "finding", "check": "clock", "outcome": "warn", "seen": "1970", "fix": "set it"},
        {"type": "summary", "ok": 0, "warn": 1, "fail": 0, "skipped": 0},
    ]


@pytest.mark.parametrize("args", [["doctor", "--twin", "no slash"], ["doctor", "--config", "none.toml"]])
def test_usage_errors(args, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    result = CliRunner().invoke(app, [*args, "--camera", "none.mp4", "--broker", "mqtt://127.0.0.1:1"])
    assert result.exit_code == 2
    assert Path.cwd() == tmp_path
