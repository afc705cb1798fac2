"""`twin-edge bench`: how long a bundle takes here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Measure a bundle on this machine: every stage of a frame, on every TFLite runtime that is installed.

Encoding the same 640x480 frames as JPEG of quality 80 stands beside it, in time and in bytes.

\b
  twin-edge bench bundles/rig.twin
  twin-edge bench bundles/rig.twin --rounds 1000 --json
"""


def command(
    *,
    bundle: Annotated[Path, typer.Argument(help="The .twin file.", show_default=False)],
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Frames per line.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Measures a bundle; see the command's help."""

    def bench() -> None:
        from twin_edge.benchmark import run_benchmark
        from twin_edge.bundle import Bundle
        from twin_edge.cli.output import print_json
        from twin_edge.cli.tables import print_benchmark

        benchmark = run_benchmark(Bundle.open(bundle), rounds=rounds)
        if json:
            print_json(benchmark.to_json())
        else:
            print_benchmark(benchmark)

    run_command(bench, debug=debug)
