"""Looking into a bundle, and whether it would run here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twin_edge.bundle import Bundle
from twin_edge.errors import BundleError, IncompatibleRuntimeError
from twin_edge.models.runtimes import RuntimeName, installed_runtimes, load_runtime
from twin_edge.twin import Twin


@dataclass(frozen=True, slots=True)
class RuntimeCheck:
    """What one installed runtime makes of a bundle."""

    name: str
    """Name and version of the runtime."""
    chosen: bool
    """Whether `twin-edge run` would take it."""
    passed: bool
    """Whether it runs the bundle and the self-test came out right."""
    state_steps: int | None
    """Largest difference of a golden state, int8 steps; None when it does not run."""
    pixel_levels: int | None
    """Largest difference of a golden rendering, 1/255; None when it does not run."""
    problem: str
    """Why it does not run; empty when it does."""


@dataclass(frozen=True, slots=True)
class DrawingCheck:
    """What becomes of a bundle where it is only shown, which takes no runtime."""

    passed: bool
    """Whether it can be shown, and the self-test came out right."""
    certain: bool
    """Whether every runtime renders the same, to the bit."""
    state_steps: int | None
    """Largest difference of a golden state, int8 steps; None when it cannot be shown, or only devices encode."""
    pixel_levels: int | None
    """Largest difference of a golden rendering, 1/255; None when it cannot be shown."""
    problem: str
    """Why it cannot be shown; empty when it can."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to know about a bundle."""

    path: str
    """The file."""
    bundle: Bundle
    """The bundle."""
    drawing: DrawingCheck
    """What becomes of it where it is only shown."""
    runtimes: tuple[RuntimeCheck, ...]
    """Every installed runtime, the preferred one first; none where they were not to read it."""

    def to_json(self) -> dict[str, Any]:
        """Returns what there is to know as an object of JSON."""
        manifest = self.bundle.manifest
        return {
            "type": "bundle",
            "path": self.path,
            "name": manifest.name,
            "digest": self.bundle.digest,
            "bytes": len(self.bundle.data),
            "members": {name: asdict(entry) for name, entry in sorted(manifest.files.items())},
            "view": manifest.view.to_json(),
            "state": {**asdict(manifest.state), "bytes": manifest.state.length},
            "quality": {
                **asdict(manifest.quality),
                "beats_baseline": manifest.quality.beats_baseline if manifest.quality.baseline else None,
            },
            "origin": asdict(manifest.origin),
            "operators": {
                name: [str(operator) for operator in operators] for name, operators in manifest.operators.items()
            },
            "minimum_runtime": manifest.minimum_runtime,
            "drawing": asdict(self.drawing),
            "runtimes": [asdict(check) for check in self.runtimes],
        }


def inspect_bundle(path: Path, *, runtimes: bool = False) -> Inspection:
    """Reads a bundle and tries it.

    Args:
        path: The file.
        runtimes: Whether to try it on every installed runtime as well: they have parsers that a forged model can break.

    Raises:
        BundleError: It is no bundle that this release can use.
        ConfigError: `TWIN_EDGE_RUNTIME` names no runtime.
    """
    bundle = Bundle.open(path)
    checks: list[RuntimeCheck] = []
    if runtimes:
        chosen = _chosen()
        checks = [_check(bundle, name, chosen=name == chosen) for name in installed_runtimes()]
    return Inspection(str(path), bundle, _drawn(bundle), tuple(checks))


def _drawn(bundle: Bundle) -> DrawingCheck:
    try:
        twin, steps = _without_runtime(bundle)
        test = twin.self_test()
    except BundleError as error:
        return DrawingCheck(passed=False, certain=False, state_steps=None, pixel_levels=None, problem=str(error))
    problem = "" if test.passed else "the self-test does not come out right"
    return DrawingCheck(test.passed, twin.certain, test.state_steps if steps else None, test.pixel_levels, problem)


def _without_runtime(bundle: Bundle) -> tuple[Twin, bool]:
    """Returns a twin, and whether it encodes: one is shown even where only its encoder takes a runtime."""
    try:
        return Twin(bundle, native=False), True
    except BundleError:
        return Twin(bundle, encodes=False), False


def _chosen() -> str | None:
    try:
        return load_runtime().name
    except IncompatibleRuntimeError:
        return None  # The check of that runtime tells why.


def _check(bundle: Bundle, name: RuntimeName, *, chosen: bool) -> RuntimeCheck:
    label: str = name
    try:
        runtime = load_runtime(name)
        label = str(runtime)
        test = Twin(bundle, runtime).self_test()
    except BundleError as error:
        return RuntimeCheck(label, chosen, passed=False, state_steps=None, pixel_levels=None, problem=str(error))
    problem = "" if test.passed else "the self-test does not come out right"
    return RuntimeCheck(label, chosen, test.passed, test.state_steps, test.pixel_levels, problem)
