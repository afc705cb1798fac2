"""`twin-edge doctor`: what is wrong, found by trying it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from twin_edge.cli.common import run_command
from twin_edge.cli.options import CaFile, CertFile, KeyFile, PasswordFile, Protocol

HELP = """Try everything that a device does, and say what is wrong and how to put it right.

Runtime, bundle and camera, then the way to the broker: name, port, TLS and clock, login, every topic that is written,
the will, what is read, and sizes. Nobody is disturbed: nothing is retained, no subscriber sees a change, and a device
that runs keeps its connection. The exit code is that of the first failure: 2 configuration, 3 bundle, 4 camera,
5 broker, 1 anything else.

\b
  twin-edge doctor --config /etc/twin-edge/twin.toml
  twin-edge doctor --broker mqtts://broker.lan --ca-file ca.pem --twin org.acme/cam-01 --camera 0
  twin-edge doctor --config twin.toml --peer provision/clients/viewer/ada/broker.toml --json
"""


def command(
    *,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of 'twin-edge run'; flags win.", show_default=False)
    ] = None,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="Default: mqtt://localhost:1883")] = None,
    twin: Annotated[str | None, typer.Option(metavar="NS/DEV", help="Twin id. Default: from the host's name.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the only one in ./bundles, if there is one.")
    ] = None,
    camera: Annotated[str | None, typer.Option(metavar="URI", help="Default: rig:")] = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    password_file: PasswordFile = None,
    protocol: Protocol = None,
    state_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the counters are kept.")] = None,
    peer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file of a subscriber, which sends this device a ping."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(metavar="S", min=0.1, help="Longest wait for an answer.")] = 5.0,
    json: Annotated[bool, typer.Option("--json", help="Print each finding as a JSON line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show debug logs and tracebacks.")] = False,
) -> None:
    """Examines a device; see the command's help."""
    flags: dict[str, object] = {
        "broker": broker,
        "twin": twin,
        "bundle": bundle,
        "camera": camera,
        "ca_file": ca_file,
        "cert_file": cert_file,
        "key_file": key_file,
        "password_file": password_file,
        "protocol": protocol,
        "state_dir": state_dir,
    }
    run_command(lambda: _examine(config, flags, peer, timeout_s, json=json), debug=debug)


def _examine(path: Path | None, flags: dict[str, object], peer: Path | None, timeout_s: float, *, json: bool) -> None:
    from twin_edge.cli.findings import FindingsPrinter
    from twin_edge.config import load_run_config
    from twin_edge.doctor import DoctorConfig, examine, exit_code_of
    from twin_edge.doctor.machine import find_only_bundle

    run = load_run_config(path, flags)
    config = DoctorConfig(
        run,
        None if peer is None else load_run_config(peer, {}),
        has_bundle=run.bundle is not None or find_only_bundle(),
        timeout_s=timeout_s,
    )
    with FindingsPrinter(json=json) as printer:
        findings = [printer.show(finding) for finding in examine(config)]
    sys.exit(exit_code_of(findings))
