"""`twin-edge record`: twins to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command
from twin_edge.cli.options import CaFile, CertFile, KeyFile, PasswordFile

HELP = """Record twins: states, events, reports and bundles to one file, at a few bytes a state.

What was heard is on the disk within a second, and a crash takes no more than that. Recording into the same file again
adds to it. Ctrl-C ends it; so do --duration-s, --frames and --max-mb. Look into it with 'twin-edge replay', while it is
being written as well.

\b
  twin-edge record day.twinrec                                   all twins of this machine's broker
  twin-edge record --twin 'org.acme/*' --max-mb 500 week.twinrec
  twin-edge record --broker mqtts://broker.lan --twin org.acme/cam-01 --duration-s 3600 hour.twinrec
"""


def command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recording; one that is there is added to.")],
    broker: Annotated[
        str, typer.Option(metavar="URL", help="mqtt(s)://[USER@]HOST[:PORT] or ws(s)://.")
    ] = "mqtt://localhost:1883",
    twin: Annotated[str, typer.Option(metavar="NS/DEV", help="Twin id, * for any part of it.")] = "*/*",
    duration_s: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="End after this many seconds.")] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", min=1, help="End when there are this many states.")] = None,
    max_mb: Annotated[
        float | None, typer.Option(metavar="MB", min=1, help="End before the file is larger than this.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option(metavar="S", min=0, help="Give up when no state has come by then; 0 never does.")
    ] = 30.0,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where fetched bundles are kept.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the counters of each second as a JSON line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Records twins; see the command's help."""

    def record_() -> None:
        import threading

        from twin_edge.cli.recordings import RecordPrinter
        from twin_edge.cli.signals import stop_on_signals
        from twin_edge.recording import RecordConfig, record

        stop = threading.Event()
        stop_on_signals(stop.set, lambda: True)
        config = RecordConfig(
            broker,
            file,
            twin,
            duration_s=duration_s,
            frames=frames,
            max_bytes=None if max_mb is None else round(max_mb * 1e6),
            timeout_s=timeout_s,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            password_file=password_file,
            cache_dir=cache_dir,
        )
        printer = RecordPrinter(json=json)
        printer.end(record(config, stop=stop, on_stats=printer.stats), file)

    run_command(record_, debug=debug)
