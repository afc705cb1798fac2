"""Writing a recording."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from twin_edge import strict_json
from twin_edge.bundle.archive import Bundle
from twin_edge.errors import RecordingError
from twin_edge.recording import schema
from twin_edge.recording.chunks import CHUNK_BYTES, ChunkBuilder
from twin_edge.recording.reports import deflate
from twin_edge.recording.times import parse_iso
from twin_edge.sync.wire.events import HeardEvent
from twin_edge.sync.wire.messages import MAX_MESSAGE_BYTES, software
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import Codec, Flags, Packet

_BASE_EVERY: Final = 256
"""Every so many reports of a twin one is written in full; the others are written as what differs from it."""


class RecordingWriter:
    """Adds packets, reports, events and bundles to a recording; for one thread, and as a context manager.

    What is added is on the disk after `commit`, in one step: a crash takes what came after the last one and nothing
    else.

    Args:
        path: The file; made when it is not there, else added to.
        max_bytes: Size that the file is not to pass, its log included.

    Raises:
        RecordingError: It is another file, or cannot be written.

    Attributes:
        states: States that were added.
        packets: Packets that were added.
        reports: Reports that were added.
        events: Events that were added.
        full: Whether nothing more is written because of `max_bytes`.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self.states = self.packets = self.reports = self.events = 0
        self.full = False
        self._max_bytes = max_bytes
        self._database = schema.create(path)
        self._twins: dict[TwinId, int] = {}
        self._bundles: dict[str, int] = {}
        self._builders: dict[tuple[int, int], tuple[int, ChunkBuilder]] = {}
        """The chunk that is being built, with its bundle, by twin and kind."""
        self._bases: dict[int, tuple[int, bytes, int]] = {}
        """The last report in full of each twin: its id, itself, and how many have referred to it."""
        self._open = False
        with schema.writing_to(path):
            self._begin()
            self._database.execute(
                "INSERT OR IGNORE INTO about VALUES ('software', ?), ('begun', ?)", (software(), str(time.time_ns()))
            )
        self.commit()

    @property
    def size(self) -> int:
        """Bytes on the disk, the log beside the file included."""
        return schema.disk_bytes(self.path)

    def packet(self, twin: TwinId, bundle: Bundle, data: bytes, packet: Packet) -> None:
        """Adds a packet that has been read.

        Args:
            twin: Whose packet.
            bundle: Its bundle.
            data: The packet as it came.
            packet: The packet as it was read.

        Raises:
            RecordingError: It could not be written.
        """
        with schema.writing_to(self.path):
            bundle_id = self._bundle_id(bundle)
            if self.full:
                return
            twin_id = self._twin_id(twin)
            kind = schema.HISTORICAL if Flags.HISTORICAL in packet.flags else 0
            alone = packet.codec == Codec.RAW or Flags.KEY in packet.flags
            known, builder = self._builders.get((twin_id, kind), (bundle_id, None))
            if builder is not None and (known != bundle_id or len(builder) >= CHUNK_BYTES or Flags.KEY in packet.flags):
                self._write_chunk(twin_id, kind, known, builder)
                builder = None
            if builder is None:
                builder = ChunkBuilder()
                self._builders[twin_id, kind] = bundle_id, builder
            builder.add(data, packet.time_us + 1000 * packet.offsets_ms[-1], alone=alone)
        self.packets += 1
        self.states += len(packet.states)

    def report(self, twin: TwinId, data: bytes) -> None:
        """Adds a state report as it came.

        Raises:
            RecordingError: It could not be written.
        """
        if self.full:
            return
        with schema.writing_to(self.path):
            twin_id = self._twin_id(twin)
            base, text, used = self._bases.get(twin_id, (0, b"", _BASE_EVERY))
            alone = used >= _BASE_EVERY
            squeezed = deflate(data) if alone else deflate(data, text)
            cursor = self._insert(
                "INSERT INTO reports(twin, time_us, base, data) VALUES (?, ?, ?, ?)",
                (twin_id, _report_time(data), None if alone else base, squeezed),
            )
            self._bases[twin_id] = (cursor.lastrowid or 0, data, 1) if alone else (base, text, used + 1)
        self.reports += 1

    def event(self, twin: TwinId, data: bytes, event: HeardEvent) -> None:
        """Adds an event as it came.

        Raises:
            RecordingError: It could not be written.
        """
        if self.full:
            return
        with schema.writing_to(self.path):
            self._insert(
                "INSERT INTO events(twin, time_us, data) VALUES (?, ?, ?)",
                (self._twin_id(twin), parse_iso(event.ts), data),
            )
        self.events += 1

    def commit(self) -> None:
        """Brings all that was added to the disk.

        Raises:
            RecordingError: It could not be written.
        """
        with schema.writing_to(self.path):
            for (twin, kind), (bundle, builder) in self._builders.items():
                self._write_chunk(twin, kind, bundle, builder)
            self._builders.clear()
            if self._open:
                self._database.execute("COMMIT")
                self._open = False
        if self._max_bytes is not None and self.size >= self._max_bytes:
            self.full = True

    def close(self) -> None:
        """Commits, and makes one file of recording and log; may be called again.

        Raises:
            RecordingError: It could not be written.
        """
        try:
            self.commit()
            with schema.writing_to(self.path):
                self._database.execute("PRAGMA journal_mode = DELETE")
        except RecordingError:
            if not self._closed:
                raise
        finally:
            self._closed = True
            self._database.close()

    _closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        if not self._open:
            self._database.execute("BEGIN IMMEDIATE")
            self._open = True

    def _insert(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        self._begin()
        return self._database.execute(statement, values)

    def _write_chunk(self, twin: int, kind: int, bundle: int, builder: ChunkBuilder) -> None:
        self._insert(
            "INSERT INTO chunks(twin, bundle, kind, states, start_us, last_us, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                twin,
                bundle,
                kind | (schema.KEY if builder.key else 0),
                builder.states,
                builder.start_us,
                builder.end_us - builder.start_us,
                builder.data(),
            ),
        )

    def _twin_id(self, twin: TwinId) -> int:
        if twin not in self._twins:
            self._twins[twin] = self._id_of("twins", "name", str(twin), ())
        return self._twins[twin]

    def _bundle_id(self, bundle: Bundle) -> int:
        if bundle.digest not in self._bundles:
            if self._max_bytes is not None and self.size + len(bundle.data) > self._max_bytes:
                self.full = True
                return 0
            self._bundles[bundle.digest] = self._id_of("bundles", "digest", bundle.digest, (bundle.data,))
        return self._bundles[bundle.digest]

    def _id_of(self, table: str, column: str, name: str, rest: tuple[bytes, ...]) -> int:
        """Returns the id of a name in a table, which gets it if it is new."""
        marks = ", ".join("?" for _ in (name, *rest))
        names = ", ".join((column, "data") if rest else (column,))
        self._insert(f"INSERT OR IGNORE INTO {table}({names}) VALUES ({marks})", (name, *rest))  # noqa: S608 - ours
        row = self._database.execute(f"SELECT id FROM {table} WHERE {column} = ?", (name,)).fetchone()  # noqa: S608
        return int(row[0])


def _report_time(data: bytes) -> int:
    """Returns the time of a report that has been read, by the device's clock; that of this machine without one."""
    tree = strict_json.parse(data, max_bytes=MAX_MESSAGE_BYTES)
    try:
        return parse_iso(tree["value"]["twin"]["properties"]["ts"])
    except (KeyError, TypeError, ValueError):
        return time.time_ns() // 1000
