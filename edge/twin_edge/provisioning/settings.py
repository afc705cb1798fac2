"""Texts that provisioning writes: mosquitto's listener, and the settings of a device and of a client."""

from __future__ import annotations

from typing import Final

from twin_edge.provisioning.plan import Site, is_address
from twin_edge.sync.wire.topics import TwinId

MAX_PACKET_BYTES: Final = 262_144
"""Longest MQTT packet: the index of the largest bundle fits."""

_LISTENER: Final = """\
# A TLS listener for twin-edge: made by 'twin-edge provision', which writes it anew each time.
# Everybody shows a certificate of our authority, whose common name is the user name; 'acl' says what each may do.
# An acl_file counts for every listener of this broker, unless per_listener_settings is on.
listener {port}{bind}
cafile {folder}/ca.pem
certfile {folder}/cert.pem
keyfile {folder}/key.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid {pin}
allow_anonymous false
acl_file {folder}/acl
max_packet_size {packet}
max_queued_bytes 8388608
"""


def listener(site: Site) -> str:
    """Returns the text of mosquitto's configuration."""
    return _LISTENER.format(
        port=site.port,
        bind=f" {site.bind}" if site.bind else "",
        folder=site.install_dir,
        pin="true" if site.pin_client_ids else "false",
        packet=MAX_PACKET_BYTES,
    )


def settings(url: str, folder: str, twin: TwinId | None = None) -> str:
    """Returns the text of a TOML file for `--config` of `twin-edge run`, or `--peer` of `twin-edge doctor`.

    Args:
        url: Of the broker.
        folder: Where certificate and key will be.
        twin: The device; None for a client, which is none.
    """
    lines = ["# Made by 'twin-edge provision'."]
    if twin is not None:
        lines.append(f'twin = "{twin}"')
    lines.append(f'broker = "{url}"')
    lines += [f'{name}-file = "{folder}/{file}.pem"' for name, file in (("ca", "ca"), ("cert", "cert"), ("key", "key"))]
    if twin is not None:
        lines.append("wait-for-broker = true")
    return "\n".join(lines) + "\n"


def broker_url(host: str, port: int) -> str:
    """Returns the URL of a broker with TLS."""
    shown = f"[{host}]" if is_address(host) and ":" in host else host
    return f"mqtts://{shown}:{port}"
