"""Puts what the benchmarks have measured into docs/benchmarks/README.md: tables, and the plots beside it.

    python benchmarks/report.py [NAME ...]

NAMEs are runs and bundles whose quality in float and int8 and whose training time are to be taken up anew; what is kept
in benchmarks/results/ of the others stays. The page is made of the files in benchmarks/results/ alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from comparison.page import page
from comparison.points import read_points
from twin_edge.files import write_atomic

RESULTS = Path("benchmarks/results")
MODELS = RESULTS / "models.json"
PAGE = Path("docs/benchmarks/README.md")


def model_figures(run: Path, bundles: Path) -> dict[str, Any]:
    """Returns the figures of one run and its bundle: quality in float and int8, sizes, training time.

    Raises:
        OSError: There is no such run or bundle.
        ValueError: A file in it is not readable.
        KeyError: A file in it lacks a figure.
    """
    metrics = json.loads((run / "metrics.json").read_bytes())
    report = json.loads((bundles / f"{run.name}.report.json").read_bytes())
    return {
        "name": run.name,
        "recipe": metrics["recipe"],
        "training_s": round(metrics["seconds"]["training"]),
        "recording_s": round(metrics["seconds"]["recording"]),
        "mmac": metrics["mmac"],
        "bundle_bytes": report["bundle_bytes"],
        "test_frames": report["test_frames"],
        "float": report["float"],
        "int8": report["int8"],
    }


def update_models(names: list[str], runs: Path, bundles: Path) -> list[dict[str, Any]]:
    """Takes up the named runs, keeps the others, and returns all."""
    known = {entry["name"]: entry for entry in json.loads(MODELS.read_bytes())} if MODELS.exists() else {}
    for name in names:
        known[name] = model_figures(runs / name, bundles)
    models = [known[name] for name in sorted(known)]
    write_atomic(MODELS, (json.dumps(models, indent=1) + "\n").encode())
    return models


def read(path: Path) -> Any:
    """Returns what is in a result file, None when there is none."""
    return json.loads(path.read_bytes()) if path.exists() else None


def main() -> int:
    """Writes the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs and bundles to take up anew")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (runs)")
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="folder of the bundles (bundles)")
    options = parser.parse_args()
    try:
        models = update_models(options.names, options.runs, options.bundles)
        rates = RESULTS / "rate_distortion.json"
        points = read_points(rates) if rates.exists() else []
        text = page(
            points,
            read(RESULTS / "rate_distortion_notes.json"),
            read(RESULTS / "speed.json"),
            read(RESULTS / "speed_notes.json"),
            models,
            read(RESULTS / "ablation.json") or (),
        )
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}: train, convert and measure first (make train convert bench)", file=sys.stderr)
        return 1
    write_atomic(PAGE, text.encode())
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
