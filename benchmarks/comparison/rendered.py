"""What one runtime makes of a bundle's golden views and of states. Imports nothing that an emulated device lacks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twin_edge.bundle import Bundle
from twin_edge.models import RuntimeName, load_runtime
from twin_edge.twin import Twin


@dataclass(frozen=True, slots=True)
class Rendered:
    """What came out."""

    runtime: str
    """Name and version of the runtime."""
    states: npt.NDArray[np.int8]
    """States of the golden views, int8 of shape (n, state length)."""
    renderings: npt.NDArray[np.uint8]
    """Renderings of the given states, uint8 RGB of shape (m, height, width, 3)."""

    @classmethod
    def load(cls, path: Path) -> Rendered:
        """Reads what `main` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            return cls(str(saved["runtime"]), saved["states"], saved["renderings"])


def render_all_states(bundle: Bundle, states: npt.NDArray[np.int8], runtime: RuntimeName | None = None) -> Rendered:
    """Reads the golden views and renders states.

    Args:
        bundle: The twin.
        states: int8 of shape (m, state length).
        runtime: Which runtime; the preferred installed one when None.
    """
    loaded = load_runtime(runtime)
    twin = Twin(bundle, loaded)
    read = np.stack([twin.encode(view) for view in bundle.golden().views])
    return Rendered(str(loaded), read, np.stack([twin.render(state) for state in states]))


def main() -> None:
    """Takes a bundle, states (.npy) and where to write (.npz) from the command line."""
    bundle, states, out = (Path(word) for word in sys.argv[1:4])
    rendered = render_all_states(Bundle.open(bundle), np.load(states, allow_pickle=False))
    np.savez(out, runtime=np.array(rendered.runtime), states=rendered.states, renderings=rendered.renderings)
