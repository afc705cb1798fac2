"""`twin-edge broker`: a small broker for trying things."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Run a small MQTT broker until Ctrl-C, for trying things without installing one.

It has no users and keeps retained messages in memory only, so it listens on this machine only unless told otherwise.
For anything that lasts, install mosquitto.

\b
  twin-edge broker
  twin-edge broker --port 0          a free port; the URL is printed
"""

_LONG_S = 3600.0


def command(
    *,
    port: Annotated[int, typer.Option(metavar="P", min=0, max=65535, help="TCP port; 0 takes a free one.")] = 1883,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Runs a broker; see the command's help."""

    def serve() -> None:
        from twin_edge.cli.signals import interrupt_on_sigterm
        from twin_edge.sync.mqtt.broker import EmbeddedBroker

        interrupt_on_sigterm()
        try:
            with EmbeddedBroker(host, port) as broker:
                typer.echo(broker.url)
                while True:
                    time.sleep(_LONG_S)
        except KeyboardInterrupt:
            return

    run_command(serve, debug=debug)
