"""The file of a recording: an SQLite database of one exact form."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twin_edge.bundle.archive import MAX_BUNDLE_BYTES
from twin_edge.errors import ConfigError, RecordingError

APPLICATION_ID: Final = 0x7477_6E72
"""What says in the file's header that it is a recording: `twnr`."""
SCHEMA: Final = 1
MAX_TWINS: Final = 65_536
MAX_BUNDLES: Final = 4096
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_MAX_VALUE_BYTES: Final = MAX_BUNDLE_BYTES + 4096
_BUSY_S: Final = 5.0

KEY, HISTORICAL = 1, 2
"""Bits of a chunk's kind: it begins with a packet that needs none before it; its packets came after an outage."""

TABLES: Final = {
    "about": "CREATE TABLE about(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "twins": "CREATE TABLE twins(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "bundles": "CREATE TABLE bundles(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, data BLOB NOT NULL)",
    "chunks": (
        "CREATE TABLE chunks(id INTEGER PRIMARY KEY, twin INTEGER NOT NULL, bundle INTEGER NOT NULL, "
        "kind INTEGER NOT NULL, states INTEGER NOT NULL, start_us INTEGER NOT NULL, last_us INTEGER NOT NULL, "
        "data BLOB NOT NULL)"
    ),
    "reports": (
        "CREATE TABLE reports(id INTEGER PRIMARY KEY, twin INTEGER NOT NULL, time_us INTEGER NOT NULL, base INTEGER, "
        "data BLOB NOT NULL)"
    ),
    "events": (
        "CREATE TABLE events(id INTEGER PRIMARY KEY, twin INTEGER NOT NULL, time_us INTEGER NOT NULL, "
        "data BLOB NOT NULL)"
    ),
}
"""`last_us` counts from `start_us`. A report with a base is deflated with the report of that id as its dictionary."""
INDEXES: Final = {
    "key_chunks": "CREATE INDEX key_chunks ON chunks(twin, start_us) WHERE kind & 1",
    "reports_by_time": "CREATE INDEX reports_by_time ON reports(twin, time_us)",
    "events_by_time": "CREATE INDEX events_by_time ON events(twin, time_us)",
}
_AUTOMATIC: Final = re.compile(r"sqlite_autoindex_(twins|bundles)_1")


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turns what SQLite says when it cannot write into one error.

    Raises:
        RecordingError: What is wrong, and that nothing is lost that was there.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RecordingError(
            f"cannot write {path} ({error}); what was recorded until then is in it",
            fix="free some space or choose another place, then record into the same file again to go on",
        ) from error


@contextlib.contextmanager
def reading_from(path: Path) -> Iterator[None]:
    """Turns what SQLite finds wrong with a file into one error.

    Raises:
        RecordingError: What is wrong.
    """
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> RecordingError:
    """Returns the error for a file that is not as it was written."""
    return RecordingError(
        f"the recording {path} is damaged ({why})",
        fix="get it again from where it was made; sqlite3's .recover may save what is left",
    )


def create(path: Path) -> sqlite3.Connection:
    """Makes a new recording, or opens one to add to it.

    Raises:
        RecordingError: There is another file already, or it cannot be written.
    """
    refuse_another_file(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        with writing_to(path):
            _protect(database)
            database.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last second or so; it damages nothing, and the disk is asked to flush seldom.
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("BEGIN IMMEDIATE")
            if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                for statement in (*TABLES.values(), *INDEXES.values()):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.execute("COMMIT")
        with reading_from(path):
            _check_schema(database, path)
    except BaseException:
        database.close()
        raise
    return database


def refuse_another_file(path: Path) -> None:
    """Refuses what is there and is no recording to add to.

    Raises:
        RecordingError: It is another file.
    """
    if path.exists() and (not path.is_file() or path.stat().st_size):
        with reading_from(path):
            _check_header(path)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Opens an untrusted recording: whatever is in it, no statement of it is ever run.

    Raises:
        ConfigError: There is no such file.
        RecordingError: It is not a recording, one of a later release, damaged, or cannot be read.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"the recording {path} {what}", fix="give the FILE that 'twin-edge record' wrote")
    with reading_from(path):
        _check_header(path)
        uri = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        try:
            _protect(database)
            database.execute("PRAGMA query_only = ON")
            _check_schema(database, path)
        except BaseException:
            database.close()
            raise
    return database


def _protect(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    database.execute("PRAGMA mmap_size = 0")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    database.text_factory = _text


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _check_header(path: Path) -> None:
    """Refuses what is no recording by its first bytes, before SQLite looks at it."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise RecordingError(f"cannot read {path} ({error.strerror})", fix="check its permissions") from error
    application = int.from_bytes(header[68:72], "big")
    version = int.from_bytes(header[60:64], "big")
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC) or application != APPLICATION_ID:
        # The header of a recording that has just begun may still lie in the log beside it.
        if header.startswith(_MAGIC) and Path(f"{path}-wal").exists() and not application:
            return
        raise RecordingError(f"{path} is not a recording", fix="give a FILE that 'twin-edge record' wrote")
    if version != SCHEMA:
        later = version > SCHEMA
        raise RecordingError(
            f"{path} is a recording of version {version}, this release reads {SCHEMA}",
            fix="a later release made it: upgrade twin-edge" if later else "read it with the release that made it",
        )


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    """Refuses a database with anything else in it than what a recording has: triggers, views, other tables."""
    wanted = TABLES | INDEXES
    rows = database.execute(
        "SELECT name, sql FROM sqlite_schema ORDER BY rowid LIMIT ?", (2 * len(wanted) + 8,)
    ).fetchall()
    found = {name: sql for name, sql in rows if not (sql is None and _AUTOMATIC.fullmatch(str(name)))}
    if len(rows) != len(set(rows)) or found != wanted:
        raise RecordingError(f"{path} is not a recording", fix="give a FILE that 'twin-edge record' wrote")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or version != SCHEMA:
        raise damaged(path, "its header is wrong")


def disk_bytes(path: Path) -> int:
    """Returns what a recording takes on the disk, its log included."""
    total = 0
    for each in (path, Path(f"{path}-wal")):
        with contextlib.suppress(OSError):
            total += os.stat(each).st_size  # noqa: PTH116 - the plain call is quicker
    return total
