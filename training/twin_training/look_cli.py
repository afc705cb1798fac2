"""`twin-train look`: wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twin_edge.cli.common import run_command

_HELP = """Show what training would make of a subject, in one picture, within seconds.

On the left a frame, the region that the twin will look at framed in it; on the right where something moves; below what
was found. Nothing is trained.

\b
  twin-train look boiler.mkv
  twin-train look boiler.mkv --region 200,80,360,360 -o look.png
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help=_HELP)
def command(
    *,
    subject: Annotated[str, typer.Argument(help="A video, images:FOLDER, rig or a camera URI.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The picture.")] = Path("look.png"),
    region: Annotated[
        str, typer.Option(metavar="REGION", help="auto, whole, or x,y,width,height: pixels, or fractions of the frame.")
    ] = "auto",
    size: Annotated[str, typer.Option(help="small (64x64), standard (128x128) or large (256x256).")] = "standard",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Looks; see the command's help."""

    def look_() -> None:
        from twin_edge.files import refuse_unwritable, write_atomic
        from twin_training.look import look
        from twin_training.recipe import in_size, load_recipe
        from twin_training.source import check_wishes

        recipe = in_size(load_recipe("face"), size)
        check_wishes(subject, region, "")
        refuse_unwritable(output)
        console = Console(stderr=True)
        with console.status("reading") as status:
            looked = look(
                subject,
                region,
                recipe,
                lambda done, _total: status.update(f"reading: {done} frames"),
            )
        write_atomic(output, looked.png())
        for line in looked.lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        for warning in looked.warnings:
            console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        console.print(f"look at {output}", highlight=False, soft_wrap=True)

    run_command(look_, debug=debug)
