"""What a case says in the end: what was checked, and with which figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PASS: Final = "pass"  # noqa: S105 - a verdict
FAIL: Final = "fail"
NOT_RUNNABLE: Final = "not-runnable"


class NotRunnableError(Exception):
    """A case cannot be run here or with this client; its text says why."""


@dataclass(slots=True)
class Verdict:
    """Collects checks; all of them must hold."""

    checks: list[tuple[bool, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, text: str, holds: object) -> bool:
        """Adds a check.

        Args:
            text: What was measured, with its figure.
            holds: Whether it is as the case expects it.

        Returns:
            Whether it holds.
        """
        self.checks.append((bool(holds), text))
        return bool(holds)

    def note(self, text: str) -> None:
        """Adds something that was seen and is no check: what was shortened, what cannot be run here."""
        self.notes.append(text)

    @property
    def result(self) -> str:
        """`pass` or `fail`."""
        return PASS if self.checks and all(holds for holds, _ in self.checks) else FAIL

    @property
    def evidence(self) -> str:
        """All checks, those that failed first, and the notes."""
        failed = [f"NOT: {text}" for holds, text in self.checks if not holds]
        held = [text for holds, text in self.checks if holds]
        notes = [f"({text})" for text in self.notes]
        return "; ".join([*failed, *held]) + (" " if notes else "") + " ".join(notes)
