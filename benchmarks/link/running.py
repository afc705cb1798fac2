"""Running cases: each in a process of its own, some at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from link.bench import Bench
from link.cases import CASES, LIMIT_S
from link.verdict import FAIL, NOT_RUNNABLE, NotRunnableError
from twin_edge.bundle import Bundle

FULL_LIMIT_S: Final = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case with one client; as it stands in the result file."""

    case: int
    """1-32."""
    name: str
    """Of the case."""
    result: str
    """`pass`, `fail` or `not-runnable`."""
    evidence: str
    """What was measured, or why it cannot be run."""
    seconds: float
    """How long it took."""


def run_here(number: int, client: str, bundle: Path, *, full: bool = False) -> Outcome:
    """Runs a case in this process."""
    case = CASES[number]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twin-link-") as folder:
        bench = Bench(client, Path(folder), Bundle.open(bundle), full)
        try:
            with bench.stack:
                case.run(bench)
            result, evidence = bench.verdict.result, bench.verdict.evidence
        except NotRunnableError as error:
            result, evidence = NOT_RUNNABLE, str(error)
        except Exception as error:  # noqa: BLE001 - whatever breaks a case off is its result
            result = FAIL
            evidence = f"NOT: broke off by {type(error).__name__}: {error}; {bench.verdict.evidence}"
    evidence = evidence.replace(folder, "...")
    return Outcome(number, case.name, result, evidence, round(time.monotonic() - began, 1))


def run_apart(number: int, client: str, bundle: Path, *, full: bool = False) -> Outcome:
    """Runs a case in a process of its own, and ends that when it takes too long."""
    command = [sys.executable, "-m", "link", "case", str(number), "--client", client, "--bundle", str(bundle)]
    limit_s = FULL_LIMIT_S if full else LIMIT_S
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twin-link-", ignore_cleanup_errors=True) as folder:
        path = os.pathsep.join(path for path in sys.path if path)
        with subprocess.Popen(
            [*command, "--full"] if full else command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "TMPDIR": folder},
            start_new_session=True,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=limit_s)
                return Outcome(**json.loads(out.splitlines()[-1]))
            except subprocess.TimeoutExpired:
                evidence = f"NOT: not finished after {limit_s:.0f} s"
            except (IndexError, ValueError, TypeError):
                evidence = f"NOT: the process of the case ended with {process.returncode}: {err.strip()[-300:]}"
            finally:
                # Brokers and devices of the case are in its group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return Outcome(number, CASES[number].name, FAIL, evidence, round(time.monotonic() - began, 1))


def run_all(
    numbers: Sequence[int],
    clients: Sequence[str],
    bundle: Path,
    *,
    full: bool,
    jobs: int,
    told: Callable[[str, Outcome], None],
) -> dict[str, list[Outcome]]:
    """Runs cases with clients, some at a time.

    Args:
        numbers: Of the cases.
        clients: Their names.
        bundle: File of the bundle.
        full: Whether to run the long forms.
        jobs: How many at a time.
        told: Called with the client and the outcome as each is done.

    Returns:
        Outcomes by client, in the order of their numbers.
    """

    def run(work: tuple[int, str]) -> tuple[str, Outcome]:
        number, client = work
        outcome = run_apart(number, client, bundle, full=full)
        told(client, outcome)
        return client, outcome

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(run, [(number, client) for number in numbers for client in clients]))
    return {client: sorted((o for c, o in done if c == client), key=lambda o: o.case) for client in clients}


def as_json(outcomes: dict[str, list[Outcome]]) -> bytes:
    """Returns the content of the result file."""
    value = {client: [asdict(outcome) for outcome in each] for client, each in outcomes.items()}
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
