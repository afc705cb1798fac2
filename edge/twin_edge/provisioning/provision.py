"""Provisioning: a folder of certificates, keys, rules and settings that grows device by device.

```
OUT/site.json    the broker's names and port, and where files will be
OUT/ca/          ca.pem key.pem                          the authority: its key signs everything, keep it safe
OUT/broker/      ca.pem cert.pem key.pem acl mosquitto.conf
OUT/devices/NAMESPACE/DEVICE/   ca.pem cert.pem key.pem twin.toml
OUT/clients/ROLE/NAME/          ca.pem cert.pem key.pem broker.toml
```

The folder is the record: whoever has a folder in it is in the access rules, and who is taken out of it is not. Run
again, it keeps every key, and makes anew certificates that end soon.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from twin_edge.errors import ConfigError
from twin_edge.files import write_atomic, writing
from twin_edge.provisioning.access import Role, access_rules
from twin_edge.provisioning.authority import Authority, Issued, belongs, new_key, require_cryptography
from twin_edge.provisioning.plan import Client, Plan, Roster, Site
from twin_edge.provisioning.settings import broker_url, listener, settings
from twin_edge.sync.mqtt.credentials import check_private
from twin_edge.sync.wire.topics import TwinId

PASSPHRASE_VARIABLE: Final = "TWIN_EDGE_CA_PASSPHRASE"  # noqa: S105 - the variable's name
"""Environment variable with the passphrase of the authority's key; without it, the key is not encrypted."""
_SOON: Final = timedelta(days=30)
_MAX_PEM_BYTES: Final = 64 * 1024
_PRIVATE: Final = 0o600


@dataclass(slots=True)
class Provisioned:
    """What was done."""

    url: str = ""
    """Of the broker, for devices and clients."""
    files: dict[Path, str] = field(default_factory=dict)
    """What became of each certificate and key: `made`, `kept` or `renewed`."""
    site: Site = field(default_factory=Site)
    """The broker, and where files will be."""
    roster: Roster = field(default_factory=Roster)
    """Everybody who may use the broker now."""

    def to_json(self) -> dict[str, Any]:
        """Returns what was done as an object of JSON."""
        return {
            "type": "provisioned",
            "broker": self.url,
            "files": {str(path): what for path, what in self.files.items()},
            "devices": [str(twin) for twin in self.roster.twins],
            "clients": [{"role": client.role.value, "name": client.name} for client in self.roster.clients],
        }


def provision(plan: Plan, environ: Mapping[str, str] | None = None) -> Provisioned:
    """Makes what is missing.

    Args:
        plan: What is wanted.
        environ: The environment; that of this process when None.

    Raises:
        ConfigError: Two would have the same name, or a file that is there cannot be used.
        TwinEdgeError: A file cannot be written.
    """
    require_cryptography()
    if not plan.twins and not plan.clients and not (plan.out / "broker").exists():
        raise ConfigError("there is nobody to provision", fix="name a device, such as org.acme/cam-01")
    # Before anything is written: a name that is taken leaves no half of a device behind.
    found = _found(plan.out)
    twins = tuple(sorted({*found.twins, *plan.twins}))
    clients = tuple(sorted({*found.clients, *plan.clients}, key=lambda client: (client.role.value, client.name)))
    done = Provisioned(roster=Roster(twins, clients))
    worker = _Worker(plan, done, os.environ if environ is None else environ)
    worker.broker()
    for twin in twins:
        named = twin in plan.twins
        folder = plan.out / "devices" / twin.namespace / twin.device
        worker.client(folder, twin.device, force=plan.force and named)
        worker.write(folder / "twin.toml", settings(done.url, worker.site.device_dir, twin))
    for client in clients:
        named = client in plan.clients
        folder = plan.out / "clients" / client.role.value / client.name
        worker.client(folder, client.name, force=plan.force and named)
        worker.write(folder / "broker.toml", settings(done.url, str(folder.resolve())))
    return done


