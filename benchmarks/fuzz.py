"""A million mutated inputs through every parser of bytes from outside.

    python benchmarks/fuzz.py bundles/rig.twin
    python benchmarks/fuzz.py bundles/rig.twin --only 'packet, raw' --number 4711    one input again, with its traceback
    python benchmarks/fuzz.py bundles/rig.twin --only manifest --atheris 60          guided by coverage, seconds

An input is accepted, or refused with the project's own error on one line; anything else is a failure: another
exception, more than its processor time, more memory than its bound. Inputs depend on seed and bundle only; what came of
one may depend on those before it for the two parsers that remember (the chain of packets, the whole subscriber). The
table goes to benchmarks/results/fuzz.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fuzzing.harness import FAILED, Report, Target, make_input, run
from twin_edge.files import write_atomic

RESULTS = Path(__file__).parent / "results" / "fuzz.json"


def main() -> int:
    """Feeds the parsers, prints the table and writes it."""
    options = _options()
    logging.disable(logging.CRITICAL)  # a subscriber says what it refuses, a million times
    targets = load(options.bundle, guided=options.atheris is not None)
    if options.only is not None:
        targets = [target for target in targets if target.name == options.only]
        if not targets:
            sys.exit(f"there is no target {options.only!r}")
    if options.number is not None:
        targets[0].parse(make_input(targets[0], options.seed, options.number))
        return 0
    if options.atheris is not None:
        return explore(targets[0], options.seed, options.atheris)
    total = sum(target.weight for target in targets)
    counts = {target.name: max(1, -(-options.count * target.weight // total)) for target in targets}
    reports = {}
    for target in targets:
        reports[target.name] = run(target, options.seed, counts[target.name])
        print(f"{target.name}: {dict(reports[target.name].outcomes)}", file=sys.stderr, flush=True)
    show(reports)
    if options.only is None:
        write(reports, options.seed)
    return int(any(report.outcomes[FAILED] for report in reports.values()))


def load(bundle: Path, *, guided: bool) -> list[Target]:
    """Returns the targets; with the parsers instrumented, which is done while they are imported, when guided."""
    instrumenting: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if guided:
        import atheris

        instrumenting = atheris.instrument_imports(include=["twin_edge"])
    with instrumenting:
        from fuzzing.targets import all_targets
        from twin_edge.bundle import Bundle
    return all_targets(Bundle.open(bundle))


def explore(target: Target, seed: int, seconds: int) -> int:
    """Lets atheris find inputs that reach new code; ends at the first failure, or after a time."""
    import atheris

    def one(data: bytes) -> None:
        try:
            target.parse(data)
        except target.refusals:
            return

    corpus = Path("fuzz-corpus") / target.name.replace(" ", "-").replace("/", "-").replace(",", "")
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(200):
        (corpus / f"seed-{number}").write_bytes(make_input(target, seed, number))
    arguments = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=4096", f"-seed={seed}", str(corpus)]
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
    return 0


def show(reports: dict[str, Report]) -> None:
    """Prints the table."""
    table = Table("parser", "inputs", "accepted", "refused", "failed", "slowest ms", "most MiB", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, report in reports.items():
        row = report.to_json()
        cells = [f"{row[key]}" for key in ("inputs", "accepted", "refused", "failed", "slowest_ms")]
        table.add_row(name, *cells, f"{report.peak_bytes / 2**20:.1f}")
    console = Console(highlight=False)
    console.print(table)
    for name, report in reports.items():
        for failure in report.failures:
            console.print(f"{name}, {failure['number']}: {failure['why']}", markup=False, soft_wrap=True)


def write(reports: dict[str, Report], seed: int) -> None:
    """Writes the results."""
    rows = {name: report.to_json() for name, report in reports.items()}
    totals = {
        key: sum(row[key] for row in rows.values()) for key in ("inputs", "accepted", "refused", "failed", "seconds")
    }
    result = {
        "seed": seed,
        "python": platform.python_version(),
        "total": {**totals, "seconds": round(totals["seconds"], 1)},
        "parsers": rows,
    }
    write_atomic(RESULTS, (json.dumps(result, indent=1) + "\n").encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Mutated inputs through every parser of bytes from outside.")
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/rig.twin"))
    parser.add_argument("--count", type=int, default=1_050_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="name of one parser")
    parser.add_argument("--number", type=int, help="run this input alone, and show what it raises")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="be guided by coverage (pip install atheris)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
