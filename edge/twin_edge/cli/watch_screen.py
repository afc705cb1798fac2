"""Twins on a terminal: a table that stays in place, or a line a second where there is no terminal."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from twin_edge.cli.output import ConsoleHandler
from twin_edge.runtime.reporting import IN_SYNC_GAP, OUT_OF_SYNC_GAP
from twin_edge.sync import TwinStatus
from twin_edge.watching import WatchStatus

_PLAIN_EVERY_S: Final = 1.0
_BAR: Final = 8
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_AROUND: Final = 6
"""Lines of the screen that are not the table's rows."""
_MIN_ROWS: Final = 3
_SLOW_MS: Final = 10_000.0


class WatchScreen:
    """Shows how twins do.

    Args:
        lines: Whether to print a line a second where there is no terminal.
    """

    def __init__(self, *, lines: bool) -> None:
        self._lines = lines
        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._handlers: list[logging.Handler] = []
        self._printed_s = time.monotonic()

    @property
    def live(self) -> bool:
        """Whether there is a terminal that can show a table in place."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> Self:
        if self.live:
            self._live = Live("looking for twins", console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            root = logging.getLogger()
            self._handlers = root.handlers[:]
            root.handlers[:] = [ConsoleHandler(self._console)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            logging.getLogger().handlers[:] = self._handlers
            self._live = None

    def show(self, status: WatchStatus) -> None:
        """Shows how all twins do."""
        if self._live is not None:
            self._live.update(self._screen(status), refresh=True)
        elif self._lines and time.monotonic() - self._printed_s >= _PLAIN_EVERY_S:
            self._printed_s = time.monotonic()
            typer.echo(describe_status(status))

    def _screen(self, status: WatchStatus) -> Group:
        rows = max(_MIN_ROWS, self._console.height - _AROUND)
        # Those to be looked at come first; a screen has room for some only.
        twins = sorted(status.twins, key=_urgency)
        hidden = len(twins) - rows
        parts: list[Table | Text] = [twin_table(twins[:rows])]
        if hidden > 0:
            parts.append(Text(f"and {hidden} more", style="dim"))
        return Group(*parts, Text(describe_status(status), style="dim", no_wrap=True, overflow="ellipsis"))


def describe_status(status: WatchStatus) -> str:
    """Returns how all twins do together, on one line."""
    twins, stats = status.twins, status.stats
    online = sum(each.online for each in twins)
    out = sum(_is_out(each) for each in twins)
    parts = [
        f"{online} of {len(twins)} twins online",
        f"{sum(each.stats.fps for each in twins):.1f} states/s",
        f"{sum(each.stats.kbps for each in twins):.2f} kbit/s",
        f"{out} out of sync",
        f"missed {stats.missed}",
    ]
    parts += [f"late {stats.historical}"] if stats.historical else []
    parts += [f"events {stats.events}"] if stats.events else []
    parts += [f"refused {stats.malformed}"] if stats.malformed else []
    parts += [f"{stats.ignored} announcements ignored"] if stats.ignored else []
    parts += [] if stats.connected else ["NO BROKER"]
    return "  ".join(parts)


def twin_table(twins: list[TwinStatus]) -> Table:
    """Returns a table with a row for each twin."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("twin", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ("fps", "kbit/s", "latency", "missed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gap", no_wrap=True)
    table.add_column("p95", justify="right", no_wrap=True)
    table.add_column("sync", no_wrap=True)
    table.add_column("properties", no_wrap=True, overflow="ellipsis", ratio=1)
    for each in twins:
        stats = each.stats
        table.add_row(
            str(each.twin),
            _status(each),
            f"{stats.fps:.1f}",
            f"{stats.kbps:.2f}",
            _latency(stats.latency_p50_ms),
            str(stats.missed),
            _gap_bar(stats.gap.last),
            "" if stats.gap.p95 is None else f"{stats.gap.p95:.2f}",
            _sync(each),
            _properties(each),
        )
    return table


def _status(each: TwinStatus) -> Text:
    if each.availability is None:
        return Text("unknown", style="dim")
    if not each.online:
        return Text(each.availability.reason or "offline", style="red")
    return Text("online", style="green") if each.bundle is not None else Text("fetching", style="yellow")


def _latency(latency_ms: float | None) -> str:
    if latency_ms is None:
        return ""
    return f"{round(latency_ms)} ms" if abs(latency_ms) < _SLOW_MS else f"{latency_ms / 1e3:.0f} s"


def _gap_bar(gap: float | None) -> Text:
    if gap is None:
        return Text("")
    eighths = round(min(max(gap, 0.0), 1.0) * 8 * _BAR)
    bar = _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    style = "red" if gap >= OUT_OF_SYNC_GAP else "yellow" if gap >= IN_SYNC_GAP else "green"
    return Text.assemble((bar.ljust(_BAR), style), f" {gap:.2f}")


def _is_out(each: TwinStatus) -> bool:
    return each.online and each.report is not None and each.report.in_sync is False


def _sync(each: TwinStatus) -> Text:
    if each.report is None or each.report.in_sync is None:
        return Text("?", style="dim")
    if each.report.in_sync:
        return Text("in sync", style="green")
    return Text(f"OUT {each.stats.gap.out_of_sync_s:.0f} s", style="bold red")


def _properties(each: TwinStatus) -> str:
    values = each.report.properties if each.report is not None else {}
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def _urgency(each: TwinStatus) -> tuple[bool, bool, str]:
    return not _is_out(each), not each.online, str(each.twin)
