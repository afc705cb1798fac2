"""Makes bundles as a user does, with default settings, and takes what that costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from collection.recordings import Recording
from twin_edge.errors import ConfigError, TrainingError
from twin_edge.files import write_atomic

_COST: Final = "collection_cost.json"
_KIB_IN_MB: Final = 1024 / 1e6
_SAID: Final = re.compile(r"^error: (.*)", re.MULTILINE | re.DOTALL)
_TAIL: Final = 2000


@dataclass(frozen=True, slots=True)
class Cost:
    """What a bundle cost."""

    training_s: float
    """Seconds of `twin-train`."""
    training_mb: float
    """Its largest resident memory, MB."""
    converting_s: float
    """Seconds of `twin-convert`."""
    converting_mb: float
    """Its largest resident memory, MB."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where everything is."""

    clips: Path
    """Recordings."""
    runs: Path
    """Run folders, by name of the recording."""
    bundles: Path
    """Bundles, by name of the recording."""

    def run(self, name: str) -> Path:
        """Returns the run folder of a recording."""
        return self.runs / name

    def bundle(self, name: str) -> Path:
        """Returns the bundle of a recording."""
        return self.bundles / f"{name}.twin"


class RefusedError(TrainingError):
    """Training or conversion said no.

    Args:
        message: What it said.
        after_s: When, seconds since training was started.
    """

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


def make_bundle(recording: Recording, folders: Folders) -> Cost:
    """Trains and converts a recording with default settings; an older run and bundle of that name are removed.

    Raises:
        RefusedError: Training or conversion ended with an error.
    """
    run, bundle = folders.run(recording.name), folders.bundle(recording.name)
    shutil.rmtree(run, ignore_errors=True)
    bundle.unlink(missing_ok=True)
    folders.bundles.mkdir(parents=True, exist_ok=True)
    folders.runs.mkdir(parents=True, exist_ok=True)
    log = folders.runs / f"{recording.name}.log"
    log.unlink(missing_ok=True)
    subject, began = recording.subject(folders.clips), time.monotonic()
    try:
        training = _measured(["twin_training", subject, "--name", recording.name, "--runs", str(folders.runs)], log)
        converting = _measured(["twin_converters", str(run), "--out", str(bundle)], log)
    except RefusedError as refused:
        # Where the recording lies is nobody's business who reads the table.
        message = refused.message.replace(subject, Path(subject).name)
        raise RefusedError(message, round(time.monotonic() - began, 1)) from refused
    cost = Cost(*training, *converting)
    write_atomic(run / _COST, json.dumps(asdict(cost)).encode())
    return cost


def known_cost(recording: Recording, folders: Folders) -> Cost | None:
    """Returns what an earlier `make_bundle` cost; None where there was none."""
    path = folders.run(recording.name) / _COST
    return Cost(**json.loads(path.read_bytes())) if path.exists() else None


def require_bundle(recording: Recording, folders: Folders) -> Path:
    """Returns a bundle that is there already.

    Raises:
        ConfigError: It is not.
    """
    name = recording.second_recording_of or recording.name
    path = folders.bundle(name)
    if not path.is_file():
        raise ConfigError(f"there is no bundle {path}", fix=f"make that of {name} first, without --only-measure")
    return path


def _measured(arguments: Sequence[str], log: Path) -> tuple[float, float]:
    """Runs a module of this project; returns its seconds and its largest resident memory in MB.

    Raises:
        RefusedError: It ended with an error.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    began = time.monotonic()
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took_s = round(time.monotonic() - began, 1)
    if process.returncode:
        raise RefusedError(said(log.read_bytes()[start:].decode(errors="replace"), process.returncode))
    return took_s, round(usage.ru_maxrss * _KIB_IN_MB, 1)


def said(output: str, code: int) -> str:
    """Returns the error that a command ended with, on one line.

    Args:
        output: All that it wrote.
        code: Its exit code.
    """
    found = _SAID.search(output[-_TAIL:])
    lines = output.strip().splitlines()
    text = found[1] if found else f"exit code {code}: {lines[-1] if lines else 'no output'}"
    return " ".join(text.split())
