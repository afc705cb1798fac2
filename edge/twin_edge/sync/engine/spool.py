"""The spool on the disk: an SQLite file that holds what waits while there is no broker.

Every method raises `SpoolError` where the disk does not do what it should, and then nothing of the change is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from twin_edge.errors import TwinEdgeError
from twin_edge.sync.engine.config import WAL_SHARE, EngineConfig

FILE_NAME: Final = "spool.sqlite3"
_SCHEMA: Final = 1
_PAGE_BYTES: Final = 4096
_TRANSACTION_SHARE: Final = 32
"""A transaction may have one part in so many of the cap, or a single message or part."""
_BUSY_S: Final = 2.0
_MAX_TOPIC: Final = 65_535
_KINDS: Final = frozenset({"critical", "state"})
_TABLES: Final = """
CREATE TABLE messages (
    serial INTEGER PRIMARY KEY, kind TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    retain INTEGER NOT NULL, correlation BLOB, waited_s REAL NOT NULL, failures INTEGER NOT NULL
) STRICT;
CREATE TABLE history (
    block INTEGER NOT NULL, part INTEGER NOT NULL, frames BLOB NOT NULL, PRIMARY KEY (block, part)
) STRICT;
"""
_MESSAGES: Final = (
    "SELECT serial, kind, topic, payload, retain, correlation, waited_s, failures FROM messages ORDER BY serial"
)
_PARTS: Final = "SELECT block, part, frames FROM history ORDER BY block, part"

_LOGGER = logging.getLogger(__name__)


class SpoolError(TwinEdgeError):
    """The disk does not take or give what it should; the link goes on in memory."""


class CorruptSpoolError(SpoolError):
    """The file is not a spool of this release, or damaged."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message on the disk."""

    serial: int
    """Its number; larger ones are younger."""
    kind: str
    """`critical` or `state`."""
    topic: str
    """MQTT topic."""
    payload: bytes
    """Any bytes."""
    retain: bool
    """Whether the broker is to keep it."""
    correlation: bytes | None
    """Correlation data of a request that it answers."""
    waited_s: float
    """How long it had waited when it was written, seconds of running time."""
    failures: int
    """How often it was set aside."""


@dataclass(frozen=True, slots=True)
class SpoolChanges:
    """What is to be written in one transaction."""

    stored: tuple[StoredMessage, ...] = ()
    """Messages to keep."""
    removed: tuple[int, ...] = ()
    """Numbers of messages to forget."""
    parts: tuple[tuple[int, int, bytes], ...] = ()
    """Parts of history blocks to keep: block, part, frames."""
    dropped: tuple[int, ...] = ()
    """Blocks to forget, before the parts are written."""
    durable: bool = False
    """Whether to wait until a power cut cannot take it back."""
    empties: bool = False
    """Whether nothing is left afterwards, so that the disk gets its room back."""

    def __bool__(self) -> bool:
        return bool(self.stored or self.removed or self.parts or self.dropped)