class _Worker:
    """Writes the files of a plan."""

    def __init__(self, plan: Plan, done: Provisioned, environ: Mapping[str, str]) -> None:
        self._plan = plan
        self._done = done
        self.site = done.site = _site(plan)
        self._authority = self._open_authority(environ.get(PASSPHRASE_VARIABLE) or None)

    def broker(self) -> None:
        """Writes the files of the broker."""
        plan, folder = self._plan, self._plan.out / "broker"
        site = self.site
        self._pair(folder, site.hosts[0], hosts=site.hosts, force=plan.force and not plan.twins and not plan.clients)
        self._done.url = broker_url(site.hosts[0], site.port)
        self.write(folder / "acl", access_rules(self._done.roster.twins, self._done.roster.clients))
        self.write(folder / "mosquitto.conf", listener(site))
        write_atomic(plan.out / "site.json", site.to_bytes())

    def client(self, folder: Path, name: str, *, force: bool) -> None:
        """Writes certificate and key of a device or another client."""
        self._pair(folder, name, force=force)

    def write(self, path: Path, text: str) -> None:
        """Writes a file that holds no secret."""
        write_atomic(path, text.encode())

    def _pair(self, folder: Path, name: str, *, force: bool, hosts: tuple[str, ...] = ()) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_path, cert_path = folder / "key.pem", folder / "cert.pem"
        has_key = key_path.exists() and not force
        if has_key:
            check_private(key_path, "key")
            key = _read(key_path)
        else:
            key = new_key()
            write_atomic(key_path, key, mode=_PRIVATE)
        self._done.files[key_path] = "kept" if has_key else "made"
        if has_key and self._is_good(cert_path, key, name, hosts):
            self._done.files[cert_path] = "kept"
        else:
            self._done.files[cert_path] = "renewed" if has_key and cert_path.exists() else "made"
            self.write(cert_path, self._authority.issue(name, key, self._plan.days, hosts=hosts).decode())
        self.write(folder / "ca.pem", self._authority.certificate_pem.decode())

    def _is_good(self, path: Path, key: bytes, name: str, hosts: tuple[str, ...]) -> bool:
        """Returns whether the certificate that is there can stay."""
        if not path.exists():
            return False
        certificate = _read(path)
        issued = Issued.read(certificate)
        return (
            issued.name == name
            and set(issued.hosts) == {_normal(host) for host in hosts}
            and issued.not_after - datetime.now(UTC) > _SOON
            and self._authority.has_signed(certificate)
            and belongs(certificate, key)
        )

    def _open_authority(self, passphrase: str | None) -> Authority:
        plan, folder = self._plan, self._plan.out / "ca"
        cert_path, key_path = folder / "ca.pem", folder / "key.pem"
        if plan.ca is not None and plan.ca_key is not None:
            check_private(plan.ca_key, "key")
            certificate, key = _read(plan.ca), _read(plan.ca_key)
            if cert_path.exists() and _read(cert_path) != certificate:
                raise ConfigError(
                    f"{plan.out} belongs to another authority", fix="give that one with --ca, or another --out"
                )
            authority = Authority(certificate, key, passphrase)
            self.write(cert_path, certificate.decode())
            return authority
        if cert_path.exists() and not key_path.exists():
            raise ConfigError(
                f"{folder} has the authority's certificate, but not its key", fix="give both with --ca and --ca-key"
            )
        if not cert_path.exists() and key_path.exists():
            raise ConfigError(f"{folder} has the authority's key, but not its certificate", fix="put ca.pem back there")
        self._done.files[key_path] = "kept" if key_path.exists() else "made"
        if not key_path.exists():
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            certificate, key = Authority.create(passphrase)
            write_atomic(key_path, key, mode=_PRIVATE)
            self.write(cert_path, certificate.decode())
        check_private(key_path, "key")
        return Authority(_read(cert_path), _read(key_path), passphrase)


def _found(out: Path) -> Roster:
    """Returns who is in the folder already; what does not look like ours is left alone."""
    twins, clients = [], []
    for path in out.glob("devices/*/*/cert.pem"):
        with contextlib.suppress(ConfigError):
            twins.append(TwinId(path.parts[-3], path.parts[-2]))
    for path in out.glob("clients/*/*/cert.pem"):
        with contextlib.suppress(ConfigError, ValueError):
            clients.append(Client(Role(path.parts[-3]), path.parts[-2]))
    return Roster(tuple(twins), tuple(clients))


def _site(plan: Plan) -> Site:
    path = plan.out / "site.json"
    known = Site.from_bytes(_read(path)) if path.exists() else Site()
    site = replace(known, **plan.site)
    return site if site.hosts else replace(site, hosts=_own_hosts())


def _own_hosts() -> tuple[str, ...]:
    name = socket.gethostname()
    return tuple(dict.fromkeys((name, f"{name.split('.', maxsplit=1)[0]}.local", "localhost", "127.0.0.1", "::1")))


def _normal(host: str) -> str:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", fix="check the path") from error
    if len(data) > _MAX_PEM_BYTES:
        raise ConfigError(f"{path} is too long for a certificate or a key", fix="give PEM files")
    return data
