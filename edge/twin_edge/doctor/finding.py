"""What a check comes to."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from twin_edge.errors import TwinEdgeError


class Outcome(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It will run, and something should be put right."""
    FAIL = "fail"
    """It will not run, or not as it should."""
    SKIPPED = "skipped"
    """It could not be tried; says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    """What was tried."""
    outcome: Outcome
    """How it ended."""
    seen: str
    """What was seen, one line."""
    fix: str = ""
    """What to do, one line; empty when there is nothing to do."""
    exit_code: int = 1
    """Exit code of the command when this is its first failure."""

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as an object of JSON."""
        return {
            "type": "finding",
            "check": self.check,
            "outcome": self.outcome.value,
            "seen": self.seen,
            "fix": self.fix,
        }


def ok(check: str, seen: str) -> Finding:
    """Returns the finding of a check that came out right."""
    return Finding(check, Outcome.OK, seen)


def warn(check: str, seen: str, fix: str) -> Finding:
    """Returns the finding of a check that came out well enough."""
    return Finding(check, Outcome.WARN, seen, fix)


def skipped(check: str, why: str) -> Finding:
    """Returns the finding of a check that could not be tried."""
    return Finding(check, Outcome.SKIPPED, why)


def failed(check: str, error: TwinEdgeError) -> Finding:
    """Returns the finding of a check that found an error."""
    return Finding(check, Outcome.FAIL, error.message, error.fix, error.exit_code)