class Spool:
    """The file; for one thread at a time.

    Args:
        config: Where it lies, and its bounds.
    """

    def __init__(self, config: EngineConfig) -> None:
        if config.folder is None:
            raise ValueError("a spool needs a folder")
        self._config = config
        self._path = config.folder / FILE_NAME
        self._base: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._path.exists()

    @property
    def is_open(self) -> bool:
        """Whether the file is open, and still the one at its place."""
        if self._base is None:
            return False
        with contextlib.suppress(OSError):
            return self._path.stat().st_ino == self._inode
        return False

    def load(self) -> tuple[list[StoredMessage], list[tuple[int, int, bytes]]]:
        """Returns the messages and the parts of the history, the oldest first.

        Raises:
            CorruptSpoolError: It is damaged; it is set aside, and the next change begins a new one.
            SpoolError: It cannot be read.
        """
        with self._working() as base:
            rows = base.execute(_MESSAGES)
            messages = [
                StoredMessage(serial, kind, topic, payload, bool(retain), correlation, waited_s, failures)
                for serial, kind, topic, payload, retain, correlation, waited_s, failures in filter(_is_message, rows)
            ]
            parts = [row for row in base.execute(_PARTS) if _has_types(row, (int, int, bytes))]
            return messages, parts

    def write(self, changes: SpoolChanges) -> None:
        """Writes changes; each message and each part of them entirely or not at all.

        They are written in transactions of a bounded size: a single one of everything that waits, as after a failure of
        the disk, would make the write-ahead log as large as the file.

        Raises:
            CorruptSpoolError: It is damaged; it is set aside, and the next change begins a new one.
            SpoolError: The disk is full, read-only or broken, or has less room than the floor. Some of it may be there.
        """
        if changes.stored or changes.parts:
            self._check_floor()
        with self._working() as base:
            # It cannot be changed inside of a transaction.
            base.execute(f"PRAGMA synchronous = {'FULL' if changes.durable else 'NORMAL'}")
            for piece in _pieces(changes, self._config.max_bytes // _TRANSACTION_SHARE):
                _commit(base, piece)
            if changes.empties:
                # `execute` would give back a single page.
                base.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    def clear(self) -> None:
        """Forgets everything that is there, so that it can be written anew.

        Raises:
            SpoolError: See `write`.
        """
        with self._working() as base:
            base.execute("BEGIN IMMEDIATE")
            base.execute("DELETE FROM messages")
            base.execute("DELETE FROM history")
            base.execute("COMMIT")

    def close(self) -> None:
        """Closes the file; the next call that needs it opens it again."""
        base, self._base = self._base, None
        if base is not None:
            with contextlib.suppress(sqlite3.Error):
                base.close()

    def _check_floor(self) -> None:
        with contextlib.suppress(OSError):
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < self._config.free_floor_bytes:
                raise SpoolError(f"the disk of {self._path.parent} is nearly full", fix="free some space")

    @contextlib.contextmanager
    def _working(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._open()
        except (sqlite3.Error, UnicodeError) as error:
            self.close()
            if _is_damage(error):
                self._set_aside()
                raise CorruptSpoolError(f"{self._path} is damaged ({error}) and set aside") from error
            raise SpoolError(
                f"cannot use {self._path} ({error})", fix="free some space, or give --spool-dir"
            ) from error
        except OSError as error:
            self.close()
            message = f"cannot use {self._path} ({error.strerror or error})"
            raise SpoolError(message, fix="free some space, or give --spool-dir") from error

    def _open(self) -> sqlite3.Connection:
        if self.is_open and self._base is not None:
            return self._base
        # Somebody has taken the file away: what is written to it from now on would be lost.
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # What the twin saw is nobody else's business.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        base = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        self._base = base
        log_bytes = self._config.max_bytes // WAL_SHARE
        base.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        base.execute("PRAGMA auto_vacuum = INCREMENTAL")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute(f"PRAGMA wal_autocheckpoint = {max(4, log_bytes // _PAGE_BYTES)}")
        base.execute(f"PRAGMA journal_size_limit = {log_bytes}")
        base.execute(f"PRAGMA max_page_count = {self._config.file_bytes // _PAGE_BYTES}")
        version = base.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            base.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_SCHEMA}; COMMIT;")
        elif version != _SCHEMA:
            raise sqlite3.DatabaseError(f"it has version {version}")
        self._inode = self._path.stat().st_ino
        return base

    def _set_aside(self) -> None:
        """Keeps the damaged file, one at most, for whoever wants to look at it."""
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(f"{FILE_NAME}.corrupt"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
        _LOGGER.warning(
            "the spool %s is damaged; it is kept as %s.corrupt, and a new one begins", self._path, FILE_NAME
        )


def _pieces(changes: SpoolChanges, most_bytes: int) -> Iterator[SpoolChanges]:
    """Cuts changes into pieces, in the order in which they are to be written."""
    size = 0
    stored: list[StoredMessage] = []
    parts: list[tuple[int, int, bytes]] = []
    removed, dropped = changes.removed, changes.dropped
    everything: list[StoredMessage | tuple[int, int, bytes]] = [*changes.stored, *changes.parts]
    for one in everything:
        if size > most_bytes:
            yield SpoolChanges(tuple(stored), removed, tuple(parts), dropped)
            stored, parts, size, removed, dropped = [], [], 0, (), ()
        if isinstance(one, StoredMessage):
            stored.append(one)
            size += len(one.payload) + len(one.topic)
        else:
            parts.append(one)
            size += len(one[2])
    yield SpoolChanges(tuple(stored), removed, tuple(parts), dropped)


def _commit(base: sqlite3.Connection, piece: SpoolChanges) -> None:
    base.execute("BEGIN IMMEDIATE")
    try:
        base.executemany("DELETE FROM messages WHERE serial = ?", [(serial,) for serial in piece.removed])
        base.executemany("DELETE FROM history WHERE block = ?", [(block,) for block in piece.dropped])
        base.executemany(
            "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [dataclasses.astuple(one) for one in piece.stored],
        )
        base.executemany("INSERT OR REPLACE INTO history VALUES (?, ?, ?)", piece.parts)
        base.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            base.execute("ROLLBACK")
        raise


def _is_message(row: tuple[Any, ...]) -> bool:
    """Returns whether a row is one that was written, as far as can be told: in a damaged file values change type."""
    if not _has_types(row, (int, str, str, bytes, int, bytes | None, float, int)):
        return False
    serial, kind, topic, waited_s = row[0], row[1], row[2], row[6]
    return serial > 0 and kind in _KINDS and 0 < len(topic) <= _MAX_TOPIC and 0 <= waited_s < math.inf


def _has_types(row: tuple[Any, ...], types: tuple[Any, ...]) -> bool:
    return all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))


def _is_damage(error: sqlite3.Error | UnicodeError) -> bool:
    """Returns whether an error means that the file is no good, and not that the disk is."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, UnicodeError) or code is None:
        # What should be text, in a row or in a complaint about the tables, is none.
        return True
    if isinstance(error, sqlite3.OperationalError):
        # A plain error of ours does not happen: the tables are not what they were.
        damage = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
        return code & 0xFF in damage
    return isinstance(error, sqlite3.DatabaseError)
