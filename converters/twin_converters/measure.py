"""Runs the quantized models on one runtime, in a process of its own.

TensorFlow and tflite-runtime cannot be loaded into one process: they export the same C++ symbols, and the second one
dies in the first one's code. So this module imports neither TensorFlow nor anything that does, and is run as
``python -m twin_converters.measure FOLDER RUNTIME``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.errors import ConversionError
from twin_edge.models import Encoder, Generator, Quantization, RuntimeName, load_runtime
from twin_edge.twin.gap import COLUMNS, ROWS, residual_cells

_TIMEOUT_S: Final = 600
_INPUT: Final = "views.npz"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the quantized models gave on one runtime."""

    runtime: str
    """Name and version of the runtime."""
    validation_cells: npt.NDArray[np.float32]
    """Residual of each cell on the validation views, float32 of shape (n, rows * columns)."""
    calibration_cells: npt.NDArray[np.float32]
    """The same on the calibration views, which are of the training part."""
    states: npt.NDArray[np.int8]
    """States of the test views, int8 of shape (n, state length)."""
    renderings: npt.NDArray[np.uint8]
    """Renderings of those states."""
    shared_renderings: npt.NDArray[np.uint8]
    """Renderings of the shared states: the same states on every runtime."""


def measure(
    encoder: bytes,
    generator: bytes,
    latent: Quantization,
    views: dict[str, npt.NDArray[np.uint8]],
    shared_states: npt.NDArray[np.int8],
    runtime: RuntimeName,
    folder: Path,
) -> Measured:
    """Runs the models on a runtime.

    Args:
        encoder: The `.tflite` of the encoder.
        generator: The `.tflite` of the generator.
        latent: Real values of the int8 latent.
        views: `calibration`, `validation` and `test`, uint8 RGB of shape (n, height, width, 3).
        shared_states: States that every runtime renders, int8 of shape (n, latent).
        runtime: Which runtime.
        folder: An empty folder to work in.

    Raises:
        ConversionError: The runtime does not run the models.
    """
    (folder / "encoder.tflite").write_bytes(encoder)
    (folder / "generator.tflite").write_bytes(generator)
    np.savez(
        folder / _INPUT,
        latent=np.array([latent.scale, latent.zero_point]),
        shared_states=shared_states,
        **views,
    )
    done = subprocess.run(  # noqa: S603 - this very interpreter and module
        [sys.executable, "-m", "twin_converters.measure", str(folder), runtime],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise ConversionError(f"the models do not run on {runtime} ({lines[-1]:.300})", fix="see docs/conversion.md")
    with np.load(folder / f"{runtime}.npz", allow_pickle=False) as saved:
        return Measured(
            str(saved["runtime"]),
            saved["validation_cells"],
            saved["calibration_cells"],
            saved["states"],
            saved["renderings"],
            saved["shared_renderings"],
        )


def main(folder: Path, runtime_name: RuntimeName) -> None:
    """Measures; the parent process reads the result from the folder."""
    runtime = load_runtime(runtime_name)
    with np.load(folder / _INPUT, allow_pickle=False) as saved:
        scale, zero_point = saved["latent"]
        latent = Quantization(float(scale), int(zero_point))
        calibration, validation, test = saved["calibration"], saved["validation"], saved["test"]
        shared = saved["shared_states"]
    encoder = Encoder((folder / "encoder.tflite").read_bytes(), runtime)
    generator = Generator((folder / "generator.tflite").read_bytes(), runtime, latent)

    def cells(views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.stack([residual_cells(view, generator(encoder(view)), (COLUMNS, ROWS)) for view in views])

    states = np.stack([encoder(view) for view in test])
    np.savez(
        folder / f"{runtime_name}.npz",
        runtime=np.array(str(runtime)),
        validation_cells=cells(validation),
        calibration_cells=cells(calibration),
        states=states,
        renderings=np.stack([generator(state) for state in states]),
        shared_renderings=np.stack([generator(state) for state in shared]),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
