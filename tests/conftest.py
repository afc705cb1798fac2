"""A real twin for every test that needs one: trained and converted once, with the shipped `quick` recipe."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from brokers import MOSQUITTO, Mosquitto, eventually, find_free_port

# tflite-runtime dies when it is loaded after TensorFlow, which exports the same symbols; before it, both work.
for _name in ("tflite_runtime.interpreter", "ai_edge_litert.interpreter"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)

# How long an example takes says more about what else the machine is doing than about the code.
settings.register_profile("twin-edge", deadline=None)
settings.load_profile("twin-edge")

ROOT = Path(__file__).parents[1]
SOURCES = ("edge/twin_edge", "training/twin_training", "converters/twin_converters")


def command_environment() -> dict[str, str]:
    """Returns the environment for the project's commands in a process of their own."""
    path = os.pathsep.join(str(ROOT / source.split("/", maxsplit=1)[0]) for source in SOURCES)
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture(scope="session")
def quick(pytestconfig: pytest.Config) -> Path:
    """Returns a folder with `runs/quick` and `bundles/quick.twin`, made anew when the sources have changed."""
    digest = hashlib.sha256()
    for source in SOURCES:
        for file in sorted((ROOT / source).rglob("*")):
            if file.suffix in {".py", ".toml"}:
                digest.update(file.read_bytes())
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir("quick-twin")
    folder = home / digest.hexdigest()[:16]
    if not (folder / "bundles" / "quick.twin").exists():
        shutil.rmtree(home)
        folder.mkdir(parents=True)
        for command in (
            ["twin_training", "rig", "--name", "quick", "--recipe", "quick"],
            ["twin_converters", "runs/quick"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=command_environment(),
                capture_output=True,
                text=True,
                timeout=280,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def bundle_path(quick: Path) -> Path:
    """Returns the path of a real bundle, of no great quality."""
    return quick / "bundles" / "quick.twin"


@pytest.fixture(scope="session")
def run_folder(quick: Path) -> Path:
    """Returns the run folder that it was made from."""
    return quick / "runs" / "quick"


@pytest.fixture
def mosquitto_factory(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Gives a function that makes brokers, not yet started; they are killed in the end."""
    if MOSQUITTO is None:
        # A person may do without; the machine that says green may not.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mosquitto is not installed: apt install mosquitto")
    brokers: list[Mosquitto] = []

    def make(users: dict[str, str] | None = None, extra: str = "") -> Mosquitto:
        folder = tmp_path / f"mosquitto{len(brokers)}"
        folder.mkdir()
        brokers.append(Mosquitto(folder, users, extra))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture
def mosquitto(mosquitto_factory: Callable[..., Mosquitto]) -> Mosquitto:
    """Returns a running broker that lets everybody in."""
    return mosquitto_factory().start()


@pytest.fixture
def until() -> Callable[..., bool]:
    """Returns a function that waits until a condition holds, and says whether it came to."""
    return eventually


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Returns a function that finds a free port of the loopback."""
    return find_free_port
