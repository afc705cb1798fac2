"""`twin-edge provision`: certificates and access rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command

HELP = """Make keys, certificates, access rules and settings for a broker and those who use it (on a workstation).

A certificate authority is made the first time and kept. Each device gets a key and a certificate of its own, and the
broker rules by which it writes its own topics only. Run it again to add a device: nothing that is there is made anew,
but certificates that end within 30 days. TWIN_EDGE_CA_PASSPHRASE encrypts the authority's key.

\b
  twin-edge provision org.acme/cam-01 org.acme/cam-02 --broker-host broker.lan
  twin-edge provision --viewer ada --home-assistant ha     subscribers, one certificate each
  twin-edge provision org.acme/cam-01 --force              a new key for a device that was lost
  twin-edge provision                                      rules anew, after a folder was taken away
"""


def command(
    *,
    twins: Annotated[
        list[str] | None, typer.Argument(metavar="NS/DEV...", help="Devices, by twin id.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything.")] = Path("provision"),
    broker_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Name or address of the broker; repeat it for more. Default: this machine."),
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(metavar="P", min=1, max=65535, help="TCP port. Default: 8883")
    ] = None,
    bind: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address that the broker listens on. Default: all.")
    ] = None,
    viewer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A subscriber: reads every twin, asks for keys.")
    ] = None,
    operator: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A subscriber that may set values and models too.")
    ] = None,
    home_assistant: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Home Assistant: an operator with its own topics.")
    ] = None,
    ditto: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Eclipse Ditto: reads states, sends commands.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An authority's certificate that you have. Default: make one.")
    ] = None,
    ca_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    days: Annotated[int, typer.Option(metavar="N", min=1, help="How long certificates last.")] = 730,
    pin_client_ids: Annotated[
        bool | None,
        typer.Option(
            "--pin-client-ids/--free-client-ids",
            help="Let a certificate have one connection only, under its own name. Default: free.",
        ),
    ] = None,
    install_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the broker will have its files. Default: /etc/mosquitto/twin-edge"),
    ] = None,
    device_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where a device will have its files. Default: /etc/twin-edge")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="New keys for those named, or for the broker; never for the authority.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Provisions; see the command's help."""
    site = {
        "hosts": tuple(broker_host) if broker_host else None,
        "port": broker_port,
        "bind": bind,
        "pin_client_ids": pin_client_ids,
        "install_dir": install_dir,
        "device_dir": device_dir,
    }

    def run() -> None:
        from twin_edge.cli.output import print_json
        from twin_edge.provisioning import Client, Plan, Role, next_steps, provision
        from twin_edge.sync import TwinId

        named = {
            Role.VIEWER: viewer,
            Role.OPERATOR: operator,
            Role.HOME_ASSISTANT: home_assistant,
            Role.DITTO: ditto,
        }
        plan = Plan(
            tuple(TwinId.parse(twin) for twin in twins or ()),
            tuple(Client(role, name) for role, names in named.items() for name in names or ()),
            out,
            {name: value for name, value in site.items() if value is not None},
            ca,
            ca_key,
            days,
            force,
        )
        done = provision(plan)
        if json:
            print_json(done.to_json())
        else:
            typer.echo(next_steps(plan, done))

    run_command(run, debug=debug)
