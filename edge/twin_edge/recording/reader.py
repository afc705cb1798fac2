"""Reading a recording: what is in it, and every state of it at any time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from twin_edge.bundle.archive import MAX_BUNDLE_BYTES, Bundle
from twin_edge.errors import BundleError, ConfigError, LostPacketError, MessageError, RecordingError
from twin_edge.recording import schema
from twin_edge.recording.chunks import MAX_CHUNK_BYTES, read_chunk
from twin_edge.recording.contents import RecordedTwin
from twin_edge.recording.reports import RecordedReport, recorded_reports
from twin_edge.recording.values import Values
from twin_edge.sync.view.bundles import LoadedBundle
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.events import MAX_EVENT_BYTES, parse_event
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.packet import MAX_TIME_US, Flags, Packet, seq_distance

_MAX_LOADED: Final = 8


class Recording:
    """Reads an untrusted recording, one that is still being written as well; a context manager.

    Args:
        path: The file.

    Raises:
        ConfigError: There is no such file.
        RecordingError: It is not a recording, one of a later release, damaged, or cannot be read.

    Attributes:
        path: The file.
        unreadable: Packets that could not be read so far, because one before them is missing, or does not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0
        self._values = Values(path)
        self._loaded: dict[int, LoadedBundle] = {}
        try:
            self._twins = self._read_twins()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file; may be called again."""
        self._values.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def twins(self) -> tuple[TwinId, ...]:
        """The twins in it, in the order in which they were found."""
        return tuple(self._twins)

    def only_twin(self, name: str | None) -> TwinId:
        """Returns the twin of a name; without one, the only one in the recording.

        Raises:
            ConfigError: It is not in there, or there are several to choose from.
        """
        names = ", ".join(map(str, self.twins[:8])) + (", ..." if len(self.twins) > 8 else "")  # noqa: PLR2004
        if not self.twins:
            raise RecordingError(f"the recording {self.path} is empty: no twin was heard", fix="record again")
        if name is None and len(self.twins) > 1:
            raise ConfigError(f"{self.path} has several twins", fix=f"choose one with --twin: {names}")
        twin = self.twins[0] if name is None else TwinId.parse(name)
        if twin not in self._twins:
            raise ConfigError(f"{twin} is not in {self.path}", fix=f"it has {names}")
        return twin

    def contents(self, twin: TwinId) -> RecordedTwin:
        """Returns what is in it of one twin.

        Raises:
            RecordingError: It is damaged.
        """
        number = self._twins[twin]
        chunks = self._values.row(
            "SELECT coalesce(sum(states), 0), coalesce(sum(CASE WHEN kind & 2 THEN states ELSE 0 END), 0), "
            "min(start_us), max(start_us + last_us), coalesce(sum(length(data)), 0) FROM chunks WHERE twin = ?",
            (number,),
        )
        reports = self._values.row(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM reports WHERE twin = ?", (number,)
        )
        events = self._values.row("SELECT count(*) FROM events WHERE twin = ?", (number,))
        digests = self._values.rows(
            "SELECT digest FROM bundles WHERE id IN (SELECT bundle FROM chunks WHERE twin = ?) ORDER BY id LIMIT ?",
            (number, schema.MAX_BUNDLES),
        )
        numbers = [self._values.whole(0 if value is None else value) for value in (*chunks, *reports, *events)]
        states, historical, begin_us, end_us, size, report_count, report_bytes, event_count = numbers
        return RecordedTwin(
            twin,
            states=states,
            historical=historical,
            begin_us=begin_us,
            end_us=end_us,
            bytes=size,
            reports=report_count,
            report_bytes=report_bytes,
            events=event_count,
            bundles=tuple(self._values.digest(row[0]) for row in digests),
        )

    def bundles(self, twin: TwinId) -> Iterator[Bundle]:
        """Goes through the bundles of a twin.

        Raises:
            RecordingError: It is damaged.
            BundleError: A bundle in it cannot be used.
        """
        rows = self._values.rows(
            "SELECT DISTINCT bundle FROM chunks WHERE twin = ? LIMIT ?", (self._twins[twin], schema.MAX_BUNDLES)
        )
        for (number,) in list(rows):
            yield self._bundle(self._values.whole(number)).bundle

    def updates(self, twin: TwinId, begin_us: int = 0, end_us: int = MAX_TIME_US) -> Iterator[TwinUpdate]:
        """Goes through the states between two times, ends included, by the device's clock, each once.

        What came late stands where it belongs. Renderings are made when they are looked at. States that cannot be read
        are left out, and the next one says so in `missed`.

        Raises:
            RecordingError: It is damaged.
            BundleError: A bundle in it cannot be used.
        """
        streams = [self._stream(twin, kind, begin_us, end_us) for kind in (0, schema.HISTORICAL)]
        reports = self._reports_around(twin, begin_us, end_us)
        report, following = None, next(reports, None)
        last: TwinUpdate | None = None
        for update in heapq.merge(*streams, key=lambda each: each.time_us):
            if last is not None and last.session == update.session:
                ahead = seq_distance(update.seq, last.seq)
                if ahead < 1 and update.time_us <= last.time_us:
                    # Who records into the same file again hears the last key once more.
                    continue
                update.missed = max(0, ahead - 1)
            last = update
            while following is not None and following.time_us <= update.time_us:
                report, following = following.report, next(reports, None)
            if report is not None:
                update.gap, update.in_sync = report.gap, report.in_sync
            yield update

    def state_at(self, twin: TwinId, time_us: int) -> TwinUpdate:
        """Returns the last state that was captured at a time or before.

        Raises:
            ConfigError: There is none.
            RecordingError: It is damaged.
            BundleError: A bundle in it cannot be used.
        """
        found = None
        for begin_us in (self._key_before(twin, time_us), 0):
            for found in self.updates(twin, begin_us, time_us):  # noqa: B007 - the last one is wanted
                pass
            if found is not None:
                return found
        raise ConfigError(
            f"{self.path} has no state of {twin} from that time or before",
            fix="'twin-edge replay FILE' shows when it begins",
        )

    def reports(self, twin: TwinId, begin_us: int = 0, end_us: int = MAX_TIME_US) -> Iterator[RecordedReport]:
        """Goes through the reports between two times, ends included; ones that do not fit are left out.

        Raises:
            RecordingError: It is damaged.
        """
        for report in recorded_reports(self._values, twin, self._twins[twin], begin_us, end_us):
            if report is None:
                self.unreadable += 1
            else:
                yield report

    def events(self, twin: TwinId, begin_us: int = 0, end_us: int = MAX_TIME_US) -> Iterator[TwinEvent]:
        """Goes through the events between two times, ends included; ones that do not fit are left out.

        Raises:
            RecordingError: It is damaged.
        """
        rows = self._values.rows(
            "SELECT data FROM events WHERE twin = ? AND time_us BETWEEN ? AND ? ORDER BY time_us, id",
            (self._twins[twin], begin_us, end_us),
        )
        for (data,) in rows:
            try:
                yield TwinEvent(twin, parse_event(self._values.blob(data, MAX_EVENT_BYTES)))
            except MessageError:
                self.unreadable += 1

    def _stream(self, twin: TwinId, kind: int, begin_us: int, end_us: int) -> Iterator[TwinUpdate]:
        """Goes through the states of one chain: those that came live, or those that came late."""
        reader, before = None, -1
        for bundle, packets in self._chunks(twin, kind, begin_us, end_us):
            loaded = self._bundle(bundle)
            if bundle != before or reader is None:
                reader, before = loaded.reader(), bundle
            for data in packets:
                packet = self._read(reader, data)
                if packet is None:
                    continue
                for place in range(len(packet.states)):
                    update = _update(twin, loaded, packet, place)
                    if begin_us <= update.time_us <= end_us:
                        yield update

    def _chunks(self, twin: TwinId, kind: int, begin_us: int, end_us: int) -> Iterator[tuple[int, list[bytes]]]:
        number = self._twins[twin]
        first = self._values.one(
            "SELECT id FROM chunks WHERE twin = ? AND start_us <= ? AND kind & 1 AND kind & 2 = ? "
            "ORDER BY start_us DESC, id DESC LIMIT 1",
            (number, begin_us, kind),
        )
        rows = self._values.rows(
            "SELECT id, bundle, start_us, data FROM chunks WHERE id >= ? AND twin = ? AND kind & 2 = ? ORDER BY id",
            (first or 0, number, kind),
        )
        last = -1
        for chunk, bundle, start_us, data in rows:
            # A damaged tree may go round in circles.
            if self._values.whole(chunk) <= last:
                raise schema.damaged(self.path, "its rows are out of order")
            last = chunk
            if self._values.whole(start_us) > end_us:
                return
            try:
                yield self._values.whole(bundle), read_chunk(self._values.blob(data, MAX_CHUNK_BYTES))
            except MessageError as error:
                raise schema.damaged(self.path, error.message) from error

    def _read(self, reader: PacketReader, data: bytes) -> Packet | None:
        try:
            return reader.read(data)
        except (LostPacketError, MessageError):
            self.unreadable += 1
            return None

    def _reports_around(self, twin: TwinId, begin_us: int, end_us: int) -> Iterator[RecordedReport]:
        """Goes through the reports of a time, the last one before it included."""
        before = self._values.one(
            "SELECT max(time_us) FROM reports WHERE twin = ? AND time_us <= ?", (self._twins[twin], begin_us)
        )
        return self.reports(twin, begin_us if before is None else before, end_us)

    def _key_before(self, twin: TwinId, time_us: int) -> int:
        """Returns the beginning of the last chunk with a key at a time or before, 0 without one."""
        found = self._values.one(
            "SELECT max(start_us) FROM chunks WHERE twin = ? AND start_us <= ? AND kind & 1",
            (self._twins[twin], time_us),
        )
        return found or 0

    def _bundle(self, number: int) -> LoadedBundle:
        if number in self._loaded:
            return self._loaded[number]
        rows = self._values.rows("SELECT digest, data FROM bundles WHERE id = ?", (number,))
        for digest, data in rows:
            try:
                bundle = Bundle.from_bytes(self._values.blob(data, MAX_BUNDLE_BYTES))
            except BundleError as error:
                raise type(error)(f"a bundle in {self.path} is refused ({error.message})", fix=error.fix) from error
            if bundle.digest != digest:
                raise schema.damaged(self.path, "a bundle is another one than it says")
            if len(self._loaded) >= _MAX_LOADED:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[number] = LoadedBundle(bundle)
            return self._loaded[number]
        raise schema.damaged(self.path, "a bundle is missing")

    def _read_twins(self) -> dict[TwinId, int]:
        twins: dict[TwinId, int] = {}
        for number, name in self._values.rows("SELECT id, name FROM twins ORDER BY id LIMIT ?", (schema.MAX_TWINS,)):
            try:
                twins[TwinId.parse(str(name))] = self._values.whole(number)
            except ConfigError as error:
                raise schema.damaged(self.path, "it names a twin that cannot be") from error
        return twins


def _update(twin: TwinId, loaded: LoadedBundle, packet: Packet, place: int) -> TwinUpdate:
    return TwinUpdate(
        twin,
        packet.session,
        packet.seqs()[place],
        packet.time_us + 1000 * packet.offsets_ms[place],
        packet.states[place],
        0,
        Flags.KEY in packet.flags,
        packet.payload_bytes / len(packet.states),
        Flags.HISTORICAL in packet.flags,
        None,
        None,
        loaded.renderer,
    )
