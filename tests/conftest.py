"""Real twins for every test that needs one, trained and converted once: a fixed, a moving and a colorless one."""

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

# tflite-runtime dies when it is loaded after TensorFlow, which exports the same symbols; before it, both work.
for _name in ("tflite_runtime.interpreter", "ai_edge_litert.interpreter"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)

import pytest  # noqa: E402 - see above
from hypothesis import settings  # noqa: E402 - see above

import machines  # noqa: E402 - see above
import moving_subject  # noqa: E402 - see above
import strokes  # noqa: E402 - see above
from brokers import Mosquitto, eventually, find_free_port, require_mosquitto  # noqa: E402 - see above

# How long an example takes says more about what else the machine is doing than about the code.
settings.register_profile("twin-edge", deadline=None)
settings.load_profile("twin-edge")

ROOT = Path(__file__).parents[1]
SOURCES = ("edge/twin_edge", "training/twin_training", "converters/twin_converters")


def command_environment() -> dict[str, str]:
    """Returns the environment for the project's commands in a process of their own."""
    path = os.pathsep.join(str(ROOT / source.split("/", maxsplit=1)[0]) for source in SOURCES)
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture
def environment() -> dict[str, str]:
    """Returns the environment for the project's commands in a process of their own."""
    return command_environment()


def run_commands(folder: Path, *commands: list[str]) -> None:
    """Runs modules of the project in a folder, one after the other; all of them must succeed."""
    for command in commands:
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


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    """Returns a folder that lives until the sources change: for what takes long to make."""
    digest = hashlib.sha256()
    files = [file for source in SOURCES for file in sorted((ROOT / source).rglob("*"))]
    for file in (*files, *sorted((ROOT / "tests" / "support").glob("*.py"))):
        if file.suffix in {".py", ".toml"}:
            digest.update(file.read_bytes())
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir("quick-twin")
    folder = home / digest.hexdigest()[:16]
    if not folder.exists():
        shutil.rmtree(home)
        folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def quick(kept: Path) -> Path:
    """Returns a folder with `runs/quick` and `bundles/quick.twin`: the rig, a fixed subject."""
    if not (kept / "bundles" / "quick.twin").exists():
        run_commands(
            kept, ["twin_training", "rig", "--name", "quick", "--recipe", "quick"], ["twin_converters", "runs/quick"]
        )
    return kept


@pytest.fixture(scope="session")
def moving_path(kept: Path) -> Path:
    """Returns the path of the bundle of a moving subject, the textured square; its run is `runs/square` beside it."""
    path = kept / "bundles" / "square.twin"
    if not path.exists():
        where = moving_subject.poses(400)
        moving_subject.write_video(kept / "square.avi", moving_subject.views(where))
        (kept / "square.toml").write_text(moving_subject.RECIPE)
        run_commands(
            kept,
            ["twin_training", "square.avi", "--name", "square", "--recipe", "square.toml"],
            ["twin_converters", "runs/square"],
        )
    return path


@pytest.fixture(scope="session")
def parts_path(kept: Path) -> Path:
    """Returns the path of the bundle of a scene of parts, the small machine; its run is `runs/machine` beside it."""
    path = kept / "bundles" / "machine.twin"
    if not path.exists():
        moving_subject.write_video(kept / "machine.avi", machines.machine_views(600))
        (kept / "machine.toml").write_text(machines.RECIPE)
        run_commands(
            kept,
            ["twin_training", "machine.avi", "--name", "machine", "--recipe", "machine.toml"],
            ["twin_converters", "runs/machine"],
        )
    return path


@pytest.fixture(scope="session")
def gray_path(kept: Path) -> Path:
    """Returns the path of a bundle without color: the article's networks on 28x28 strokes."""
    path = kept / "bundles" / "strokes.twin"
    if not path.exists():
        strokes.write_stills(kept / "stills")
        (kept / "strokes.toml").write_text(strokes.RECIPE)
        run_commands(
            kept,
            ["twin_training", "images:stills", "--name", "strokes", "--recipe", "strokes.toml"],
            ["twin_converters", "runs/strokes"],
        )
    return path


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
    require_mosquitto()
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
