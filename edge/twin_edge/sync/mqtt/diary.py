"""What went wrong on a link: counted always, logged once for each kind and connection."""

from __future__ import annotations

import logging
from collections.abc import Callable

_LOGGER = logging.getLogger(__name__)


class Diary:
    """Counts and logs, and keeps handlers from ending the thread that calls them.

    Attributes:
        errors: Exceptions of handlers; each is a defect.
        oversize: Messages that were too long, in or out.
        dropped: Messages that were not handed to the network.
        connects: Connections since the start.
        trouble: What is wrong with the broker, in words; empty when nothing is known to be.
    """

    def __init__(self) -> None:
        self.errors = self.oversize = self.dropped = self.connects = 0
        self.trouble = ""
        self._logged: set[str] = set()

    def begin(self) -> None:
        """Counts a connection; what is wrong with this one is logged anew."""
        self.connects += 1
        self.trouble = ""
        self._logged.clear()

    def call(self, what: str, function: Callable[[], None]) -> None:
        """Calls a handler; what it raises is counted and logged.

        Args:
            what: Its name, for the log.
            function: The handler.
        """
        try:
            function()
        except Exception as error:  # noqa: BLE001 - no handler may end the network thread
            self.count_error(what, error)

    def count_error(self, what: str, error: Exception) -> None:
        """Counts an exception and logs the first one of its kind."""
        self.errors += 1
        kind = f"{what} {type(error).__name__}"
        if kind not in self._logged:
            self._logged.add(kind)
            _LOGGER.warning("a handler failed (%s); it goes on", kind, exc_info=error)

    def note(self, kind: str, text: str, value: object, *, warning: bool = False) -> None:
        """Logs something once.

        Args:
            kind: What counts as the same.
            text: The message, with one place for the value.
            value: The value.
            warning: Whether it is one, or else for information.
        """
        if kind not in self._logged:
            self._logged.add(kind)
            _LOGGER.log(logging.WARNING if warning else logging.INFO, text, value)
