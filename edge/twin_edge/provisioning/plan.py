"""What is to be provisioned."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.errors import ConfigError, ManifestError
from twin_edge.provisioning.access import Role
from twin_edge.sync.wire.topics import TwinId

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST: Final = re.compile(r"(?=.{1,64}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\Z")
_FOLDER: Final = re.compile(r"/[\w./@+-]{1,255}")
_ANY: Final = re.compile(r"[ -~]{0,256}")
_MAX_SITE_BYTES: Final = 16 * 1024
_MAX_DAYS: Final = 36_500
_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, order=True)
class Client:
    """Somebody who is no device."""

    role: Role
    """What it may do."""
    name: str
    """User name and common name of its certificate: 1-64 letters, digits, `_`, `-`."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name!r:.80} is no name of a client", fix="give 1 to 64 letters, digits, _ and -, such as ada"
            )


@dataclass(frozen=True, slots=True)
class Site:
    """The broker, and where files will be; kept in the folder, so that it is given once."""

    hosts: tuple[str, ...] = ()
    """Names and addresses of the broker, the one that clients use first; this machine's when empty."""
    port: int = 8883
    """TCP port of the broker, 1-65535."""
    bind: str = ""
    """Address that the broker listens on; all of its machine when empty."""
    pin_client_ids: bool = False
    """Whether the broker takes the certificate's name as client id, so that nobody can use that of another one."""
    install_dir: str = "/etc/mosquitto/twin-edge"
    """Where the files of the broker will be on its machine."""
    device_dir: str = "/etc/twin-edge"
    """Where the files of a device will be on it."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not _HOST.fullmatch(host) and not is_address(host):
                raise ConfigError(f"{host!r:.80} is no host", fix="give a name such as broker.lan, or an IP address")
        if self.bind and not is_address(self.bind):
            raise ConfigError(f"{self.bind!r:.80} is no address", fix="give the IP address to listen on")
        if not 1 <= self.port <= _MAX_PORT:
            raise ConfigError(f"{self.port} is not a port of a broker", fix=f"give one from 1 to {_MAX_PORT}")
        for folder in (self.install_dir, self.device_dir):
            if not _FOLDER.fullmatch(folder) or ".." in folder:
                # It is written into files that others parse.
                raise ConfigError(
                    f"{folder!r:.80} is no folder for the files", fix="give an absolute path without spaces"
                )

    def to_bytes(self) -> bytes:
        """Returns it as JSON."""
        return strict_json.dump({**asdict(self), "hosts": list(self.hosts)}) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Site:
        """Reads what `to_bytes` has written.

        Raises:
            ConfigError: It is something else.
        """
        try:
            item = Item("", strict_json.parse(data, max_bytes=_MAX_SITE_BYTES, max_depth=3))
            item.only(*(each.name for each in fields(cls)))
            return cls(
                tuple(host.text(pattern=_ANY) for host in item["hosts"].list(most=64)),
                item["port"].whole(low=1, high=_MAX_PORT),
                item["bind"].text(pattern=_ANY),
                item["pin_client_ids"].value is True,
                item["install_dir"].text(pattern=_ANY),
                item["device_dir"].text(pattern=_ANY),
            )
        except (ManifestError, ValueError) as error:
            raise ConfigError(
                f"site.json cannot be read ({error})", fix="take it away, and give host and port again"
            ) from error


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be provisioned, beside what is there already."""

    twins: tuple[TwinId, ...] = ()
    """Devices."""
    clients: tuple[Client, ...] = ()
    """Subscribers and programs beside them."""
    out: Path = Path("provision")
    """Folder for everything; what is there is kept."""
    site: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Site` that are to be other than before."""
    ca: Path | None = None
    """PEM certificate of an authority that is there already; one is made when None."""
    ca_key: Path | None = None
    """PEM key of that authority."""
    days: int = 730
    """How long the certificates of broker, devices and clients last, days, 1-36500."""
    force: bool = False
    """Whether to make new keys for those named here, or for the broker when nobody is; never for the authority."""

    def __post_init__(self) -> None:
        if not 1 <= self.days <= _MAX_DAYS:
            raise ConfigError(f"{self.days} days is out of range", fix=f"give 1 to {_MAX_DAYS} days")
        if (self.ca is None) != (self.ca_key is None):
            raise ConfigError("an authority takes a certificate and a key", fix="give both --ca and --ca-key")


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody who may use the broker."""

    twins: tuple[TwinId, ...] = field(default=())
    clients: tuple[Client, ...] = field(default=())

    def __post_init__(self) -> None:
        names: dict[str, str] = {}
        everybody = [(twin.device, f"the device {twin}") for twin in self.twins]
        everybody += [(client.name, f"the {client.role.value} {client.name}") for client in self.clients]
        for name, who in everybody:
            if name in names:
                raise ConfigError(
                    f"{names[name]} and {who} would have the same name at the broker",
                    fix="rename one of them: the device part alone is the user name, whatever the namespace",
                )
            names[name] = who


def is_address(host: str) -> bool:
    """Returns whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
