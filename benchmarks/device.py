"""What a device costs and how its link behaves, through a real mosquitto on loopback.

    python benchmarks/device.py bundles/rig.twin [--python PATH]

`--python` runs the device with another interpreter, such as that of a venv with `pip install .` and no extras; the size
of that is measured too. 900 states at 30/s; a late joiner with an empty cache; `kill -9`; SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from twin_edge.files import write_atomic
from twin_edge.sync import TwinView

STATES, FPS = 900, 30
TWIN = "org.twin-edge/bench"


@contextlib.contextmanager
def mosquitto(options: str = "") -> Iterator[str]:
    """Runs mosquitto on a free port of the loopback, with further lines in its configuration; gives its URL."""
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{options}")
        broker = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            broker.terminate()
            broker.wait(5)


def device(python: str, bundle: Path, url: str, scratch: Path, *options: str) -> subprocess.Popen[str]:
    """Starts `twin-edge run`."""
    environment = os.environ.copy()
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    arguments = ("run", "--bundle", bundle.resolve(), "--broker", url, "--twin", TWIN, "--state-dir", scratch, "--json")
    command = [python, "-m", "twin_edge", *(str(argument) for argument in arguments), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=scratch, env=environment)


def await_another_session(view: TwinView, known: set[int]) -> int:
    """Waits for an update of a device that was started after the known ones; returns its session."""
    while True:
        session = view.next_update(20.0).session
        if session not in known:
            return session


def measure(python: str, bundle: Path) -> dict[str, Any]:
    """Returns all figures."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, mosquitto() as url:
        scratch = Path(folder)
        with TwinView(url, TWIN, scratch / "cache") as view:
            started = time.monotonic()
            running = device(python, bundle, url, scratch, "--camera", "rig:seed=77", "--frames", str(STATES))
            numbers: list[int] = []
            sessions: set[int] = set()
            for update in view.updates(timeout_s=8.0):
                if not numbers:
                    figures["process_start_to_first_update_s"] = round(time.monotonic() - started, 2)
                numbers.append(update.seq)
                sessions.add(update.session)
                if update.seq >= STATES - 1:
                    break
        summary = json.loads(running.communicate(timeout=60)[0].splitlines()[-1])
        figures |= {
            "states_sent": summary["frames"],
            "states_received": len(numbers),
            "in_order": numbers == sorted(set(numbers)),
            "fps": summary["fps"],
            "rss_mb": summary["rss_mb"],
            "whole_frame_p50_ms": summary["stages"]["whole"]["p50_ms"],
            "whole_frame_p95_ms": summary["stages"]["whole"]["p95_ms"],
        }
        running = device(python, bundle, url, scratch, "--camera", "rig:seed=78")
        with TwinView(url, TWIN, scratch / "cache") as view:
            sessions.add(await_another_session(view, sessions))
            time.sleep(3)
            joined = time.monotonic()
            with TwinView(url, TWIN, scratch / "empty") as late:
                _ = late.next_update(10.0).rendering
                figures["late_joiner_s"] = round(time.monotonic() - joined, 2)
            running.kill()
            killed = time.monotonic()
            while view.online and time.monotonic() - killed < 60:  # noqa: PLR2004
                time.sleep(0.01)
            figures["kill_to_offline_s"] = round(time.monotonic() - killed, 2)
            running.communicate()
            running = device(python, bundle, url, scratch, "--camera", "rig:seed=79")
            await_another_session(view, sessions)
            time.sleep(1)
            asked = time.monotonic()
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=30)
            figures["sigterm_to_exit_s"] = round(time.monotonic() - asked, 2)
            time.sleep(0.3)
            availability = view.availability
            figures["sigterm_exit_code"] = running.returncode
            figures["sigterm_reason"] = availability.reason if availability else ""
    return figures


def main() -> int:
    """Prints the table and writes it to benchmarks/results/device.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/rig.twin"))
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    figures = measure(options.python, options.bundle)
    if options.python != sys.executable:
        venv = Path(options.python).absolute().parents[1]
        used = sum(file.lstat().st_blocks * 512 for file in venv.rglob("*"))
        figures["venv_mb"] = round(used / 1e6)
    table = Table("what", "measured", title="twin-edge run")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    write_atomic(Path("benchmarks/results/device.json"), (json.dumps(figures, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
