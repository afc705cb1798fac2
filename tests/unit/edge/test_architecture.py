"""The tree keeps to its architecture: the device imports nothing of the workstation, and little at once."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import twin_edge

ROOT = Path(__file__).parents[3]
HEAVY = ("tensorflow", "keras", "sklearn", "twin_training", "twin_converters", "matplotlib")

IMPORT_ALL = f"""
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {HEAVY!r}:
            raise ModuleNotFoundError('blocked: ' + name, name=name)
sys.meta_path.insert(0, Blocker())
import twin_edge
names = [m.name for m in pkgutil.walk_packages(twin_edge.__path__, 'twin_edge.') if not m.name.endswith('__main__')]
for name in names:
    importlib.import_module(name)
for name in twin_edge.__all__:
    getattr(twin_edge, name)
print(len(names))
"""


def run_python(program: str) -> str:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("edge", "training", "converters"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_device_module_imports_without_the_training_stack() -> None:
    assert int(run_python(IMPORT_ALL)) > 30


@pytest.mark.parametrize(
    ("package", "banned"),
    [
        ("edge/twin_edge", {"twin_training", "twin_converters", "tensorflow", "keras", "sklearn"}),
        ("training/twin_training", {"twin_converters"}),
        ("converters/twin_converters", {"twin_training"}),
    ],
)
def test_imports_point_one_way(package: str, banned: set[str]) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 3
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not banned & {name.split(".")[0] for name in names}, file


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, twin_edge; print(*sorted({n.split('.')[0] for n in sys.modules}))").split()
    assert not {"numpy", "cv2", "paho", "typer", "tflite_runtime", "ai_edge_litert"} & set(loaded)


def test_public_names_are_sorted_and_there() -> None:
    names = [name for name in twin_edge.__all__ if not name.startswith("_")]
    assert names == sorted(names)
    for name in twin_edge.__all__:
        assert getattr(twin_edge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = twin_edge.nothing
