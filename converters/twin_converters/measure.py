"""Runs the quantized models on one runtime, in a process of its own.

TensorFlow and tflite-runtime cannot be loaded into one process: they export the same C++ symbols, and the second one
dies in the first one's code. So this module imports neither TensorFlow nor anything that does, and is run as
``python -m twin_converters.measure FOLDER RUNTIME``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_converters.codec_tables import sensitivity
from twin_converters.known import on_another_day
from twin_edge.errors import ConversionError
from twin_edge.models import Quantization, RuntimeName, load_runtime
from twin_edge.models.pose import PoseSpec
from twin_edge.twin.models import TwinModels, TwinSpec
from twin_edge.twin.residual import ResidualMeter

_TIMEOUT_S: Final = 600
_INPUT: Final = "views.npz"
_RENDER: Final = "--render"

Views = npt.NDArray[np.uint8]
"""Views, uint8 RGB of shape (n, height, width, 3), 0-255."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the quantized models gave on one runtime."""

    runtime: str
    """Name and version of the runtime."""
    validation_residuals: npt.NDArray[np.float32]
    """Residuals on the validation views, float32 of shape (n, residuals); see `twin_edge.twin.residual`."""
    calibration_residuals: npt.NDArray[np.float32]
    """The same on the calibration views, which are of the training part."""
    calibration_states: npt.NDArray[np.int8]
    """States of the calibration views, int8 of shape (n, state length)."""
    elsewhere_states: npt.NDArray[np.int8]
    """Of a scene of parts those of the calibration views on another day, see `known`; else the same again."""
    validation_states: npt.NDArray[np.int8]
    """States of the validation views, int8 of shape (n, state length)."""
    validation_errors: npt.NDArray[np.float64]
    """Mean squared error of the rendering of each validation view, 0-255 squared, float64 of shape (n,)."""
    states: npt.NDArray[np.int8]
    """States of all test views, int8 of shape (n, state length)."""
    renderings: npt.NDArray[np.uint8]
    """Renderings of those of the test rows."""
    golden_states: npt.NDArray[np.int8]
    """States of the first rendering, taken as a view, int8 of shape (1, state length)."""
    golden_renderings: npt.NDArray[np.uint8]
    """The rendering of that state, uint8 RGB of shape (1, height, width, 3)."""
    shared_renderings: npt.NDArray[np.uint8]
    """Renderings of the shared states: the same states on every runtime."""
    live_states: npt.NDArray[np.int8]
    """States of the consecutive views at the rate of a live camera, int8 of shape (n, state length)."""
    paced_states: npt.NDArray[np.int8]
    """States of the consecutive views that are further apart."""
    importance: npt.NDArray[np.float64]
    """Mean squared error in the rendering of one int8 step of each state value, float64 of shape (state length,)."""


@dataclass(frozen=True, slots=True)
class Material:
    """What is measured on."""

    calibration: Views
    """Views of the training part, each by itself."""
    validation: Views
    """Views that training has not learned from, block after block."""
    validation_cuts: tuple[int, ...]
    """Rows of `validation` at which a block begins."""
    test: Views
    """Views that only measuring sees, in time order."""
    test_cuts: tuple[int, ...]
    """Rows of `test` at which something else begins."""
    test_rows: npt.NDArray[np.int64]
    """Rows of the test views that are rendered and compared."""
    live: Views
    """Consecutive views at the rate of a live camera."""
    live_cuts: tuple[int, ...]
    """Rows of `live` at which something else begins."""
    paced: Views
    """Consecutive views that are further apart."""
    paced_cuts: tuple[int, ...]
    """Rows of `paced` at which something else begins."""
    shared_states: npt.NDArray[np.int8]
    """States that every runtime renders, int8 of shape (n, state length)."""


def measure(parts: TwinSpec, material: Material, runtime: RuntimeName, folder: Path) -> Measured:
    """Runs the models on a runtime.

    Args:
        parts: Models, pose and plate.
        material: What to run them on.
        runtime: Which runtime.
        folder: An empty folder to work in.

    Raises:
        ConversionError: The runtime does not run the models.
    """
    _write(folder, parts, {field.name: np.asarray(getattr(material, field.name)) for field in fields(Material)})
    _run(folder, runtime)
    with np.load(folder / f"{runtime}.npz", allow_pickle=False) as saved:
        values = {field.name: saved[field.name] for field in fields(Measured)}
        values |= {"runtime": str(saved["runtime"])}
        return Measured(**values)


def render(parts: TwinSpec, states: npt.NDArray[np.int8], runtime: RuntimeName, folder: Path) -> npt.NDArray[np.uint8]:
    """Renders states on a runtime.

    Args:
        parts: Models, pose and plate.
        states: int8 of shape (n, state length).
        runtime: Which runtime.
        folder: An empty folder to work in.

    Returns:
        uint8 RGB of shape (n, height, width, 3).

    Raises:
        ConversionError: The runtime does not run the models.
    """
    _write(folder, parts, {"states": states, "size": np.array(parts.size)})
    _run(folder, runtime, _RENDER)
    with np.load(folder / f"{runtime}.npz", allow_pickle=False) as saved:
        renderings: npt.NDArray[np.uint8] = saved["renderings"]
        return renderings


