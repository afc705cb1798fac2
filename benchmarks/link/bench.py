"""A case's workplace: a broker, a proxy before it, an observer beside it, and a thread that never may wait."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from link.broker import Broker
from link.clients import CLIENTS, LinkClient, Setup, TwinEdgeClient
from link.observer import Observer, eventually
from link.proxy import Proxy
from link.rules import Way
from link.verdict import Verdict
from link.workload import EVENT, STREAM, Arrivals, Pace, event_payload, stream_header
from twin_edge.bundle import Bundle
from twin_edge.twin.packet import Flags

RATE: Final = 30.0
KEY_EVERY: Final = 300
MAY_BLOCK_S: Final = 0.5
"""A call that waits for a network takes seconds; a busy machine's hiccups take less than this."""
_JOIN_S: Final = 5.0


@dataclass(slots=True)
class Bench:
    """What a case gets."""

    name: str
    """Name of the client."""
    folder: Path
    """An empty folder."""
    bundle: Bundle
    """What states are made with."""
    full: bool
    """Whether the long form is wanted."""
    verdict: Verdict = field(default_factory=Verdict)
    """What the case finds."""
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What is taken down in the end."""
    _brokers: Iterator[int] = field(default_factory=itertools.count)
    """Their numbers; some cases start several at a time."""

    @property
    def is_ours(self) -> bool:
        """Whether the client is twin-edge's own."""
        return self.name == "twin-edge"

    def broker(self, *lines: str, **options: Any) -> Broker:
        """Starts a broker; see `Broker`."""
        folder = self.folder / f"broker{next(self._brokers)}"
        return self.stack.enter_context(Broker(folder, *lines, **options))

    def proxy(self, target: int, tap: Callable[[int, Way, bytes], None] | None = None) -> Proxy:
        """Starts a proxy."""
        return self.stack.enter_context(Proxy(target, tap))

    def observer(self, broker: Broker, **options: Any) -> Observer:
        """Starts an observer; see `Observer`."""
        return self.stack.enter_context(Observer(broker.port, **options))

    def setup(self, port: int, **fields: Any) -> Setup:
        """Returns how a client connects to a port; see `Setup`."""
        folder = self.folder / "device"
        folder.mkdir(exist_ok=True)
        return dataclasses.replace(Setup(port, folder, self.bundle), **fields)

    def client(self, port: int, **fields: Any) -> LinkClient:
        """Starts a client, which is stopped in the end."""
        return self.begin(CLIENTS[self.name](self.setup(port, **fields)))

    def begin(self, client: LinkClient) -> LinkClient:
        """Starts a client that has been made, which is stopped in the end."""
        self.stack.callback(self._stop, client)
        client.start()
        return client

    def online(self, port: int, **fields: Any) -> LinkClient:
        """Starts a client, and waits until it says that it is connected.

        Raises:
            TimeoutError: It does not within 20 s.
        """
        client = self.client(port, **fields)
        if not eventually(lambda: client.status().connected, 20):
            raise TimeoutError("the client does not connect")
        # What it does after connecting, such as bringing its bundle to the broker, is not what is measured.
        if isinstance(client, TwinEdgeClient):
            client.link.wait_ready(15)
        time.sleep(1.0)
        return client

    def restart_broker(self, broker: Broker, proxy: Proxy, observer: Observer, *, down_s: float = 1.0) -> None:
        """Kills a broker by kill -9 and starts it again; the device gets to it when the observer is back."""
        proxy.down()
        broker.kill()
        observer.wait_gone()
        time.sleep(down_s)
        broker.start()
        observer.wait_back()
        proxy.up()

    @staticmethod
    def _stop(client: LinkClient) -> None:
        stopping = threading.Thread(target=client.stop, daemon=True)
        stopping.start()
        stopping.join(_JOIN_S)


class Driver:
    """Gives a client what a device gives it: states 30 times a second, events and reports, from one thread.

    Args:
        client: Whom to drive.
        rate: States a second; 0 for none.
        event_every_s: Seconds between events; 0 for none.
        report_every_s: Seconds between reports; 0 for none.
    """

    def __init__(
        self, client: LinkClient, *, rate: float = RATE, event_every_s: float = 0.5, report_every_s: float = 1.0
    ) -> None:
        self.client = client
        self.pace = Pace()
        self.events = 0
        self.states = 0
        self.reports = 0
        self._rate = rate
        self._event_every_s, self._report_every_s = event_every_s, report_every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the driving; may be called again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def run(self, seconds: float) -> None:
        """Drives for some seconds in the calling thread's stead."""
        with self:
            time.sleep(seconds)

    def _run(self) -> None:
        began = time.monotonic()
        tick_s = 1 / self._rate if self._rate else 0.05
        due = began
        while not self._stop.is_set():
            passed = time.monotonic() - began
            if self._rate:
                self._state()
            if self._event_every_s and self.events < passed / self._event_every_s:
                self.event()
            if self._report_every_s and self.reports < passed / self._report_every_s:
                self.reports += 1
                self.pace.call(lambda: self.client.report(self.reports))
            due = max(due + tick_s, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _state(self) -> None:
        flags = Flags.NONE if self.states % KEY_EVERY else Flags.KEY
        packet = self.client.setup.states.packet(self.states, flags)
        self.states += 1
        self.pace.call(lambda: self.client.stream(packet))

    def event(self, size: int = 0) -> int:
        """Sends one event; returns its number."""
        number = self.events
        self.events += 1
        self.pace.call(lambda: self.client.event(number, event_payload(number, size)))
        return number


def arrivals(driver: Driver, observer: Observer, timeout_s: float = 15.0) -> Arrivals:
    """Waits until all events of a driver have come; returns what came."""

    def now() -> Arrivals:
        return Arrivals.of(range(driver.events), (heard.payload for heard in observer.on(EVENT)))

    eventually(lambda: not now().lost, timeout_s)
    return now()


def lag_s(observer: Observer, since: float) -> float:
    """Returns how old the newest state was when it came, seconds, of those that came since a monotonic time.

    Infinity when none came.
    """
    headers = [(h.clock_us, stream_header(h.payload)) for h in observer.on(STREAM) if h.at >= since]
    ages = [(head.seq, clock_us - head.time_us) for clock_us, head in headers if head is not None]
    return max(ages)[1] / 1e6 if ages else float("inf")


def check_never_blocked(verdict: Verdict, driver: Driver) -> None:
    """The thread that makes frames must not have waited."""
    slowest_ms = 1e3 * driver.pace.slowest_s
    verdict.check(f"slowest call {slowest_ms:.0f} ms", driver.pace.slowest_s < MAY_BLOCK_S)
    if driver.pace.errors:
        verdict.check(f"{len(driver.pace.errors)} calls raised, such as {driver.pace.errors[0]}", holds=False)


def wait_loss_seen(client: LinkClient, since: float, timeout_s: float) -> float:
    """Waits until a client says that its connection is gone; returns seconds since a monotonic time, or infinity."""
    seen = eventually(lambda: not client.status().connected, since + timeout_s - time.monotonic())
    return time.monotonic() - since if seen else float("inf")


def seconds(value: float) -> str:
    """Returns seconds in words."""
    return "never" if value == float("inf") else f"{value:.1f} s"


def peak_mb() -> float:
    """Returns the most memory that this process has had, MB; `getrusage` would count its parent's before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Makes an empty folder, and removes it in the end."""
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
