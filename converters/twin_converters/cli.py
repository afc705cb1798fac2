"""`twin-convert`: wiring only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twin_edge.cli.common import native_stderr_hidden, run_command
from twin_edge.errors import ConfigError

_HELP = """Make the bundle of a finished run.

Quantizes the float models to full int8, runs them on every installed TFLite runtime, and writes the bundle only when
the recipe's quality gate is passed. Beside it: NAME.report.json and NAME.report.png (view | float | int8 | difference).
A bundle that is there is replaced with --force only.

Then try it: `twin-edge run --bundle bundles/NAME.twin --camera rig: --broker embedded:`.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help=_HELP)
def command(
    *,
    run: Annotated[Path, typer.Argument(help="The run folder, runs/NAME.")],
    out: Annotated[Path | None, typer.Option(help="The bundle. Default: bundles/NAME.twin.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Measure what int8 costs in every layer.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Converts; see the module and the command's help."""
    run_command(lambda: _convert(run, out, layers=layers, force=force, as_json=as_json), debug=debug)


def main() -> None:
    """Runs the command line."""
    app()


def _convert(folder: Path, out: Path | None, *, layers: bool, force: bool, as_json: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    from twin_converters.bundle_guard import check_may_write
    from twin_converters.run import Run

    opened = Run.open(folder)
    path = out or Path("bundles") / f"{opened.name}.twin"
    check_may_write(path, opened, folder, force=force)
    try:
        with native_stderr_hidden():
            from twin_converters.convert import convert
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"conversion needs the package {error.name}", fix="pip install 'twin-edge[training]'"
        ) from error
    from twin_converters.report import summary, write

    console = Console(stderr=True)
    with console.status("converting") as status:
        conversion = convert(
            opened,
            lambda stage: status.update(f"converting: {stage}"),
            layers=layers,
            on_diagnosis=lambda diagnosis: console.print(str(diagnosis), highlight=False, soft_wrap=True),
        )
    write(conversion, path)
    if as_json:
        print(json.dumps(dict(conversion.report), sort_keys=True))  # noqa: T201 - asked for
    console.print(summary(conversion, path), highlight=False, soft_wrap=True)
