"""`twin-edge watch`: a subscriber of one twin or many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command
from twin_edge.cli.options import CaFile, CertFile, KeyFile, PasswordFile

HELP = """Follow twins: fetch their bundles from the broker, read their states, show what is heard.

Without --twin, the first twin that is found is followed, one that is online if possible. With a pattern, all twins that
match are followed over one connection, those included that come later; they are rendered with --save only. On a
terminal a table stays in place; elsewhere it is a line a second, or one for each update with --json. Ctrl-C ends it. A
password for the broker is taken from TWIN_EDGE_MQTT_PASSWORD.

\b
  twin-edge watch                                      whatever is on this machine's broker
  twin-edge watch --twin 'org.acme/*'                  all twins of a namespace; '*/*' for all of a broker
  twin-edge watch --frames 100 --save watched          100 pictures, and a contact sheet of them
  twin-edge watch --broker mqtts://broker.lan --twin org.acme/cam-01 --json
"""


def command(
    *,
    broker: Annotated[
        str, typer.Option(metavar="URL", help="mqtt(s)://[USER@]HOST[:PORT] or ws(s)://.")
    ] = "mqtt://localhost:1883",
    twin: Annotated[
        str | None,
        typer.Option(metavar="NS/DEV", help="Twin id, * for any part of it. Default: the first one found."),
    ] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after this many updates.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write renderings and contact-sheet.png there.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option(metavar="S", min=0, help="Give up when nothing comes for this long; 0 never does.")
    ] = 10.0,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where fetched bundles are kept.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each update as a JSON line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Follows a twin; see the command's help."""

    def watch() -> None:
        from twin_edge.cli.output import WatchPrinter
        from twin_edge.cli.signals import interrupt_on_sigterm
        from twin_edge.cli.watch_screen import WatchScreen
        from twin_edge.watching import WatchConfig, WatchSummary, watch

        interrupt_on_sigterm()
        config = WatchConfig(
            broker,
            twin,
            frames=frames,
            save=save,
            timeout_s=timeout_s,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            password_file=password_file,
            cache_dir=cache_dir,
        )
        printer = WatchPrinter(json=json)
        if json:
            watch(config, on_update=printer.update, on_end=printer.summary)
            return
        summaries: list[WatchSummary] = []
        try:
            with WatchScreen(lines=config.several) as screen:
                # What the table shows needs no lines; a single twin without a terminal has a line of its own.
                shown = screen.live or config.several
                on_update = (lambda _: None) if shown else printer.update
                watch(config, on_update=on_update, on_end=summaries.append, on_status=screen.show)
        finally:
            # Told when the table is gone, however the watch ends.
            for summary in summaries:
                printer.summary(summary)

    run_command(watch, debug=debug)
