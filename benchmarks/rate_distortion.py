"""Rate and distortion of a twin beside what else could carry the same views.

    python benchmarks/rate_distortion.py [NAME ...]

Each NAME needs runs/NAME and bundles/NAME.twin; its clip is the run's own test views. Writes
benchmarks/results/rate_distortion.json (points of other clips stay in it), rate_distortion_notes.json (the settings, in
the same order) and docs/benchmarks/rate_distortion_NAME.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from comparison.clips import Clip, load_clip
from comparison.pca_points import COMPONENTS, delta_points, pca_points
from comparison.plots import rate_distortion_png
from comparison.points import Measured, read_points, write_points
from comparison.stills import hold_last_points, jpeg_points
from comparison.twin_points import by_batch, twin_points
from comparison.video import CODECS, settings, video_points
from comparison.wire import states_in_packet
from twin_edge.config import RunConfig
from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic

RESULTS = Path("benchmarks/results/rate_distortion.json")
NOTES = Path("benchmarks/results/rate_distortion_notes.json")
PICTURES = Path("docs/benchmarks")
BATCHES_MS = (0, 250, 500, 1000, 2000)
WIDTH = 110


def measure(clip: Clip, bundle: Path, batch: int, progress: Progress) -> list[Measured]:
    """Returns the points of all methods on a clip."""
    video_steps = {codec.method: len(settings(codec)) for codec in CODECS}
    task = progress.add_task("", total=4 + len(COMPONENTS) + sum(video_steps.values()))

    def advance() -> None:
        progress.advance(task)

    def stage(name: str) -> None:
        progress.update(task, description=f"{clip.name}: {name}")

    stage("twin")
    measured = twin_points(bundle, clip, batch)
    advance()
    stage("registered-pca")
    measured += pca_points(clip, batch, advance)
    stage("registered-pca-delta")
    measured += delta_points(clip, batch)
    advance()
    stage("hold-last")
    measured += hold_last_points(clip)
    advance()
    stage("jpeg")
    measured += jpeg_points(clip)
    advance()
    for codec in CODECS:
        stage(codec.method)
        measured += video_points(clip, codec, advance)
    return measured


def print_table(clip: Clip, measured: list[Measured], console: Console) -> None:
    """Prints all points of a clip."""
    table = Table("method", "setting", title=f"{clip.name}: {clip.frames} frames, {clip.fps:g} a second")
    for name in ("bytes/frame", "kbit/s", "wire bytes/frame", "PSNR dB", "SSIM"):
        table.add_column(name, justify="right")
    for one in measured:
        point = one.point
        rates = (
            f"{point.bytes_per_frame:.2f}",
            f"{clip.kbps(point.bytes_per_frame):.3f}",
            f"{point.wire_bytes_per_frame:.1f}",
        )
        table.add_row(point.method, one.setting, *rates, f"{point.psnr_db:.2f}", f"{point.ssim:.3f}")
    console.print(table)


def keep(clip: Clip, measured: list[Measured], about: dict[str, Any]) -> None:
    """Puts a clip's points in place of its older ones, and draws them."""
    points, settings_used, clips = [], [], {}
    if RESULTS.exists() and NOTES.exists():
        notes: dict[str, Any] = json.loads(NOTES.read_bytes())
        clips = notes["clips"]
        for point, setting in zip(read_points(RESULTS), notes["settings"], strict=True):
            if point.clip != clip.name:
                points.append(point)
                settings_used.append(setting)
    points += [one.point for one in measured]
    settings_used += [one.setting for one in measured]
    clips[clip.name] = {"fps": clip.fps, "frames": clip.frames, "sequences": len(clip.test), **about}
    write_points(RESULTS, points)
    write_atomic(NOTES, (json.dumps({"clips": clips, "settings": settings_used}, indent=1) + "\n").encode())
    title = f"{clip.name}: {clip.frames} unseen views of {clip.test[0].shape[1]}x{clip.test[0].shape[2]}"
    png = rate_distortion_png([one.point for one in measured], title, clip.fps)
    write_atomic(PICTURES / f"rate_distortion_{clip.name}.png", png)


def main() -> int:
    """Measures, prints and keeps the points of each name; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["rig"], metavar="NAME", help="runs and bundles (rig)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (runs)")
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="folder of the bundles (bundles)")
    batch_ms = RunConfig().batch_ms
    parser.add_argument(
        "--batch-ms",
        type=float,
        default=batch_ms,
        help=f"how long a device gathers states for a packet, milliseconds ({batch_ms:g})",
    )
    options = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        for name in options.names:
            console.print(f"{name}: recording the clip again")
            clip = load_clip(options.runs / name)
            batch = states_in_packet(options.batch_ms, clip.fps)
            bundle = options.bundles / f"{name}.twin"
            with Progress(*columns, console=console) as progress:
                measured = measure(clip, bundle, batch, progress)
            batches = by_batch(bundle, clip, BATCHES_MS)
            print_table(clip, measured, console)
            keep(clip, measured, {"states_in_packet": batch, "batches": batches})
    except TwinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
