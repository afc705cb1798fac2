"""`twin-edge capture`: a recording to train on."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twin_edge.cli.common import run_command

if TYPE_CHECKING:
    from twin_edge.filming import FilmStats

HELP = """Film a subject with the camera and from the place that the twin will have, to train on.

Frames keep the times that they had. Ctrl-C ends it with a whole video; so do --minutes, --frames and --max-mb. A camera
that goes away is waited for. Everything is filmed: --region is drawn on the preview, and given to twin-train.

\b
  twin-edge capture --camera 0 --minutes 5 -o boiler.mkv
  twin-edge capture --camera 0 --preview framing.png                       frame first: films nothing
  twin-edge capture --camera csi:0 --lock-exposure --fps 12 -o boiler.mkv
  twin-edge capture --camera 0 --every 2s --minutes 600 -o tank.mkv        time-lapse
"""

_EVERY_S: Final = 5.0
_REASONS: Final = {
    "stopped": "stopped",
    "ended": "the camera's end",
    "duration": "the time is over",
    "frames": "all frames are there",
    "full": "the video is as large as it may be (--max-mb)",
    "disk": "the disk is nearly full",
}


def command(
    *,
    camera: Annotated[
        str, typer.Option(metavar="URI", help="0, /dev/video0, csi:0, rtsp://, http://, a video, images:DIR or rig:.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The video, FILE.mkv.", show_default=False)
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="End after this many minutes.")] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", help="End after this many frames.")] = None,
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time-lapse: a frame each 2s, 500ms or 1m. Default: all frames")
    ] = None,
    fps: Annotated[float | None, typer.Option(metavar="F", help="Frames per second at most. Default: all")] = None,
    max_mb: Annotated[float, typer.Option(metavar="MB", help="End before the video is larger than this.")] = 4000.0,
    quality: Annotated[int, typer.Option(metavar="Q", help="Quality of each picture (JPEG), 50 to 100.")] = 92,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A picture of the framing, FILE.png, replaced every 3 s.", show_default=False
        ),
    ] = None,
    region: Annotated[
        str, typer.Option(metavar="X,Y,W,H", help="What the preview marks: pixels, or fractions of the frame.")
    ] = "",
    lock_exposure: Annotated[
        bool, typer.Option("--lock-exposure", help="Hold exposure and white balance after 2 s, where that is possible.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a video that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the counters of each second as a JSON line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Films a subject; see the command's help."""

    def capture() -> None:
        import threading

        from twin_edge.cli.output import print_json
        from twin_edge.cli.signals import stop_on_signals
        from twin_edge.filming import FilmConfig, film
        from twin_edge.filming.config import interval_of
        from twin_edge.preprocess.region import parse_region

        config = FilmConfig(
            camera,
            output,
            seconds=None if minutes is None else minutes * 60,
            frames=frames,
            interval_s=interval_of(every, fps),
            max_bytes=round(max_mb * 1e6),
            quality=quality,
            lock_exposure=lock_exposure,
            preview=preview,
            region=parse_region(region) if region else None,
            force=force,
        )
        stop = threading.Event()
        started = False
        stop_on_signals(stop.set, lambda: started)
        printed_s = time.monotonic() - _EVERY_S + 1

        def tell(stats: FilmStats) -> None:
            nonlocal printed_s, started
            started = True
            if json:
                print_json(stats.to_json())
            elif time.monotonic() - printed_s >= _EVERY_S:
                printed_s = time.monotonic()
                _say(describe(stats))

        stats = film(config, stop=stop, on_stats=tell, on_notice=_say)
        if json:
            print_json(stats.to_json())
            return
        typer.echo(f"{_REASONS[stats.reason]}: {describe(stats)}{f' in {output}' if output and stats.frames else ''}")
        if output and stats.frames:
            typer.echo(f"look at what it shows: twin-train look {output}")

    run_command(capture, debug=debug)


def describe(stats: FilmStats) -> str:
    """Returns how a filming does, on one line."""
    camera = "" if stats.reason or stats.camera == "streaming" else f", CAMERA {stats.camera.upper()}"
    dropped = f", {stats.dropped} DROPPED" if stats.dropped else ""
    return (
        f"{stats.frames} frames of {stats.width}x{stats.height}, {stats.seconds:.0f} s, {stats.fps:.2f} fps, "
        f"{stats.bytes / 1e6:.1f} MB{dropped}{camera}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for people
