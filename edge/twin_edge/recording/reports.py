"""The state reports of a recording: deflated, most of them with an earlier one as the dictionary."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.recording.values import Values
from twin_edge.sync.wire.messages import MAX_MESSAGE_BYTES, HeardReport, parse_state
from twin_edge.sync.wire.topics import TwinId

_RAW_DEFLATE: Final = -15
"""Deflate without a header: the database knows what it is and how long."""


@dataclass(frozen=True, slots=True)
class RecordedReport:
    """A state report and its time."""

    time_us: int
    """Microseconds since the epoch, by the device's clock."""
    report: HeardReport
    """The report."""


def deflate(data: bytes, dictionary: bytes = b"") -> bytes:
    """Returns deflated data.

    Args:
        data: Any bytes.
        dictionary: What it is like; the same is needed to inflate it.
    """
    coder = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, zdict=dictionary)
    return coder.compress(data) + coder.flush()


def inflate(data: bytes, dictionary: bytes = b"") -> bytes:
    """Returns what was deflated; never more than a message may have.

    Raises:
        MessageError: It is not readable, or too long.
    """
    coder = zlib.decompressobj(_RAW_DEFLATE, zdict=dictionary)
    try:
        text = coder.decompress(data, MAX_MESSAGE_BYTES)
    except zlib.error as error:
        raise MessageError(f"a report cannot be unpacked ({error})") from error
    if not coder.eof or coder.unused_data:
        raise MessageError("a report is too long, or not whole")
    return text


def recorded_reports(
    values: Values, twin: TwinId, number: int, begin_us: int, end_us: int
) -> Iterator[RecordedReport | None]:
    """Goes through the reports of a twin between two times, ends included; None for one that does not fit.

    Args:
        values: The recording.
        twin: Which twin.
        number: Its id in the recording.
        begin_us: From when, microseconds since the epoch.
        end_us: Until when.

    Raises:
        RecordingError: It is damaged.
    """
    rows = values.rows(
        "SELECT id, time_us, base, data FROM reports WHERE twin = ? AND time_us BETWEEN ? AND ? ORDER BY time_us, id",
        (number, begin_us, end_us),
    )
    known = (-1, b"")
    for row_id, time_us, base, squeezed in rows:
        try:
            data = values.blob(squeezed, MAX_MESSAGE_BYTES)
            if base is None:
                known = (values.whole(row_id), inflate(data))
                text = known[1]
            else:
                if values.whole(base) != known[0]:
                    known = (base, _base(values, number, base))
                text = inflate(data, known[1])
            yield RecordedReport(values.whole(time_us), parse_state(twin, text))
        except MessageError:
            yield None


def _base(values: Values, number: int, base: int) -> bytes:
    """Returns a report that others refer to."""
    rows = values.rows("SELECT data FROM reports WHERE id = ? AND twin = ? AND base IS NULL", (base, number))
    for (squeezed,) in rows:
        return inflate(values.blob(squeezed, MAX_MESSAGE_BYTES))
    raise MessageError("a report refers to one that is not there")
