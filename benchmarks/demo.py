"""`make demo`: everything once, from nothing to a synced twin.

Trains on the rig, converts, runs the twin of a rig episode that training has not seen against the embedded broker, with
`twin-edge watch` beside it as a process that knows the broker's address only, and puts a hand in front of the camera
near the end. Ends with a table, and with pictures in demo/.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.cameras.rig import RigCamera
from twin_edge.config import RunConfig
from twin_edge.files import write_atomic
from twin_edge.images import Image
from twin_edge.pictures import contact_sheet
from twin_edge.preprocess import Viewer
from twin_edge.runtime import DeviceRuntime
from twin_edge.sync import EmbeddedBroker

FOLDER = Path("demo")
RUN, BUNDLE = Path("runs/rig"), Path("bundles/rig.twin")
SEED = 77
SECONDS, HAND_AT_S, HAND_S = 24.0, 15.0, 5.0
SHOWN = 12

console = Console()


@dataclass
class Recorder:
    """A camera that remembers the views of its frames by their time, to lay them beside the renderings later."""

    camera: RigCamera
    viewer: Viewer

    def __post_init__(self) -> None:
        self.views: dict[int, Image] = {}
        self.uri, self.fps, self.live = self.camera.uri, self.camera.fps, self.camera.live

    def open(self) -> None:
        self.camera.open()

    def read(self, timeout_s: float) -> Frame:
        frame = self.camera.read(timeout_s)
        self.views[frame.time_us] = self.viewer(frame.image)
        return frame

    def close(self) -> None:
        self.camera.close()


def main() -> int:
    """Runs the demo; returns the exit code."""
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    console.rule("1/3  train")
    # Each demo makes the rig's twin anew: the same recipe and seeds give the same one.
    command("twin_training", "rig", "--name", "rig", "--force")
    console.rule("2/3  convert")
    command("twin_converters", str(RUN), "--out", str(BUNDLE), "--force")
    console.rule(f"3/3  run for {SECONDS:.0f} s, with a subscriber beside it")
    run, watched, recorder = run_and_watch()
    metrics = json.loads((RUN / "metrics.json").read_text())
    report = json.loads(BUNDLE.with_suffix(".report.json").read_text())
    updates = [line for line in watched if line["type"] == "update"]
    summary = next(line for line in watched if line["type"] == "summary")
    pictures(updates, recorder)
    console.print(table(metrics, report, run, summary, updates, time.monotonic() - started))
    console.print(f"look at {FOLDER / 'contact-sheet.png'}: camera above, twin below, rebuilt from its states alone")
    return 0


def command(module: str, *arguments: str) -> None:
    """Runs a command of the project, with its progress on the terminal; ends the demo when it fails."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def run_and_watch() -> tuple[Any, list[dict[str, Any]], Recorder]:
    """Returns the device's summary, the subscriber's lines, and the camera with the views it has seen."""
    bundle = Bundle.open(BUNDLE)
    camera = RigCamera(f"rig:seed={SEED},fault=hand,at={HAND_AT_S:g},duration={HAND_S:g}")
    recorder = Recorder(camera, Viewer(bundle.manifest.view))
    with tempfile.TemporaryDirectory() as scratch, EmbeddedBroker() as broker, contextlib.ExitStack() as stack:
        config = RunConfig(
            bundle=BUNDLE,
            broker=broker.url,
            twin="org.twin-edge/demo",
            duration_s=SECONDS,
            state_dir=Path(scratch) / "state",
        )
        # A file and not a pipe: nobody reads a pipe while the device runs, and a full one would hold the subscriber up.
        heard = Path(scratch) / "heard.jsonl"
        # The subscriber is there first, with an empty cache: it gets the bundle through the broker.
        watcher = subprocess.Popen(
            [
                *(sys.executable, "-m", "twin_edge", "watch", "--broker", broker.url, "--json", "--timeout-s", "30"),
                *("--save", str(FOLDER / "renderings")),
            ],
            stdout=stack.enter_context(heard.open("w")),
            env={**os.environ, "XDG_CACHE_HOME": str(Path(scratch) / "cache")},
        )
        try:
            time.sleep(1.5)
            run = DeviceRuntime(config, camera=recorder).run()
            time.sleep(1.0)
        finally:
            watcher.send_signal(signal.SIGINT)
            watcher.wait(60)
        return run, [json.loads(line) for line in heard.read_text().splitlines()], recorder


