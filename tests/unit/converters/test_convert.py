"""Conversion: reproducible, gated, the same on both runtimes, and nothing kept when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.errors import ConfigError, ConversionError
from twin_edge.quality import psnr
from twin_edge.runtime.sending import SendingConfig
from twin_edge.twin import Twin
from twin_edge.twin.codec import PacketWriter

pytestmark = pytest.mark.training


def convert(run: Path, *options: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twin_converters", str(run), *options],
        cwd=run.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture
def copied_run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "runs" / "quick"))


def test_two_conversions_of_one_run_are_byte_identical(
    run_folder: Path, bundle_path: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "again.twin"
    done = convert(run_folder, "--out", str(out), "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == bundle_path.read_bytes()
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "again.report.json").read_text())
    assert (tmp_path / "again.report.png").read_bytes().startswith(b"\x89PNG")


def test_report_measures_both_runtimes(quick: Path) -> None:
    report: dict[str, Any] = json.loads((quick / "bundles" / "quick.report.json").read_text())
    assert set(report["runtimes"]) == {"litert", "tflite"}
    assert report["levels_between_runtimes"] == 0
    assert report["share_beyond_tolerance"] == 0
    assert abs(report["float"]["psnr_db"] - report["int8"]["psnr_db"]) < 0.5
    for one in report["runtimes"].values():
        assert abs(one["psnr_db"] - report["int8"]["psnr_db"]) < 0.1
    used = {name.split()[0] for names in report["operators"].values() for name in names}
    assert not used & {"TRANSPOSE_CONV", "LEAKY_RELU", "TILE", "TANH", "CUSTOM"}


def test_models_are_int8_inside_with_the_edges_of_the_design(bundle_path: Path) -> None:
    tensors = Bundle.open(bundle_path).manifest.tensors
    assert tensors["encoder.input"].dtype == tensors["encoder.output"].dtype == "int8"
    assert tensors["generator.input"].dtype == tensors["generator.output"].dtype == "float32"
    # Pixels are int8 without arithmetic, and the state goes from model to model without requantization.
    assert tensors["encoder.input"].scale == pytest.approx(1 / 255, rel=1e-6)
    assert tensors["encoder.input"].zero_point == -128
    assert tensors["encoder.output"].scale == pytest.approx(tensors["generator.input"].scale, rel=1e-5)
    assert tensors["encoder.output"].zero_point == tensors["generator.input"].zero_point
    assert tensors["generator.output"].scale == pytest.approx(2 / 255, rel=1e-5)


def test_failed_gate_keeps_nothing(copied_run: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    recipe = json.loads((copied_run / "recipe.json").read_text())
    recipe["gate"]["max_baseline_loss_db"] = 0.1
    (copied_run / "recipe.json").write_text(json.dumps(recipe))
    metrics = json.loads((copied_run / "metrics.json").read_text())
    metrics["baselines"] = [{"method": "pca", "bytes": 0.0, "psnr_db": 60.0, "ssim": 0.99}]
    (copied_run / "metrics.json").write_text(json.dumps(metrics))
    out = tmp_path / "bundles" / "quick.twin"
    done = convert(copied_run, "--out", str(out), environment=environment)
    assert done.returncode == 1
    assert "the quality gate failed: at " in done.stderr
    assert " B a frame the twin, as a subscriber sees it, reaches " in done.stderr
    assert "the baseline, plain PCA, 60.00 dB; 0.1 dB less are allowed" in done.stderr
    assert not out.parent.exists()


def test_the_manifest_states_what_a_subscriber_sees(quick: Path, bundle_path: Path) -> None:
    """Codes and renders the test views as a device and a subscriber do, without the converter."""
    with np.load(quick / "runs" / "quick" / "dataset.npz") as saved:
        test, cuts = saved["test"], set(saved["test_cuts"].tolist())
    bundle = Bundle.open(bundle_path)
    quality, twin = bundle.manifest.quality, Twin(bundle)
    writer, packets = PacketWriter(1, 1, bundle.codec, batch_ms=250), []
    writer.level = SendingConfig().quality
    for row, view in enumerate(test):
        time_us = round(row * 1e6 / quality.default_fps)
        packets += writer.put(twin.encode(view), row, time_us, key=row in cuts)
    packets += writer.flush()
    seen = [twin.render(state) for packet in packets for state in packet.states]
    assert len(seen) == len(test)
    rows = np.linspace(0, len(test) - 1, min(200, len(test))).round().astype(int)
    assert np.mean([psnr(test[row], seen[row]) for row in rows]) == pytest.approx(quality.default_psnr_db, abs=0.1)
    payload = sum(len(packet.payload) for packet in packets) / len(test)
    assert payload == pytest.approx(quality.default_bytes, rel=0.1)
    assert quality.baseline in {"mean", "pca", "registered-pca"}
    assert quality.default_psnr_db <= quality.int8_psnr_db + 0.1


def test_full_disk_keeps_the_old_bundle(run_folder: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """Runs the report writer of a real conversion under a file size limit below the bundle's."""
    out = tmp_path / "old.twin"
    out.write_bytes(b"old bundle")
    program = (
        "import resource, signal, sys, pathlib\n"
        "from twin_converters.run import Run\n"
        "from twin_converters.convert import convert\n"
        "from twin_converters.report import write\n"
        "from twin_edge.errors import TwinEdgeError\n"
        "conversion = convert(Run.open(pathlib.Path(sys.argv[1])))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    write(conversion, pathlib.Path(sys.argv[2]))\n"
        "except TwinEdgeError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(run_folder), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert "free some space" in done.stdout, done.stderr
    assert out.read_bytes() == b"old bundle"
    assert not list(tmp_path.glob(".*"))


def test_run_folders_that_are_none(tmp_path: Path, copied_run: Path) -> None:
    from twin_converters.run import Run

    with pytest.raises(ConfigError, match="there is no run folder"):
        Run.open(tmp_path / "nothing")
    (copied_run / "metrics.json").unlink()
    with pytest.raises(ConfigError, match="has not finished"):
        Run.open(copied_run)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", b"\x00" * 1000])
def test_damaged_dataset(copied_run: Path, damage: bytes) -> None:
    from twin_converters.run import Run

    (copied_run / "dataset.npz").write_bytes(damage)
    with pytest.raises(
        ConversionError, match=r"damaged, or an earlier release made it .*: train it again: twin-train SUBJECT --name"
    ):
        Run.open(copied_run)


def test_operators_too_new_are_refused_at_conversion() -> None:
    from twin_converters.convert import _check_operators
    from twin_edge.models import Operator

    with pytest.raises(ConversionError, match="FULLY_CONNECTED v12, tflite has version 10"):
        _check_operators({"generator.tflite": (Operator("FULLY_CONNECTED", 12),)})


def test_runtimes_that_differ_fail_the_gate() -> None:
    from twin_converters.measure import Measured
    from twin_converters.quality import check_gate
    from twin_converters.run import Gate
    from twin_edge.bundle import Quality

    def measured(level: int) -> Measured:
        image = np.full((1, 8, 8, 3), level, np.uint8)
        residuals = np.zeros((1, 1), np.float32)
        states = np.zeros((1, 1), np.int8)
        return Measured(
            "x",
            residuals,
            residuals,
            states,
            states,
            states,
            np.ones(1),
            states,
            image,
            states,
            image,
            image,
            states,
            states,
            np.ones(1),
        )

    gate, quality = Gate(0.5), Quality(1, 30, 0.9, 30, 0.9)
    check_gate(gate, quality, [measured(10), measured(12)], None)
    with pytest.raises(ConversionError, match="differ by up to 3/255"):
        check_gate(gate, quality, [measured(10), measured(13)], None)
    with pytest.raises(ConversionError, match="int8 loses"):
        check_gate(gate, replace(quality, float_psnr_db=31), [measured(10)], None)
    # Less than a level of error is none: of a scene in which hardly anything moves a still picture draws 75 dB.
    still = replace(quality, float_psnr_db=61, int8_psnr_db=50, baseline="pca", baseline_psnr_db=75, default_psnr_db=49)
    check_gate(gate, still, [measured(10)], None)
    with pytest.raises(ConversionError, match="baseline"):
        check_gate(gate, replace(still, default_psnr_db=47), [measured(10)], None)


def test_a_bundle_that_is_there_stays(
    run_folder: Path, bundle_path: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    there = tmp_path / "quick.twin"
    shutil.copy(bundle_path, there)

    def refused() -> str:
        done = convert(run_folder, "--out", str(there), environment=environment)
        assert done.returncode == 2
        return done.stderr

    assert "has been made from this run already: use it, or --force" in refused()
    os.utime(there, (1e9, 1e9))  # older than the run
    assert "or from this one before it was trained again: give another name with --out, or --force" in refused()
    there.write_bytes(b"something else")
    assert "is not a bundle that this release can read: give another name" in refused()
    assert there.read_bytes() == b"something else"
    done = convert(run_folder, "--out", str(there), "--force", environment=environment)
    assert done.returncode == 0, done.stderr
    assert there.read_bytes() == bundle_path.read_bytes()
