"""The list of cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from link.bench import Bench

LIMIT_S: Final = 180.0
"""What a case may take in its short form before it is ended."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which things go wrong."""

    number: int
    """1-32."""
    name: str
    """In a few words."""
    expect: str
    """What must hold."""
    run: Callable[[Bench], None]
    """Does it, and fills `Bench.verdict`."""


CASES: Final[dict[int, Case]] = {}


def case(number: int, name: str, *, expect: str) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Puts a function into the list of cases; its docstring says what it does."""

    def register(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
        if number in CASES:
            raise ValueError(f"there are two cases {number}")
        CASES[number] = Case(number, name, expect, function)
        return function

    return register
