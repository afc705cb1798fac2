"""The exact renderer beside both TFLite runtimes: values that come out otherwise, and milliseconds a picture.

    python benchmarks/renderer.py bundles/rig.twin bundles/face.twin

For each bundle, states of all kinds are drawn by the renderer and by every installed runtime: both ends of the range
in any mixture, what is usual, and anything. Every value of the output tensor is compared. Everything runs on one thread
and is timed in turns. Writes benchmarks/results/renderer.json.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: the runtimes are measured on one thread as well.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from comparison.timing import in_turns
from twin_edge.bundle import Bundle
from twin_edge.bundle.archive import GENERATOR
from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic
from twin_edge.frame_cost import single_threaded_opencv
from twin_edge.models import Generator, Quantization, installed_runtimes, load_runtime
from twin_edge.twin.exact import ExactGenerator

RESULTS: Final = Path(__file__).parent / "results" / "renderer.json"
STATES: Final = 2000
ROUNDS: Final = 400
WARM_UP: Final = 20
USUAL: Final = 25.0
"""Deviation of usual latent values, steps."""
OURS: Final = "numpy"


@dataclass(frozen=True, slots=True)
class Row:
    """One bundle drawn by one runtime."""

    twin: str
    """Name of the bundle's file."""
    runtime: str
    """What drew it."""
    states: int
    """States that were compared."""
    different_values: int
    """Values of the output tensor that are others than the exact renderer's."""
    ms_p50: float
    """Median time from a latent to pixels, milliseconds of wall clock."""


def states_of(bundle: Bundle, count: int) -> npt.NDArray[np.int8]:
    """Returns latents of all kinds, int8 of shape (count, latent)."""
    spec, rng = bundle.manifest.state, np.random.default_rng(1)
    parts = count // 4
    ends = rng.choice(np.array([-128, 127]), (parts, spec.latent))
    usual = rng.normal(spec.zero_point, USUAL, (parts, spec.latent))
    wide = rng.normal(spec.zero_point, 4 * USUAL, (parts, spec.latent))
    anything = rng.integers(-128, 128, (count - 3 * parts, spec.latent))
    every = np.rint(np.concatenate([ends, usual, wide, anything]))
    whole: npt.NDArray[np.int8] = np.clip(every, -128, 127).astype(np.int8)
    whole[0], whole[1], whole[2] = -128, 127, spec.zero_point
    return whole


def measure(path: Path, count: int, rounds: int) -> Iterator[Row]:
    """Measures one bundle."""
    bundle = Bundle.open(path)
    content, spec = bundle.members[GENERATOR], bundle.manifest.state
    latent = Quantization(spec.scale, spec.zero_point)
    exact, states = ExactGenerator(content, latent), states_of(bundle, count)
    natives = {str(runtime): Generator(content, runtime, latent) for runtime in map(load_runtime, installed_runtimes())}
    different = dict.fromkeys(natives, 0)
    for state in states:
        values, real = exact.values(state), latent.dequantize(state)[np.newaxis]
        for name, native in natives.items():
            different[name] += int(np.count_nonzero(native.model.run(real) != values))
    usual = states[count // 4 : count // 2]

    def work(generator: ExactGenerator | Generator) -> Callable[[int], object]:
        return lambda number: generator(usual[number % len(usual)])

    times = in_turns({OURS: work(exact)} | {name: work(one) for name, one in natives.items()}, rounds, WARM_UP)
    for name, (middle, _) in times.items():
        yield Row(path.stem, name, count, different.get(name, 0), round(middle, 4))


def main() -> int:
    """Measures, prints and keeps the table; returns the exit code: 1 when a value differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="bundles that can be shown anywhere")
    parser.add_argument("--states", type=int, default=STATES, help=f"states of each ({STATES})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds that are timed ({ROUNDS})")
    options = parser.parse_args()
    table = Table("twin", "drawn by", "states", "different values", "p50 ms", title="drawing without a runtime")
    rows: list[Row] = []
    try:
        with single_threaded_opencv():
            for path in options.bundles:
                rows += measure(path, options.states, options.rounds)
    except TwinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for row in rows:
        table.add_row(row.twin, row.runtime, str(row.states), str(row.different_values), f"{row.ms_p50:.3f}")
    Console().print(table)
    write_atomic(RESULTS, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())
    return 1 if any(row.different_values for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
