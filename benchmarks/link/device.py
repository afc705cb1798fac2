"""A device in a process of its own, to be killed: `python -m link.device SETTINGS`, the settings as JSON.

It prints one JSON object a line: `ready`, then for each event when it was handed over (`made`) and when the client said
that it is on the disk or with the broker (`safe`), and `stats` once a second. SIGTERM ends it cleanly.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from link.bench import Driver
from link.clients import CLIENTS, Setup
from link.workload import DEVICE, NAMESPACE, SESSION, event_payload
from twin_edge.bundle import Bundle
from twin_edge.sync import Counters, TwinId


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What a device process is to do."""

    client: str
    """Name of the client."""
    port: int
    """Where it connects."""
    folder: str
    """Where it keeps counters and spool."""
    bundle: str
    """File of the bundle."""
    rate: float = 5.0
    """States a second."""
    events_per_s: float = 50.0
    """Events a second."""
    report_every_s: float = 0.5
    """Seconds between reports."""
    first_event: int = 0
    """Number of the first event."""
    largest_file: int = 0
    """Bytes that a file may have (RLIMIT_FSIZE), 0 for any."""
    clock_jumps: tuple[tuple[float, float], ...] = ()
    """When the wall clock jumps, seconds after the start, and by how much, seconds."""
    options: dict[str, Any] = field(default_factory=dict)
    """See `Setup.options`."""


class DeviceProcess:
    """Starts a device process, and reads what it says; a context manager that kills it in the end.

    Attributes:
        made: Numbers of the events that were handed over.
        safe: Numbers of the events that the client said are safe.
        queued: Numbers that the client did not refuse.
        stats: The latest statistics.
        all_stats: All of them.
        session: Of this process start, 0 until it is ready.
    """

    def __init__(self, settings: DeviceSettings) -> None:
        self.made: set[int] = set()
        self.safe: set[int] = set()
        self.stats: dict[str, Any] = {}
        self.all_stats: list[dict[str, Any]] = []
        self.session = 0
        self.ready = threading.Event()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "link.device", json.dumps(asdict(settings))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, name="device-reader", daemon=True)
        self._complaints: list[bytes] = []
        self._listener = threading.Thread(target=self._listen, name="device-stderr", daemon=True)
        self._reader.start()
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def complaints(self) -> str:
        """The end of what it wrote to stderr."""
        return b"".join(self._complaints)[-2000:].decode(errors="replace")

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until it works.

        Raises:
            RuntimeError: It does not.
        """
        if not self.ready.wait(timeout_s):
            self.kill()
            raise RuntimeError(f"the device process does not start: {self.complaints}")

    def kill(self) -> None:
        """Ends it by kill -9 and reads what it has said; may be called again."""
        if self.running:
            self._process.kill()
        self._close()

    def terminate(self, timeout_s: float = 10.0) -> int:
        """Ends it by SIGTERM; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: It does not end.
        """
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout_s)
        self._close()
        return code

    def _close(self) -> None:
        self._process.wait(10)
        self._reader.join(10)
        self._listener.join(10)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # the kill came in the middle of it
            if "ready" in said:
                self.session = said["ready"]
                self.ready.set()
            self.made.update(said.get("made", ()))
            self.safe.update(said.get("safe", ()))
            if "stats" in said:
                self.stats = said["stats"]
                self.all_stats.append(self.stats)

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it is a pipe
        for line in self._process.stderr:
            self._complaints.append(line)
            del self._complaints[:-40]


def main() -> int:
    """Runs the device until it is told to end."""
    settings = DeviceSettings(**json.loads(sys.argv[1]))
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    if settings.largest_file:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (settings.largest_file, settings.largest_file))
    folder = Path(settings.folder)
    bundle = Bundle.open(Path(settings.bundle))
    session, next_rev = SESSION, None
    if settings.client == "twin-edge":
        counters = Counters.open(TwinId(NAMESPACE, DEVICE), folder)
        session, next_rev = counters.session, counters.next_rev
    setup = Setup(settings.port, folder, bundle, session=session, options=settings.options)
    client = CLIENTS[settings.client](setup)
    client.start()
    say(ready=session)
    run(settings, client, stop, next_rev)
    client.stop()
    return 0


def run(settings: DeviceSettings, client: Any, stop: threading.Event, next_rev: Callable[[], int] | None) -> None:
    """Sends, and says what it has sent."""
    driver = Driver(client, rate=settings.rate, event_every_s=0, report_every_s=0)
    began = said_at = reported_at = time.monotonic()
    number, open_events = settings.first_event, set[int]()
    jumps = list(settings.clock_jumps)
    with driver:
        while not stop.is_set():
            now = time.monotonic()
            while jumps and now - began >= jumps[0][0]:
                shift_clock(jumps.pop(0)[1])
            made = []
            while number - settings.first_event < (now - began) * settings.events_per_s:
                client.event(number, event_payload(number))
                made.append(number)
                open_events.add(number)
                number += 1
            safe = [one for one in open_events if client.fate(one) in {"safe", "acknowledged"}]
            open_events.difference_update(safe)
            if made or safe:
                say(made=made, safe=safe)
            if now - reported_at >= settings.report_every_s:
                reported_at = now
                client.report(next_rev() if next_rev else int((now - began) * 1000))
            if now - said_at >= 1:
                said_at = now
                say(stats=statistics(client, driver))
            stop.wait(0.005)
    say(stats=statistics(client, driver))


def statistics(client: Any, driver: Driver) -> dict[str, Any]:
    """Returns what a soak looks at."""
    status = client.status()
    own = Path("/proc/self")
    io = dict(line.split(": ") for line in (own / "io").read_text().splitlines()) if (own / "io").exists() else {}
    return {
        "rss_kb": int((own / "statm").read_text().split()[1]) * resource.getpagesize() // 1024,
        "fds": len(list((own / "fd").iterdir())),
        "write_bytes": int(io.get("write_bytes", 0)),
        "connected": status.connected,
        "alive": status.alive,
        "problems": list(status.problems[-3:]),
        "states": driver.states,
        "slowest_ms": round(1e3 * driver.pace.slowest_s, 1),
        "errors": driver.pace.errors[:3],
    }


def say(**what: Any) -> None:
    """Prints one line."""
    print(json.dumps(what), flush=True)


def shift_clock(seconds: float) -> None:
    """Lets the wall clock of this process jump, for all that is written in Python; the monotonic clock goes on."""
    wall, wall_ns = time.time, time.time_ns
    time.time = lambda: wall() + seconds
    time.time_ns = lambda: wall_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    sys.exit(main())
