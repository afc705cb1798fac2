"""What every command does the same way: errors in one line, exit codes, logs on stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator

from twin_edge.errors import TwinEdgeError

INTERRUPTED = 130
_UNEXPECTED = 1


def run_command(command: Callable[[], None], *, debug: bool) -> None:
    """Runs a command; turns errors into one line on stderr and an exit code.

    Args:
        command: What to do.
        debug: Whether to show tracebacks as well, and debug logs.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s",
        force=True,
    )
    try:
        command()
    except TwinEdgeError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the one line
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone (as in `| head`); Python would complain while flushing.
        sys.stdout = None
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - whatever it is, one line and an exit code
        if debug:
            traceback.print_exc()
        print(f"error: {type(error).__name__}: {error}; --debug shows where", file=sys.stderr)  # noqa: T201
        sys.exit(_UNEXPECTED)


@contextlib.contextmanager
def native_stderr_hidden() -> Iterator[None]:
    """Keeps what C++ libraries write to file descriptor 2 off the terminal.

    TensorFlow logs while it is imported, before any of its own log levels hold. Python's `sys.stderr` goes through.
    """
    sys.stderr.flush()
    before = os.dup(2)
    python_stderr = sys.stderr
    try:
        with open(os.devnull, "wb") as nowhere, os.fdopen(os.dup(before), "w", buffering=1) as kept:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
            sys.stderr = kept
            try:
                yield
            finally:
                sys.stderr = python_stderr
    finally:
        os.dup2(before, 2)
        os.close(before)
