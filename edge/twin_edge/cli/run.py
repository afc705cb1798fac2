"""`twin-edge run`: the device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command
from twin_edge.cli.options import CaFile, CertFile, KeyFile, PasswordFile, Protocol

HELP = """Run the twin of a camera, and keep it in sync over MQTT.

Each frame becomes a state of a few bytes, which is published; the runtime measures how far reality is from the twin
and reports it. While the broker is away, what it should know waits on the disk. Ctrl-C or SIGTERM ends it cleanly. A
password for the broker is taken from TWIN_EDGE_MQTT_PASSWORD.

\b
  twin-edge run --broker embedded:                          try it: built-in rig, built-in broker
  twin-edge run --camera 0 --broker mqtt://pi@broker.lan    a USB camera
  twin-edge run --camera film.mp4 --fps max --json          a video, as fast as possible
  twin-edge run --config twin.toml --wait-for-broker        a service
"""


def command(
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The .twin file. Default: the only one in ./bundles.", show_default=False),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="rig:, a video, images:DIR, 0, /dev/video0, csi:0, rtsp:// or http://. Default: rig:"
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="mqtt(s)://[USER@]HOST[:PORT], ws(s)://, or embedded:[PORT]. Default: mqtt://localhost:1883",
        ),
    ] = None,
    twin: Annotated[
        str | None, typer.Option(metavar="NS/DEV", help="Twin id. Default: org.twin-edge/ and the host's name.")
    ] = None,
    fps: Annotated[
        str | None, typer.Option(metavar="F", help="States per second at most, or max. Default: the source's own.")
    ] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", help="End after this many frames.")] = None,
    duration_s: Annotated[
        float | None, typer.Option("--duration-s", "--duration", metavar="S", help="End after this many seconds.")
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="CPU threads for one inference. Default: 1")] = None,
    gap_every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Render and measure the gap on every N-th frame, and on each while something is strange. Default: 5",
        ),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(metavar="NAME", help="delta (predicted and entropy-coded) or raw. Default: delta")
    ] = None,
    batch_ms: Annotated[
        float | None,
        typer.Option(metavar="MS", help="How long a state may wait to share a packet; 0: not at all. Default: 250"),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(metavar="N", help="Level of the codec, 0 is the finest. Default: 1")
    ] = None,
    kbps: Annotated[
        float | None, typer.Option(metavar="K", help="Choose the level by this rate instead, headers included.")
    ] = None,
    preview: Annotated[
        bool | None, typer.Option("--preview/--no-preview", help="Publish a picture every 5 s. Default: no preview")
    ] = None,
    preview_source: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="rendering, or camera: then frames leave the device. Default: rendering"),
    ] = None,
    homeassistant: Annotated[
        bool | None,
        typer.Option("--homeassistant/--no-homeassistant", help="Announce the device to Home Assistant. Default: yes"),
    ] = None,
    ditto: Annotated[
        bool | None,
        typer.Option("--ditto/--no-ditto", help="Make the device known to Eclipse Ditto. Default: yes"),
    ] = None,
    wait_for_broker: Annotated[
        bool | None,
        typer.Option("--wait-for-broker/--no-wait-for-broker", help="Start without a broker and keep trying."),
    ] = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    protocol: Protocol = None,
    state_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the counters are kept.")] = None,
    spool_mb: Annotated[
        float | None,
        typer.Option(metavar="MB", help="What may wait for a broker that is away; 0 for nothing on disk. Default: 8"),
    ] = None,
    spool_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it waits on the disk. Default: beside the counters.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with these flags as keys (duration-s = 60); flags win."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print statistics each second as JSON lines.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Runs a twin; see the command's help."""
    flags: dict[str, object] = {
        "bundle": bundle,
        "camera": camera,
        "broker": broker,
        "twin": twin,
        "fps": fps,
        "frames": frames,
        "duration_s": duration_s,
        "threads": threads,
        "gap_every": gap_every,
        "codec": codec,
        "batch_ms": batch_ms,
        "quality": quality,
        "kbps": kbps,
        "preview": preview,
        "preview_source": preview_source,
        "homeassistant": homeassistant,
        "ditto": ditto,
        "wait_for_broker": wait_for_broker,
        "ca_file": ca_file,
        "cert_file": cert_file,
        "key_file": key_file,
        "password_file": password_file,
        "protocol": protocol,
        "state_dir": state_dir,
        "spool_mb": spool_mb,
        "spool_dir": spool_dir,
    }
    run_command(lambda: _run(config, flags, json=json), debug=debug)


def _run(path: Path | None, flags: dict[str, object], *, json: bool) -> None:
    from twin_edge.cli.output import RunScreen, describe_summary, print_json
    from twin_edge.cli.signals import stop_on_signals
    from twin_edge.config import load_run_config, parse_fps

    if flags["fps"] is not None:
        flags["fps"] = parse_fps(flags["fps"])
    config = load_run_config(path, flags)
    from twin_edge.runtime import DeviceRuntime

    if json:
        runtime = DeviceRuntime(config, on_stats=lambda stats: print_json(stats.to_json()))
        stop_on_signals(runtime.stop, lambda: runtime.serving)
        print_json(runtime.run().to_json())
        return
    with RunScreen() as screen:
        runtime = DeviceRuntime(config, on_stats=screen.show)
        stop_on_signals(runtime.stop, lambda: runtime.serving)
        summary = runtime.run()
    print(describe_summary(summary), file=sys.stderr)  # noqa: T201 - for people