def _write(folder: Path, parts: TwinSpec, content: Mapping[str, npt.NDArray[Any]]) -> None:
    (folder / "encoder.tflite").write_bytes(parts.encoder or b"")
    (folder / "generator.tflite").write_bytes(parts.generator)
    scene: dict[str, npt.NDArray[Any]] = {}
    if parts.plate is not None:
        scene["plate"] = parts.plate
    if parts.pose is not None:
        scene["pose"] = np.array([parts.pose.steps, parts.pose.reach])
    if parts.labels is not None:
        scene["labels"] = parts.labels
    if parts.reach is not None:
        scene["reach"] = parts.reach
    np.savez(folder / _INPUT, latent=np.array([parts.latent.scale, parts.latent.zero_point]), **content, **scene)


def _run(folder: Path, runtime: RuntimeName, *options: str) -> None:
    done = subprocess.run(  # noqa: S603 - this very interpreter and module
        [sys.executable, "-m", "twin_converters.measure", str(folder), runtime, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise ConversionError(f"the models do not run on {runtime} ({lines[-1]:.300})", fix="see docs/conversion.md")


def render_main(folder: Path, runtime_name: RuntimeName) -> None:
    """Renders; the parent process reads the result from the folder."""
    with np.load(folder / _INPUT, allow_pickle=False) as saved:
        height, width = (int(n) for n in saved["size"])
        models = TwinModels(_parts(folder, saved, (height, width)), load_runtime(runtime_name))
        states = saved["states"]
    np.savez(folder / f"{runtime_name}.npz", renderings=np.stack([models.render(state) for state in states]))


def main(folder: Path, runtime_name: RuntimeName) -> None:
    """Measures; the parent process reads the result from the folder."""
    runtime = load_runtime(runtime_name)
    with np.load(folder / _INPUT, allow_pickle=False) as saved:
        material = Material(**{field.name: saved[field.name] for field in fields(Material)})
        parts = _parts(folder, saved, (material.test.shape[1], material.test.shape[2]))
    models = TwinModels(parts, runtime)

    def follow(views: Views, cuts: Sequence[int] = (0,), by: TwinModels = models) -> npt.NDArray[np.int8]:
        states: list[npt.NDArray[np.int8]] = []
        for row, view in enumerate(views):
            states.append(by.encode(view, None if row in cuts else states[-1]))
        return np.stack(states)

    def draw(states: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
        return np.stack([models.render(state) for state in states])

    meter = ResidualMeter(material.test.shape[1], material.test.shape[2], lit=parts.labels is not None)

    def residuals(views: Views, renderings: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.stack([meter(a, b) for a, b in zip(views, renderings, strict=True)])

    calibration, validation = material.calibration, material.validation
    validation_states = follow(validation, material.validation_cuts)
    validated = draw(validation_states)
    calibration_states = follow(calibration, range(len(calibration)))
    elsewhere_states = calibration_states
    if parts.labels is not None:  # By models that have not been anywhere else.
        elsewhere_states = follow(on_another_day(calibration), by=TwinModels(parts, runtime))
    states = follow(material.test, material.test_cuts)
    renderings = draw(states[material.test_rows])
    # As the self-test reads it: at the pose, or the shift, that stands in the state.
    golden_states = models.read_at(renderings[0], models.encode(renderings[0], states[0]))[np.newaxis]
    live_states = follow(material.live, material.live_cuts)
    np.savez(
        folder / f"{runtime_name}.npz",
        runtime=np.array(str(runtime)),
        validation_residuals=residuals(validation, validated),
        calibration_residuals=residuals(calibration, draw(calibration_states)),
        calibration_states=calibration_states,
        elsewhere_states=elsewhere_states,
        validation_states=validation_states,
        validation_errors=np.array(
            [np.square(a.astype(np.float64) - b).mean() for a, b in zip(validation, validated, strict=True)]
        ),
        states=states,
        renderings=renderings,
        golden_states=golden_states,
        golden_renderings=draw(golden_states),
        shared_renderings=draw(material.shared_states),
        live_states=live_states,
        paced_states=follow(material.paced, material.paced_cuts),
        importance=sensitivity(models.render, live_states, models.latent_start),
    )


def _parts(folder: Path, saved: Mapping[str, npt.NDArray[Any]], size: tuple[int, int]) -> TwinSpec:
    scale, zero_point = saved["latent"]
    pose = None
    if "pose" in saved:
        steps, reach = (tuple(float(value) for value in row) for row in saved["pose"])
        pose = PoseSpec((steps[0], steps[1], steps[2], steps[3]), (reach[0], reach[1], reach[2], reach[3]))
    return TwinSpec(
        (folder / "generator.tflite").read_bytes(),
        (folder / "encoder.tflite").read_bytes(),
        Quantization(float(scale), int(zero_point)),
        size,
        pose,
        saved.get("plate"),
        saved.get("labels"),
        saved.get("reach"),
    )


if __name__ == "__main__":
    (render_main if _RENDER in sys.argv[3:] else main)(Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
