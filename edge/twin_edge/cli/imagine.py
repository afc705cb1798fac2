"""`twin-edge imagine`: renderings of states that no camera has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Render random states: what the twin believes its subject can look like.

The latent is drawn from a Gaussian, rendered, shown to the encoder and rendered again, --rounds times, each nearer to
what views look like. Equal seeds give equal samples.

\b
  twin-edge imagine bundles/rig.twin --random 32 --out sheet.png
  twin-edge imagine bundles/digits.twin --random 100 --seed 7 --scale 0.8 --runtime
"""


def command(
    *,
    bundle: Annotated[Path, typer.Argument(help="The .twin file.", show_default=False)],
    random: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="How many samples of the prior.")] = 32,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Seed of the samples.")] = 0,
    scale: Annotated[
        float,
        typer.Option(
            metavar="X", min=0.0, max=4.0, help="Spread: 1 is the prior's, less gives safer samples, more alike."
        ),
    ] = 1.0,
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=100, help="Rounds of each sample: 0 is the bare prior, many look more alike."
        ),
    ] = 12,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The contact sheet, a PNG file.")] = Path("imagined.png"),
    runtime: Annotated[
        bool,
        typer.Option("--runtime", help="Use the TFLite runtime: for your own twins that are shown on devices only."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Renders random states; see the command's help."""

    def imagine() -> None:
        from twin_edge.bundle import Bundle
        from twin_edge.imagining import write_sheet
        from twin_edge.models.runtimes import load_runtime

        used = load_runtime() if runtime else None
        write_sheet(Bundle.open(bundle), out, random, seed=seed, scale=scale, rounds=rounds, runtime=used)
        typer.echo(f"{random} samples: {out}", err=True)

    run_command(imagine, debug=debug)
