"""What `record` and `replay` print."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import typer

from twin_edge.cli.output import describe_sync, print_json
from twin_edge.recording import RecordedTwin, RecordStats
from twin_edge.sync import TwinEvent, TwinUpdate
from twin_edge.sync.wire.reading import timestamp

_EVERY_S: Final = 5.0
_REASONS: Final = {
    "stopped": "stopped",
    "duration": "the time is over",
    "frames": "all states are there",
    "full": "the file is as large as it may be",
}


class RecordPrinter:
    """Prints how a recording does: each second as JSON, or a line every five seconds for people.

    Args:
        json: Whether to print JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._printed_s = time.monotonic() - _EVERY_S + 1

    def stats(self, stats: RecordStats) -> None:
        """Prints the counters if it is time for that."""
        if self._json:
            print_json(stats.to_json())
        elif time.monotonic() - self._printed_s >= _EVERY_S:
            self._printed_s = time.monotonic()
            print(describe_recording(stats), file=sys.stderr, flush=True)  # noqa: T201 - for people

    def end(self, stats: RecordStats, path: Path) -> None:
        """Prints the counters at the end."""
        if self._json:
            print_json(stats.to_json())
            return
        typer.echo(f"{_REASONS[stats.reason]}: {describe_recording(stats)} in {path}")


def describe_recording(stats: RecordStats) -> str:
    """Returns how a recording does, on one line."""
    dropped = f", {stats.dropped} DROPPED" if stats.dropped else ""
    link = "" if stats.connected or stats.reason else ", NO BROKER"
    return (
        f"{stats.twins} twins, {stats.states} states in {stats.packets} packets, {stats.missed} missed, "
        f"{stats.reports} reports, {stats.events} events, {stats.seconds:.0f} s, "
        f"{stats.bytes / 1e6:.2f} MB{dropped}{link}"
    )


class ReplayPrinter:
    """Prints what is in a recording.

    Args:
        json: Whether to print JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def twin(self, contents: RecordedTwin, path: Path) -> None:
        """Prints what is in it of a twin."""
        seconds = (contents.end_us - contents.begin_us) / 1e6
        if self._json:
            print_json(
                {
                    "type": "twin",
                    "twin": str(contents.twin),
                    "file": str(path),
                    "begin": contents.begin_us / 1e6,
                    "end": contents.end_us / 1e6,
                    "states": contents.states,
                    "historical": contents.historical,
                    "bytes": contents.bytes,
                    "reports": contents.reports,
                    "report_bytes": contents.report_bytes,
                    "events": contents.events,
                    "bundles": list(contents.bundles),
                }
            )
            return
        size = f", {contents.bytes / contents.states:.1f} B each" if contents.states else ""
        late = f", {contents.historical} of them late" if contents.historical else ""
        typer.echo(
            f"{contents.twin}\n"
            f"  from {timestamp(contents.begin_us)} to {timestamp(contents.end_us)}, {seconds:.1f} s\n"
            f"  {contents.states} states{late}{size}; {contents.reports} reports, {contents.events} events\n"
            f"  bundle {', '.join(digest[:16] for digest in contents.bundles) or 'none'}"
        )

    def event(self, event: TwinEvent) -> None:
        """Prints an event."""
        heard = event.event
        if self._json:
            print_json(
                {
                    "type": "event",
                    "twin": str(event.twin),
                    "id": heard.id,
                    "kind": heard.kind,
                    "session": heard.session,
                    "seq": heard.seq,
                    "ts": heard.ts,
                    "evidence": dict(heard.evidence),
                }
            )
            return
        evidence = "  ".join(f"{name}={value}" for name, value in heard.evidence.items())
        typer.echo(f"  {heard.ts}  {heard.kind}  {evidence}".rstrip())

    def state(self, update: TwinUpdate, saved: Path | None) -> None:
        """Prints a state."""
        if self._json:
            print_json(
                {
                    "type": "state",
                    "twin": str(update.twin),
                    "session": update.session,
                    "seq": update.seq,
                    "time": update.time_us / 1e6,
                    "historical": update.historical,
                    "gap": update.gap,
                    "in_sync": update.in_sync,
                    "bundle": update.bundle.digest,
                    "state": update.state.tolist(),
                    "saved": None if saved is None else str(saved),
                }
            )
            return
        sync = describe_sync(update.gap, in_sync=update.in_sync)
        where = f"  rendering in {saved}" if saved else ""
        typer.echo(f"{update.twin}  {timestamp(update.time_us)}  seq {update.session}/{update.seq}  {sync}{where}")

    def written(self, path: Path, rows: int, unit: str) -> None:
        """Prints that a file was written."""
        if self._json:
            print_json({"type": "written", "file": str(path), unit: rows})
        else:
            typer.echo(f"{rows} {unit} in {path}")

    def unreadable(self, packets: int) -> None:
        """Prints that some packets could not be read."""
        if self._json:
            print_json({"type": "unreadable", "packets": packets})
        else:
            typer.echo(f"{packets} packets or reports could not be read: what they follow was not recorded", err=True)