def pictures(updates: Sequence[dict[str, Any]], recorder: Recorder) -> None:
    """Writes the contact sheet: what the camera saw above what the subscriber made of the state."""
    views: list[Image] = []
    renderings: list[Image] = []
    labels: list[str] = []
    for index in np.linspace(0, len(updates) - 1, SHOWN).round().astype(int):
        update = updates[index]
        time_us = round(update["time"] * 1e6)
        view = recorder.views[min(recorder.views, key=lambda moment: abs(moment - time_us))]
        rendering = cv2.imread(str(FOLDER / "renderings" / f"{update['seq']:08d}.png"))
        views.append(view)
        renderings.append(np.asarray(cv2.cvtColor(rendering, cv2.COLOR_BGR2RGB), np.uint8))
        since = (update["time"] - updates[0]["time"]) % 1e6
        gap = "" if update["gap"] is None else f"  gap {update['gap']:.2f}"
        labels.append(f"{since:4.1f} s{gap}")
    half = SHOWN // 2
    images, texts = [], []
    for part in (slice(0, half), slice(half, SHOWN)):
        images += views[part] + renderings[part]
        texts += ["camera"] * half + [f"twin {label}" for label in labels[part]]
    write_atomic(FOLDER / "contact-sheet.png", contact_sheet(images, texts, half))


def table(
    metrics: dict[str, Any],
    report: dict[str, Any],
    run: Any,
    summary: dict[str, Any],
    updates: Sequence[dict[str, Any]],
    seconds: float,
) -> Table:
    """Returns the closing table, and writes its figures to demo/summary.json."""
    first = updates[0]["time"]
    told = [(update["time"] - first, update["gap"]) for update in updates if update["gap"] is not None]
    before = [gap for moment, gap in told if moment < HAND_AT_S - 1]
    # The report is a median over a second, at most once a second: two seconds after the hand it must have arrived.
    during = [gap for moment, gap in told if HAND_AT_S + 2 < moment < HAND_AT_S + HAND_S]
    whole = run.stages["whole"]
    rows = {
        "training": f"{metrics['seconds']['training']:.0f} s, and {metrics['seconds']['recording']:.0f} s of recording",
        "held-out, float": f"{report['float']['psnr_db']:.2f} dB, SSIM {report['float']['ssim']:.3f}",
        "held-out, int8": f"{report['int8']['psnr_db']:.2f} dB, SSIM {report['int8']['ssim']:.3f}",
        "bundle": f"{report['bundle_bytes'] / 1e3:.0f} kB",
        "state": f"{report['state_bytes']} B",
        "frames per second": f"{run.fps:.1f}",
        "whole frame on the device": f"p50 {whole.p50_ms:.2f} ms, p95 {whole.p95_ms:.2f} ms",
        "packets sent / states received": f"{run.sent} / {summary['updates']} ({summary['missed']} missed)",
        "camera to rendering": f"p50 {summary['latency_p50_ms']:.1f} ms, p95 {summary['latency_p95_ms']:.1f} ms",
        "gap, normal / hand in front": f"{np.median(before):.2f} / {np.median(during):.3f}" if during else "-",
        "all of this": f"{seconds:.0f} s",
    }
    write_atomic(FOLDER / "summary.json", (json.dumps(rows, indent=2) + "\n").encode())
    result = Table(title="the rig and its twin", show_header=False)
    for name, value in rows.items():
        result.add_row(name, value)
    return result


if __name__ == "__main__":
    sys.exit(main())
