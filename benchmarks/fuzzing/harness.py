"""Running inputs through a parser: what came of each, how long it took, and how much memory."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, NoReturn

from fuzzing.mutate import Mutator
from twin_edge.errors import TwinEdgeError

ACCEPTED, REFUSED, FAILED = "accepted", "refused", "failed"
_MAX_KEPT: Final = 10
_TRACED_EVERY: Final = 97


@dataclass(frozen=True, slots=True)
class Target:
    """A parser and what to feed it."""

    name: str
    """What it reads."""
    mutate: Mutator
    """Makes an input."""
    parse: Callable[[bytes], object]
    """Reads it; raises one of `refusals`, or nothing."""
    weight: int
    """Its part of all inputs."""
    seconds: float = 1.0
    """Most processor time that an input may take: what else the machine does is not counted."""
    peak_bytes: int = 16 << 20
    """Most memory that Python may allocate for one input."""
    refusals: tuple[type[Exception], ...] = (TwinEdgeError,)
    """What the parser is documented to raise."""


@dataclass(slots=True)
class Report:
    """What came of a target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Number of inputs by outcome."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Number of refusals by error."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first failures: number of the input, why, and where."""
    slowest_ms: float = 0.0
    """Most processor time for one input, milliseconds."""
    peak_bytes: int = 0
    """Most memory for one input, of those that were traced (one in 97), bytes."""
    rss_growth_bytes: int = 0
    """By how much the most memory that the process ever had has grown, bytes."""
    seconds: float = 0.0
    """Processor time for all, seconds."""

    def to_json(self) -> dict[str, Any]:
        """Returns the report as an object of JSON."""
        return {
            "inputs": self.outcomes.total(),
            **{name: self.outcomes[name] for name in (ACCEPTED, REFUSED, FAILED)},
            "refused_by": dict(self.kinds.most_common()),
            "slowest_ms": round(self.slowest_ms, 1),
            "peak_bytes_of_one": self.peak_bytes,
            "rss_growth_bytes": self.rss_growth_bytes,
            "seconds": round(self.seconds, 1),
            "failures": self.failures,
        }


class TooLongError(BaseException):
    """An input takes too long; no `except Exception` may catch it."""


def make_input(target: Target, seed: int, number: int) -> bytes:
    """Returns one input, which depends on the arguments and the samples only."""
    return target.mutate(random.Random(f"{seed}:{target.name}:{number}"))


def run(target: Target, seed: int, count: int, *, first: int = 0) -> Report:
    """Feeds a target.

    Args:
        target: The parser.
        seed: Of the inputs.
        count: Number of inputs.
        first: Number of the first one.
    """
    report = Report()
    began, before = time.process_time(), _most_memory()
    for number in range(first, first + count):
        data = make_input(target, seed, number)
        _run_one(target, data, number, report)
    report.rss_growth_bytes = _most_memory() - before
    report.seconds = time.process_time() - began
    return report


def _run_one(target: Target, data: bytes, number: int, report: Report) -> None:
    traced = number % _TRACED_EVERY == 0
    if traced:
        tracemalloc.start()
    began = time.process_time()
    try:
        with _limited(target.seconds):
            outcome, why = _outcome(target, data)
    except TooLongError:
        outcome, why = FAILED, f"took more than {target.seconds:g} s"
    report.slowest_ms = max(report.slowest_ms, 1000 * (time.process_time() - began))
    if traced:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        report.peak_bytes = max(report.peak_bytes, peak)
        if peak > target.peak_bytes and outcome != FAILED:
            outcome, why = FAILED, f"allocated {peak} bytes"
    report.outcomes[outcome] += 1
    if outcome == REFUSED:
        report.kinds[why] += 1
    elif outcome == FAILED and len(report.failures) < _MAX_KEPT:
        report.failures.append({"number": number, "bytes": len(data), "why": why})


def _outcome(target: Target, data: bytes) -> tuple[str, str]:
    try:
        target.parse(data)
    except target.refusals as error:
        if "\n" in str(error):
            return FAILED, f"the error has more than one line: {str(error)!r:.200}"
        return REFUSED, type(error).__name__
    except (Exception, MemoryError) as error:  # noqa: BLE001 - anything else is what we are looking for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return FAILED, f"{type(error).__name__}: {error!s:.200} in {where.name}"
    return ACCEPTED, ""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    # Again and again: a parser may swallow the first one, and the interpreter may oversee it for long where another
    # thread has taken the signal.
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _most_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
