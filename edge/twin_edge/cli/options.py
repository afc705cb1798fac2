"""Options that several commands have: how to reach a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CaFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file of the authorities for mqtts:// and wss://.")
]
CertFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file of the certificate to log in with (mTLS).")
]
KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM file of its key. Default: the certificate's file.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File with the password. Default: TWIN_EDGE_MQTT_PASSWORD, or systemd's."),
]
Protocol = Annotated[str | None, typer.Option(metavar="VERSION", help="MQTT version: auto, 5 or 3.1.1. Default: auto")]
