"""Whether an emulated 64-bit Arm device renders what this machine does.

    python benchmarks/aarch64.py [BUNDLE ...]

Makes a Debian root and the device's aarch64 wheels in .aarch64/ (once; as root, with debootstrap and qemu-user-static
from apt), lets the twin of each bundle read views and render states there with tflite-runtime, and holds that against
every runtime of this machine. It shows that things work, not how fast: an emulated processor has no speed. LiteRT's
wheel crashes in qemu 7.2, so it is compared on this machine only. Writes benchmarks/results/aarch64.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from comparison.rendered import Rendered, render_all_states
from twin_edge.bundle import Bundle
from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic
from twin_edge.imagining import draw_states
from twin_edge.models import installed_runtimes

RESULT: Final = Path("benchmarks/results/aarch64.json")
HOME: Final = Path(".aarch64")
QEMU: Final = "qemu-aarch64-static"
PYTHON: Final = "usr/bin/python3.11"
PACKAGES: Final = "python3-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1,libexpat1,zlib1g"
WHEELS: Final = ("tflite-runtime==2.14.0", "numpy==1.26.4", "opencv-python-headless==4.11.0.86")
PLATFORMS: Final = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_34_aarch64")
STATES: Final = 48
TOLERANCE: Final = 2
WIDTH: Final = 120


def make_root(console: Console) -> None:
    """Makes root and wheels if they are not there."""
    if (HOME / "done").exists():
        return
    for tool in ("debootstrap", QEMU):
        if shutil.which(tool) is None:
            sys.exit(f"error: there is no {tool}: apt install debootstrap qemu-user-static")
    console.print(f"making {HOME}: a Debian root and the wheels of a device, a few minutes")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    # The whole path: of a relative one debootstrap looks for the folder above it.
    root, wheels = (HOME / "root").resolve(), HOME / "wheels"
    _run("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root)
    # The second stage would run Arm programs as root; unpacking is enough for an interpreter.
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        _run("dpkg", "-x", package, root)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
    _run(*pip, "--python-version", "3.11", "--implementation", "cp", *platforms, "--dest", wheels, *WHEELS)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(HOME / "site")
    (HOME / "done").touch()


def emulated(bundle: Path, states: Path, out: Path) -> Rendered:
    """Returns what the emulated device makes of a bundle's golden views and of states."""
    here = Path(__file__).resolve().parent
    paths = [HOME.resolve() / "site", here.parent / "edge", here]
    program = (
        f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}; from comparison.rendered import main; main()"
    )
    root = HOME / "root"
    _run(QEMU, "-L", root, root / PYTHON, "-c", program, bundle.resolve(), states, out)
    return Rendered.load(out)


def compare(bundle_path: Path, console: Console) -> list[dict[str, Any]]:
    """Returns a row for each runtime of this machine beside the emulated one."""
    bundle = Bundle.open(bundle_path)
    states = draw_states(bundle.manifest.state, STATES, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "states.npy"
        np.save(given, states)
        console.print(f"{bundle_path.name}: {STATES} states on an emulated device")
        there = emulated(bundle_path, given, Path(folder) / "out.npz")
    rows = []
    for runtime in installed_runtimes():
        here = render_all_states(bundle, states, runtime)
        apart = np.abs(here.renderings.astype(int) - there.renderings)
        rows.append(
            {
                "bundle": bundle.manifest.name,
                "digest": bundle.digest,
                "here": here.runtime,
                "there": there.runtime,
                "states": STATES,
                "state_steps_apart": int(np.abs(here.states.astype(int) - there.states).max()),
                "levels_apart": int(apart.max()),
                "share_beyond_2": float((apart > TOLERANCE).mean()),
            }
        )
    return rows


def main() -> int:
    """Compares, prints and keeps; returns 1 when renderings are further apart than they may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path, default=sorted(Path("bundles").glob("*.twin")))
    options = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        make_root(console)
        rows = [row for bundle in options.bundles for row in compare(bundle, console)]
    except TwinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write_atomic(RESULT, (json.dumps(rows, indent=1) + "\n").encode())
    table = Table("bundle", "here", "emulated aarch64", "states apart", "pixels apart", "beyond 2/255")
    for row in rows:
        steps, levels = f"{row['state_steps_apart']} steps", f"{row['levels_apart']}/255"
        table.add_row(row["bundle"], row["here"], row["there"], steps, levels, f"{row['share_beyond_2']:.1e}")
    console.print(table)
    return int(any(row["levels_apart"] > TOLERANCE for row in rows))


def _run(*command: str | Path) -> None:
    words: Sequence[str] = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        sys.exit(f"error: {words[0]} failed ({lines[-1]:.300})")


if __name__ == "__main__":
    sys.exit(main())
