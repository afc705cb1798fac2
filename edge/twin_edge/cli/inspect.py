"""`twin-edge inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Show what is in a bundle, and whether it renders as it did where it was made.

No TFLite runtime reads it, so that it may come from anybody. With --runtimes every one that is installed runs its
golden samples as well: states and renderings must come out as they did.

\b
  twin-edge inspect bundles/rig.twin
  twin-edge inspect bundles/rig.twin --runtimes
  twin-edge inspect bundles/rig.twin --json
"""


def command(
    *,
    bundle: Annotated[Path, typer.Argument(help="The .twin file.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    runtimes: Annotated[
        bool, typer.Option("--runtimes", help="Try it on every TFLite runtime that is installed: if you trust it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Shows a bundle; see the command's help."""

    def inspect() -> None:
        from twin_edge.cli.output import print_json
        from twin_edge.cli.tables import print_inspection
        from twin_edge.inspection import inspect_bundle

        inspection = inspect_bundle(bundle, runtimes=runtimes)
        if json:
            print_json(inspection.to_json())
        else:
            print_inspection(inspection)

    run_command(inspect, debug=debug)
