"""What commands print: JSON lines on stdout, a status line for people on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from twin_edge.runtime import RunStats, RunSummary
    from twin_edge.watching import Heard, WatchSummary

_PLAIN_EVERY_S: Final = 5.0
_WATCH_EVERY_S: Final = 1.0


def print_json(value: Mapping[str, Any]) -> None:
    """Prints one JSON object on one line of stdout, at once.

    Text and line feed are one write: Ctrl-C between two of them would glue the line to the next.
    """
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def describe_sync(gap: float | None, *, in_sync: bool | None) -> str:
    """Returns how a twin does, for people."""
    how = {True: "in sync", False: "OUT OF SYNC", None: "sync unknown"}[in_sync]
    return how if gap is None else f"gap {gap:.3f}  {how}"


def describe_stats(stats: RunStats) -> str:
    """Returns a second of a runtime on one line; the times are the median and the 95th percentile of a frame."""
    work = stats.stages.get("work")
    times = f"{work.p50_ms:.1f}/{work.p95_ms:.1f} ms" if work else "no frame yet"
    camera = "" if stats.camera == "streaming" else f"  camera {stats.camera}"
    link = "" if stats.connected else "  NO BROKER"
    queue = f"  waiting {stats.waiting}" if stats.waiting else ""
    return (
        f"{stats.fps:.1f} fps  {times}  {describe_sync(stats.gap, in_sync=stats.in_sync)}{camera}{link}"
        f"  {stats.state_bytes:.1f} B/state  {stats.kbps:.2f} kbit/s"
        f"  sent {stats.sent}  dropped {stats.dropped}{queue}  {stats.rss_mb:.0f} MB"
    )


def describe_summary(summary: RunSummary) -> str:
    """Returns what a runtime did, on three lines."""
    parts = [f"{name} {spread.p50_ms:.2f}" for name, spread in summary.stages.items()]
    return (
        f"{summary.reason}: {summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.1f} fps), "
        f"{summary.measured} of them measured, "
        f"{summary.sent} packets sent, {summary.skipped} for later, {summary.dropped} frames dropped, "
        f"{summary.reconnects} reconnects, {summary.rss_mb:.0f} MB\n"
        f"{summary.state_bytes:.2f} bytes of payload a state, {summary.kbps:.2f} kbit/s with headers\n"
        f"p50 ms: {', '.join(parts) or 'no frame'}"
    )


class RunScreen:
    """Shows a runtime to people: a line that stays in place on a terminal, else one every five seconds."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._handlers: list[logging.Handler] = []
        self._printed_s = -_PLAIN_EVERY_S

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True)
            self._live = Live("starting", console=console, auto_refresh=False, transient=True)
            self._live.start()
            root = logging.getLogger()
            self._handlers = root.handlers[:]
            root.handlers[:] = [ConsoleHandler(console)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            logging.getLogger().handlers[:] = self._handlers

    def show(self, stats: RunStats) -> None:
        """Shows a second of a runtime."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(describe_stats(stats), no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._printed_s >= _PLAIN_EVERY_S:
            self._printed_s = time.monotonic()
            print(describe_stats(stats), file=sys.stderr, flush=True)  # noqa: T201 - for people


class ConsoleHandler(logging.Handler):
    """Prints log lines above the line that stays in place."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


class WatchPrinter:
    """Prints updates: every one as JSON, or a line each second for people.

    Args:
        json: Whether to print JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._printed_s = -math.inf
        self._count = 0
        self._bytes = 0.0

    def update(self, heard: Heard) -> None:
        """Prints an update if it is time for one."""
        if self._json:
            print_json(heard.to_json())
            return
        self._count += 1
        self._bytes += heard.payload_bytes
        now_s = time.monotonic()
        passed_s = now_s - self._printed_s
        if passed_s < _WATCH_EVERY_S:
            return
        rate = f"{self._count / passed_s:5.1f}/s  " if passed_s < math.inf else ""
        sizes = f"  {self._bytes / self._count:.1f} B/state"
        if passed_s < math.inf:
            sizes += f"  {8e-3 * self._bytes / passed_s:.2f} kbit/s"
        self._printed_s, self._count, self._bytes = now_s, 0, 0.0
        sync = describe_sync(heard.gap, in_sync=heard.in_sync)
        typer.echo(
            f"{heard.twin}  seq {heard.seq}  {rate}{sync}  missed {heard.missed}  {heard.latency_ms:.0f} ms{sizes}"
        )

    def summary(self, summary: WatchSummary) -> None:
        """Prints what was heard in all."""
        if self._json:
            print_json(summary.to_json())
            return
        saved = f", {summary.saved} pictures in {summary.folder}" if summary.folder else ""
        typer.echo(
            f"{summary.updates} updates in {summary.seconds:.1f} s, {summary.missed} missed, "
            f"latency {summary.latency_p50_ms:.1f}/{summary.latency_p95_ms:.1f} ms (p50/p95), "
            f"{summary.state_bytes:.2f} bytes of payload a state, {summary.kbps:.2f} kbit/s of payload{saved}"
        )
