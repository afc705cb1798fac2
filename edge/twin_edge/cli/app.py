"""`twin-edge`: one command per module."""

from __future__ import annotations

from typing import Annotated

import typer

from twin_edge import __version__
from twin_edge.cli import (
    bench,
    broker,
    capture,
    doctor,
    imagine,
    inspect,
    provision,
    record,
    replay,
    run,
    unpair,
    watch,
)

_HELP = """Generative digital twins at the edge.

A device turns each camera frame into a state of a few bytes and publishes it over MQTT; whoever has the same bundle
renders the subject from it. Try it without a camera, a broker or a device:

\b
  twin-edge run --bundle bundles/rig.twin --camera rig: --broker embedded:
  twin-edge watch --save watched          (in a second terminal)

Exit codes: 0 done, 2 usage or configuration, 3 bundle, 4 camera, 5 broker, 1 anything else.
"""

app = typer.Typer(
    name="twin-edge",
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run", help=run.HELP)(run.command)
app.command("watch", help=watch.HELP)(watch.command)
app.command("capture", help=capture.HELP)(capture.command)
app.command("record", help=record.HELP)(record.command)
app.command("replay", help=replay.HELP)(replay.command)
app.command("inspect", help=inspect.HELP)(inspect.command)
app.command("bench", help=bench.HELP)(bench.command)
app.command("imagine", help=imagine.HELP)(imagine.command)
app.command("unpair", help=unpair.HELP)(unpair.command)
app.command("doctor", help=doctor.HELP)(doctor.command)
app.command("provision", help=provision.HELP)(provision.command)
app.command("broker", help=broker.HELP)(broker.command)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        typer.echo(f"twin-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Takes what comes before the command."""


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
