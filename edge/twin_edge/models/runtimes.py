"""Which TFLite runtime is installed, and whether it works here.

Two runtimes run the same models: LiteRT (`ai_edge_litert`), taken where it is installed because it delegates int8
graphs to XNNPACK, and `tflite_runtime` 2.14, the last of its line and the base dependency up to Python 3.11.
`TWIN_EDGE_RUNTIME` overrides the choice.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from twin_edge.errors import ConfigError, IncompatibleRuntimeError

RuntimeName = Literal["litert", "tflite"]

ENVIRONMENT_VARIABLE = "TWIN_EDGE_RUNTIME"

_MODULES: dict[str, tuple[str, str]] = {
    "litert": ("ai_edge_litert", "ai-edge-litert"),
    "tflite": ("tflite_runtime", "tflite-runtime"),
}
_NAMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
_NUMPY_2 = 2


@dataclass(frozen=True, slots=True)
class Runtime:
    """An importable TFLite runtime."""

    name: RuntimeName
    """`litert` or `tflite`."""
    version: str
    """Version of the installed distribution, such as `2.14.0`."""
    interpreter: Any
    """Its `Interpreter` class."""

    def __str__(self) -> str:
        return f"{_MODULES[self.name][1]} {self.version}"


def installed_runtimes() -> tuple[RuntimeName, ...]:
    """Returns the names of the runtimes that are installed, the preferred one first; imports none of them."""
    return tuple(name for name in _NAMES if importlib.util.find_spec(_MODULES[name][0]))


def load_runtime(name: RuntimeName | None = None) -> Runtime:
    """Imports a runtime.

    Args:
        name: Which one; None takes `TWIN_EDGE_RUNTIME`, else LiteRT where it is installed, else tflite-runtime.

    Raises:
        ConfigError: `TWIN_EDGE_RUNTIME` names no runtime.
        IncompatibleRuntimeError: It is not installed, or does not work with the installed NumPy.
    """
    chosen = _choose(name)
    module, distribution = _MODULES[chosen]
    if chosen == "tflite":
        _check_numpy()
    try:
        interpreter = importlib.import_module(f"{module}.interpreter").Interpreter
        version = importlib.metadata.version(distribution)
    except ImportError as error:
        raise IncompatibleRuntimeError(
            f"{distribution} is not usable here ({error})", fix=f"pip install {distribution}"
        ) from error
    return Runtime(chosen, version, interpreter)


def _choose(name: RuntimeName | None) -> RuntimeName:
    wanted = name or os.environ.get(ENVIRONMENT_VARIABLE) or None
    if wanted is not None:
        for known in _NAMES:
            if wanted == known:
                return known
        raise ConfigError(
            f"{ENVIRONMENT_VARIABLE}={wanted} names no runtime",
            fix=f"set it to one of {', '.join(_NAMES)}, or unset it",
        )
    installed = installed_runtimes()
    if not installed:
        raise IncompatibleRuntimeError("no TFLite runtime is installed", fix="pip install ai-edge-litert")
    return installed[0]


def _check_numpy() -> None:
    """Refuses NumPy 2 beside tflite-runtime 2.14 before it fails late.

    The import would succeed; the first interpreter would then die with a SystemError that names neither of the two.
    """
    if int(np.__version__.split(".", maxsplit=1)[0]) >= _NUMPY_2:
        raise IncompatibleRuntimeError(
            f"tflite-runtime 2.14 does not work with NumPy {np.__version__}",
            fix="pip install 'numpy<2' 'opencv-python-headless<4.12', or pip install ai-edge-litert",
        )
