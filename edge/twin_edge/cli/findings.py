"""What `twin-edge doctor` prints: JSON lines, or a table."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from twin_edge.cli.output import print_json
from twin_edge.doctor import Finding, Outcome

_STYLES: Final = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "bold red", Outcome.SKIPPED: "dim"}


class FindingsPrinter:
    """Prints findings, as a context manager: JSON as they come, a table in the end.

    Args:
        json: Whether to print JSON.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._findings: list[Finding] = []
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if not self._json and sys.stderr.isatty():
            self._status = Status("examining", console=Console(stderr=True))
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
        if kind is not None:
            return
        counts = Counter(finding.outcome for finding in self._findings)
        if self._json:
            print_json({"type": "summary", **{outcome.value: counts[outcome] for outcome in Outcome}})
            return
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 160  # a file has no edge; wrapped lines are hard to search
        console.print(self._table())
        console.print(", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]))

    def show(self, finding: Finding) -> Finding:
        """Takes a finding, and returns it."""
        self._findings.append(finding)
        if self._json:
            print_json(finding.to_json())
        elif self._status is not None:
            self._status.update(f"{finding.check}: {finding.outcome.value}")
        return finding

    def _table(self) -> Table:
        table = Table("check", "", "seen, and what to do", box=None, pad_edge=False)
        table.columns[0].no_wrap = True
        for finding in self._findings:
            about = Text(finding.seen)
            if finding.fix:
                about.append(f"\n-> {finding.fix}", style="bold")
            table.add_row(finding.check, Text(finding.outcome.value, style=_STYLES[finding.outcome]), about)
        return table
