"""A recording as a table for other programs: a row for each state."""

from __future__ import annotations

import csv
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from twin_edge.errors import ConfigError, RecordingError
from twin_edge.files import replacing, writing
from twin_edge.recording.span import Span
from twin_edge.sync.wire.reading import Scalar, timestamp

_MAX_PROPERTIES: Final = 256
_PIECE: Final = 4096
"""Rows that are in memory at once."""
_FORMULA: Final = ("=", "+", "-", "@")

Row = dict[str, Any]


def save_csv(span: Span, path: Path) -> int:
    """Writes a CSV file with a row for each state.

    Returns:
        Number of rows.

    Raises:
        RecordingError: The recording is damaged.
        TwinEdgeError: It could not be written.
    """
    kinds, length = _property_kinds(span), _state_length(span)
    count = 0
    with replacing(path) as temporary, writing(path), temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, _columns(kinds, length), lineterminator="\n")
        table.writeheader()
        for row in _rows(span, kinds):
            row["time"] = timestamp(row["time"])
            table.writerow({name: _harmless(value) for name, value in row.items()})
            count += 1
    return count


def require_pyarrow() -> None:
    """Refuses to write Parquet without its package.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        fix = "pip install 'twin-edge[parquet]', or write --csv"
        raise ConfigError("Parquet takes pyarrow, which is not installed", fix=fix) from error


def save_parquet(span: Span, path: Path) -> int:
    """Writes a Parquet file with a row for each state.

    Returns:
        Number of rows.

    Raises:
        ConfigError: pyarrow is not installed.
        RecordingError: The recording is damaged.
        TwinEdgeError: It could not be written.
    """
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    kinds, length = _property_kinds(span), _state_length(span)
    types: dict[str, Any] = {
        "time": pa.timestamp("us", tz="UTC"),
        "session": pa.uint32(),
        "seq": pa.uint32(),
        "missed": pa.uint32(),
        "historical": pa.bool_(),
        "gap": pa.float64(),
        "in_sync": pa.bool_(),
        "bundle": pa.string(),
    }
    by_kind = {bool: pa.bool_(), float: pa.float64(), str: pa.string()}
    types |= {name: by_kind[kind] for name, kind in kinds.items()}
    layout = pa.schema([(name, types.get(name, pa.int8())) for name in _columns(kinds, length)])
    count = 0
    with replacing(path) as temporary, writing(path), parquet.ParquetWriter(temporary, layout) as file:
        rows = _rows(span, kinds)
        while piece := list(itertools.islice(rows, _PIECE)):
            file.write_table(pa.Table.from_pylist(piece, layout))
            count += len(piece)
    return count


def _columns(kinds: Mapping[str, Any], length: int) -> list[str]:
    fixed = ["time", "session", "seq", "missed", "historical", "gap", "in_sync", "bundle"]
    return fixed + list(kinds) + [f"z{place}" for place in range(length)]


def _rows(span: Span, kinds: Mapping[str, Callable[[Any], Scalar]]) -> Iterator[Row]:
    reports = span.reports()
    following = next(reports, None)
    properties: Row = {}
    for update in span.updates():
        while following is not None and following.time_us <= update.time_us:
            named = ((f"property.{name}", value) for name, value in following.report.properties.items())
            properties = {name: kinds[name](value) for name, value in named if name in kinds}
            following = next(reports, None)
        yield {
            "time": update.time_us,
            "session": update.session,
            "seq": update.seq,
            "missed": update.missed,
            "historical": update.historical,
            "gap": update.gap,
            "in_sync": update.in_sync,
            "bundle": update.bundle.digest,
            **properties,
            **{f"z{place}": value for place, value in enumerate(update.state.tolist())},
        }


def _property_kinds(span: Span) -> dict[str, type[bool | float | str]]:
    """Returns the columns of the properties, sorted, and what all values of each can be: truth, number, else text."""
    kinds: dict[str, set[type]] = {}
    for each in span.reports():
        for name, value in each.report.properties.items():
            kinds.setdefault(f"property.{name}", set()).add(type(value))
        if len(kinds) > _MAX_PROPERTIES:
            raise RecordingError(
                f"the twin has more than {_MAX_PROPERTIES} properties", fix="choose a shorter time with --from and --to"
            )
    return {
        name: bool if found == {bool} else float if found <= {int, float} else str
        for name, found in sorted(kinds.items())
    }


def _state_length(span: Span) -> int:
    """Returns how long the longest state can be."""
    return max((bundle.manifest.state.length for bundle in span.recording.bundles(span.twin)), default=0)


def _harmless(value: Any) -> Any:
    """Keeps spreadsheets from taking a text that a device has sent for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
