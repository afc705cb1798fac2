"""The thread that keeps the disk like the memory: whatever waits too long is written, and what is gone is removed.

Nothing waits for this thread, and what it cannot write stays in memory.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from twin_edge.sync.engine.spool import CorruptSpoolError, Spool, SpoolChanges, SpoolError

_BATCH_S: Final = 1.0
"""Changes that are not urgent are written together, once in this time."""
_RETRY_S: Final = 15.0
"""A disk that failed is tried again after this time."""
_CLOSE_S: Final = 5.0

_LOGGER = logging.getLogger(__name__)


class Need(enum.Enum):
    """Whether something is to be written."""

    NONE = "none"
    """No."""
    SOON = "soon"
    """Yes, with whatever else comes within a second."""
    NOW = "now"
    """At once: somebody wants to be told that it is safe."""


class Ledger(Protocol):
    """What the disk should have: the engine."""

    def collect(self) -> SpoolChanges:
        """Returns what is to be written now, if anything is."""

    def written(self, changes: SpoolChanges) -> None:
        """Takes note that changes are on the disk."""

    def rewrite(self) -> None:
        """Takes note that the disk has nothing any more."""


class Keeper:
    """Writes what a ledger says, in a thread of its own.

    Args:
        spool: The file.
        ledger: What should be in it.
        clock: Monotonic seconds.

    Attributes:
        errors: Changes that the disk did not take.
        degraded: Whether the link goes on in memory alone.
    """

    def __init__(self, spool: Spool, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._spool = spool
        self._ledger = ledger
        self._clock = clock
        self._changed = threading.Condition()
        self._urgent = self._dirty = self._closing = False
        self._next_s = 0.0
        self._thread: threading.Thread | None = None
        self.errors = 0
        self.degraded = False

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="twin-spool", daemon=True)
        self._thread.start()

    def nudge(self, need: Need) -> None:
        """Has written what is to be; never waits for the disk."""
        if need is Need.NONE:
            return
        with self._changed:
            urgent = need is Need.NOW
            if self._dirty and self._urgent >= urgent:
                return
            self._dirty = True
            self._urgent = self._urgent or urgent
            self._changed.notify()

    def close(self) -> None:
        """Writes what is left, for some seconds at most, and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while self._wait():
            self.write_once()
        self.write_once()
        self._spool.close()

    def _wait(self) -> bool:
        """Waits until something is to be written; returns False when it is the last time."""
        with self._changed:
            while not self._closing:
                left_s = self._next_s - self._clock()
                if self._dirty and (left_s <= 0 or (self._urgent and not self.degraded)):
                    break
                self._changed.wait(left_s if self._dirty else None)
            self._dirty = self._urgent = False
            return not self._closing

    def write_once(self) -> None:
        """Writes what is to be written now."""
        try:
            if self.degraded:
                # What is there is of before the failure.
                self._spool.clear()
                self._ledger.rewrite()
            changes = self._ledger.collect()
            if changes:
                self._spool.write(changes)
                self._ledger.written(changes)
        except CorruptSpoolError:
            self.errors += 1
            self._ledger.rewrite()
            self._again(0.0)
            return
        except SpoolError as error:
            self.errors += 1
            self._ledger.rewrite()
            if not self.degraded:
                _LOGGER.warning("%s; until then the link keeps what waits in memory only", error)
            self.degraded = True
            self._again(_RETRY_S)
            return
        except Exception:
            self.errors += 1
            self._ledger.rewrite()
            _LOGGER.exception("the spool failed")
            self.degraded = True
            self._again(_RETRY_S)
            return
        if self.degraded:
            _LOGGER.warning("the disk works again; what waits is on it")
        self.degraded = False
        self._next_s = self._clock() + _BATCH_S

    def _again(self, after_s: float) -> None:
        with self._changed:
            self._dirty = True
            self._next_s = self._clock() + after_s
