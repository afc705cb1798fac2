"""`twin-edge replay`: what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Go back in time: list what is in a recording, render the twin at any time of it, export it.

Times are those of the device's clock, in ISO 8601 (UTC unless they name a zone), or +SECONDS, +MM:SS or +HH:MM:SS after
the first state. The table of --csv and --parquet has a row for each state; Parquet takes pip install
'twin-edge[parquet]'. The film of --mp4 runs as fast as the twin did.

\b
  twin-edge replay day.twinrec                                        what is in it
  twin-edge replay day.twinrec --at +1:30 --save then.png             the twin a minute and a half after the beginning
  twin-edge replay day.twinrec --from 2026-11-25T22:10:00Z --to 2026-11-25T22:11:00Z --mp4 minute.mp4
  twin-edge replay day.twinrec --twin org.acme/cam-01 --csv states.csv
"""


def command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording.")],
    twin: Annotated[
        str | None, typer.Option(metavar="NS/DEV", help="Which twin. Default: the only one that is in it.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From when. Default: the start.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until when. Default: the end.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Show the state of this time.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="PNG", help="With --at: write its rendering there.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a table of the states as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write that table as Parquet.")] = None,
    mp4: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a film of the renderings.")] = None,
    fps: Annotated[
        float | None,
        typer.Option(metavar="F", min=1, max=60, help="Pictures a second of the film. Default: as the states came."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Shows and exports a recording; see the command's help."""

    def replay() -> None:
        from twin_edge.cli.recordings import ReplayPrinter
        from twin_edge.cli.signals import interrupt_on_sigterm
        from twin_edge.replaying import ReplayConfig, replay

        interrupt_on_sigterm()
        config = ReplayConfig(
            file, twin, begin=begin, end=end, at=at, save=save, csv=csv, parquet=parquet, mp4=mp4, fps=fps
        )
        replay(config, ReplayPrinter(json=json))

    run_command(replay, debug=debug)
