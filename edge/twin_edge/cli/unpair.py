"""`twin-edge unpair`: takes a device away from Home Assistant."""

from __future__ import annotations

from typing import Annotated

import typer

from twin_edge.cli.common import run_command
from twin_edge.cli.options import CaFile, CertFile, KeyFile, PasswordFile

HELP = """Take a device away from Home Assistant, with all its entities.

The announcement is retained on the broker; this clears it. A device that still runs announces itself again with its
next connection: stop it first, or run it with --no-homeassistant. A password for the broker is taken from
TWIN_EDGE_MQTT_PASSWORD.

\b
  twin-edge unpair --twin org.acme/cam-01
  twin-edge unpair --twin org.acme/cam-01 --everything     its state, key packet and bundle too
"""


def command(
    *,
    twin: Annotated[str, typer.Option(metavar="NS/DEV", help="Twin id.", show_default=False)],
    broker: Annotated[
        str, typer.Option(metavar="URL", help="mqtt(s)://[USER@]HOST[:PORT] or ws(s)://.")
    ] = "mqtt://localhost:1883",
    everything: Annotated[
        bool, typer.Option("--everything", help="Clear whatever else the broker keeps of the twin.")
    ] = False,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was cleared as a JSON line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Unpairs a device; see the command's help."""

    def run() -> None:
        from twin_edge.cli.output import print_json
        from twin_edge.sync import BrokerConfig, TwinId
        from twin_edge.unpairing import unpair

        twin_id = TwinId.parse(twin)
        config = BrokerConfig.from_url(
            broker, ca_file=ca_file, cert_file=cert_file, key_file=key_file, password_file=password_file
        )
        cleared = unpair(config, twin_id, everything=everything)
        if json:
            print_json({"type": "unpair", "twin": str(twin_id), "cleared": cleared})
        else:
            typer.echo(f"{twin_id}: {cleared} retained messages cleared")

    run_command(run, debug=debug)
