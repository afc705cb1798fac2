"""Two numbers that only ever grow, over restarts and crashes: the session and the revision of the state report.

Where nothing usable is stored (first start, new SD card, corrupt file), both begin at a floor made from the clock:
the session at the seconds since the epoch, the revision at 2**20 times them. Subscribers and Eclipse Ditto that
remember a device from before then still see its numbers grow, as long as the clock is right; a revision that grows by
less than 2**20 a second never gets ahead of that floor.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from twin_edge import strict_json
from twin_edge.errors import ConfigError, TwinEdgeError
from twin_edge.files import write_atomic
from twin_edge.sync.wire.topics import TwinId

REV_BLOCK: Final = 4096
"""Revisions reserved by one write to the disk."""
_MAX_FILE_BYTES: Final = 4096
_MAX_SESSION: Final = 0xFFFF_FFFF
_MAX_REV: Final = (1 << 53) - 1
_REV_PER_SECOND: Final = 1 << 20

_LOGGER = logging.getLogger(__name__)


def default_folder(twin: TwinId) -> Path:
    """Returns where the counters of a twin are kept: below `$XDG_STATE_HOME`, or `~/.local/state`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path("~/.local/state").expanduser()
    return root / "twin-edge" / twin.namespace / twin.device


class Counters:
    """The counters of one twin, and the lock on its identity; open it once in a process.

    `Counters.open` makes one; use it as a context manager or call `close`.
    """

    def __init__(self, folder: Path, lock: int | None, session: int, rev: int) -> None:
        self._path = folder / "counters.json"
        self._lock_file = lock
        self._mutex = threading.Lock()
        self._session = session
        self._rev = rev
        self._reserved = rev
        self._warned = False

    @classmethod
    def open(cls, twin: TwinId, folder: Path | None = None) -> Counters:
        """Takes the lock and counts this start of the process.

        Args:
            twin: Whose counters.
            folder: Where they are kept; `default_folder` when None.

        Raises:
            ConfigError: Another process of this machine is this twin.
        """
        folder = default_folder(twin) if folder is None else folder
        lock = _lock(folder, twin)
        session, rev = _read(folder / "counters.json")
        counters = cls(folder, lock, session % _MAX_SESSION + 1, rev)
        counters._reserve()
        return counters

    @property
    def session(self) -> int:
        """Number of this process start, u32, larger than every one before."""
        return self._session

    def next_rev(self) -> int:
        """Returns the next revision; writes to the disk once in 4096 calls, and never raises."""
        with self._mutex:
            if self._rev >= self._reserved:
                self._reserve()
            self._rev += 1
            return self._rev

    def close(self) -> None:
        """Gives the identity free; may be called again."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reserve(self) -> None:
        reserved = min(self._rev + REV_BLOCK, _MAX_REV)
        try:
            write_atomic(self._path, strict_json.dump({"session": self._session, "rev": reserved}))
        except TwinEdgeError as error:
            if not self._warned:
                self._warned = True
                _LOGGER.warning("%s; until then the counters come from the clock", error)
            self._session = max(self._session, min(int(time.time()), _MAX_SESSION))
            self._rev = max(self._rev, _rev_floor())
            reserved = self._rev + REV_BLOCK
        self._reserved = reserved


def _read(path: Path) -> tuple[int, int]:
    """Returns the last session and the highest reserved revision."""
    floor = min(max(int(time.time()), 0), _MAX_SESSION), _rev_floor()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return floor
    except OSError as error:
        _LOGGER.warning("cannot read %s (%s); the counters go on from the clock", path, error.strerror)
        return floor
    try:
        value: Any = strict_json.parse(data, max_bytes=_MAX_FILE_BYTES)
        session, rev = value["session"], value["rev"]
        if type(session) is int and type(rev) is int and 0 <= session <= _MAX_SESSION and 0 <= rev < _MAX_REV:
            return session, rev
    except (ValueError, KeyError, TypeError):
        pass
    _LOGGER.warning("%s is corrupt and set aside; the counters go on from the clock", path)
    with contextlib.suppress(OSError):
        path.replace(path.with_name(f"{path.name}.corrupt"))
    return floor


def _rev_floor() -> int:
    return min(max(int(time.time()), 0) * _REV_PER_SECOND, _MAX_REV - REV_BLOCK)


def _lock(folder: Path, twin: TwinId) -> int | None:
    """Takes the lock on the identity; None where no lock can be had, as on a read-only disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"another process of this machine already is the twin {twin}",
            fix="stop it, or choose another name with --twin",
        ) from error
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
