"""Ending a command by a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130


def interrupt_on_sigterm() -> None:
    """Makes SIGTERM do what Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def stop_on_signals(stop: Callable[[], None], serving: Callable[[], bool]) -> None:
    """Makes SIGTERM and SIGINT stop a service, or end the process while it still starts.

    Args:
        stop: Asks the service to stop; must do next to nothing, it may interrupt any line.
        serving: Whether the service is up and will do so.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        stop()
        if not serving():
            # A service manager that takes a start back has not seen a failure.
            sys.exit(INTERRUPTED if number == signal.SIGINT else 0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
