"""`twin-train`: wiring only."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from twin_edge.baseline import compare
from twin_edge.cli.common import native_stderr_hidden, run_command
from twin_edge.errors import ConfigError
from twin_edge.wording import counted

if TYPE_CHECKING:
    from twin_training.recipe import Recipe
    from twin_training.train import Outcome

_INTERRUPTED = 130
_HELP = """Train the twin of a subject.

SUBJECT is what to look at: `rig` (the built-in machine), a video file, `images:FOLDER`, or a camera URI such as `0`.
What kind of subject it is, is measured: a fixed scene whose parts move each by themselves, as of a machine, or one that
moves as a whole, as a person does. Where that is not clear several twins are trained, and the one that draws held-out
blocks best is kept. What is wrong with the recording is said as a warning, and kept in metrics.json.

What of the frames is looked at is found in the recording: black bars are left out, and all that never moves around a
small subject; --region whole or --region x,y,width,height say otherwise. `twin-train look SUBJECT` shows it beforehand.

Ctrl-C saves a checkpoint; the same command with --resume goes on from there, by the recipe that it began with. A run
that has finished is replaced with --force only.

Writes runs/NAME: the float models, metrics.json, samples.png (view above rendering) and losses.png. Then make the
bundle with `twin-convert runs/NAME`.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help=_HELP)
def command(
    *,
    subject: Annotated[str, typer.Argument(help="rig, a video, images:FOLDER or a camera URI.")],
    name: Annotated[str, typer.Option(help="Name of the twin, and of the run folder.")],
    recipe: Annotated[
        str,
        typer.Option(
            help="A shipped recipe (auto, parts, face, linear, rig, quick, digits) or a TOML file. Default: auto."
        ),
    ] = "",
    runs: Annotated[Path, typer.Option(help="Where the run folders are.")] = Path("runs"),
    region: Annotated[
        str,
        typer.Option(
            metavar="REGION",
            help="auto, whole, or x,y,width,height: pixels, or fractions. Default: the recipe's, else auto.",
            show_default=False,
        ),
    ] = "",
    empty: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Image or video of the scene without the subject, same camera.", show_default=False
        ),
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint of this name.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that is there.")] = False,
    steps: Annotated[int, typer.Option(min=0, help="Training steps; 0 takes the recipe's.")] = 0,
    size: Annotated[
        str, typer.Option(help="small (64x64), standard (128x128) or large (256x256). Default: the recipe's.")
    ] = "",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Trains; see the module and the command's help."""
    wanted = _Wanted(subject, name, recipe, size, steps, region, empty, resume=resume, force=force)
    run_command(lambda: _train(wanted, runs), debug=debug)


def main() -> None:
    """Runs the command line: a training, or with `look` as the first word a look at a subject."""
    if sys.argv[1:2] == ["look"]:
        from twin_training.look_cli import app as look

        look(sys.argv[2:], prog_name="twin-train look")
    app()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options of a training, as they were given."""

    subject: str
    name: str
    recipe: str
    size: str
    steps: int
    region: str
    empty: str
    resume: bool
    force: bool


def _train(wanted: _Wanted, runs: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from twin_edge.files import refuse_unwritable
    from twin_training.recipe import check_name
    from twin_training.run_guard import check_may_begin
    from twin_training.source import check_wishes

    # What the options ask for comes before what is there: who mistypes one is told so, run or no run.
    check_name(wanted.name)
    _asked(wanted)
    check_wishes(wanted.subject, wanted.region, wanted.empty)
    folder, subject = runs / wanted.name, wanted.subject
    refuse_unwritable(folder, folder=True)
    check_may_begin(folder, resume=wanted.resume, force=wanted.force)
    recipe = _recipe(wanted, folder)
    console = Console(stderr=True)
    console.print(f"subject {subject}, recipe {recipe.name} -> {folder}", soft_wrap=True)
    from twin_training.display import Display

    try:
        with native_stderr_hidden():
            from twin_training.train import train
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"training needs the package {error.name}", fix="pip install 'twin-edge[training]'"
        ) from error
    stop = False

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stop
        if stop:
            sys.exit(_INTERRUPTED)
        stop = True
        console.print("stopping after this step; press Ctrl-C again to stop at once")

    def recorded(done: int, total: int | None) -> None:
        if stop:
            raise KeyboardInterrupt  # nothing to save yet
        display.recorded(done, total)

    def prepared(stage: str) -> None:
        if stop:
            raise KeyboardInterrupt  # nor is there now
        display.prepared(stage)

    before = signal.signal(signal.SIGINT, ask_to_stop)
    try:
        with Display(console) as display:
            outcome = train(
                subject,
                recipe,
                folder,
                resume=wanted.resume,
                force=wanted.force,
                region=wanted.region,
                empty=wanted.empty,
                choose_size=not (wanted.size or wanted.resume),
                on_note=display.note,
                on_recording=recorded,
                on_stage=prepared,
                on_progress=display.trained,
                on_finding=display.warn,
                stopped=lambda: stop,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    if not outcome.finished:
        console.print(
            f"stopped and saved at step {outcome.step}; go on with the same command and --resume", soft_wrap=True
        )
        sys.exit(_INTERRUPTED)
    _tell(console, outcome, folder)


def _tell(console: Console, outcome: Outcome, folder: Path) -> None:
    """Prints how a training ended that went to its end."""
    test, baseline, warnings = (outcome.metrics[name] for name in ("test", "baseline_test", "warnings"))
    console.print(
        f"trained in {outcome.seconds:.0f} s; before conversion, on held-out views: {test['psnr_db']:.2f} dB, "
        f"SSIM {test['ssim']:.3f}",
        highlight=False,
        soft_wrap=True,
    )
    compared = compare(
        test["psnr_db"],
        test["ssim"],
        baseline["psnr_db"],
        baseline["ssim"],
        baseline=baseline["method"],
        rate_bytes=baseline["bytes"],
    )
    style = "bold red" if compared.worse else None
    console.print(f"the twin before conversion is {compared.text}", style=style, highlight=False, soft_wrap=True)
    if warnings:
        kinds = ", ".join(warning["kind"] for warning in warnings)
        count = counted(len(warnings), "warning")
        console.print(f"{count}, see above and {folder / 'metrics.json'}: {kinds}", style="yellow", soft_wrap=True)
    console.print(f"look at {folder / 'samples.png'}, then: twin-convert {folder}", soft_wrap=True)


def _recipe(wanted: _Wanted, folder: Path) -> Recipe:
    """Returns the recipe that the options ask for; that of the run when one is gone on with.

    Raises:
        ConfigError: There is no such recipe, or the run was begun with another one.
    """
    from twin_training.run_guard import check_same, read_recipe

    own = read_recipe(folder) if wanted.resume else None
    if own is not None:
        if wanted.region:
            raise ConfigError("a run that is resumed keeps its region", fix="leave --region out")
        if not (wanted.recipe or wanted.size or wanted.steps):
            return own
    recipe = _asked(wanted, own)
    if own is not None:
        check_same(own, recipe, folder)
        return own
    return recipe


def _asked(wanted: _Wanted, own: Recipe | None = None) -> Recipe:
    """Returns the recipe that the options name; of what they do not say again, that of a run stands.

    Raises:
        ConfigError: There is no such recipe, size or number of steps.
    """
    from twin_training.recipe import in_size, load_recipe, with_steps

    recipe = own if own is not None and not wanted.recipe else load_recipe(wanted.recipe or "auto")
    if wanted.size:
        recipe = in_size(recipe, wanted.size)
    return with_steps(recipe, wanted.steps) if wanted.steps else recipe
