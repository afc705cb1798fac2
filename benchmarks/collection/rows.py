"""The table: a row a recording, and the file that it is kept in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from collection.watching import PLANTED
from twin_edge.files import write_atomic

REFUSED: Final = "refused"
_OPTIONAL: Final = "reason"
_TEXTS: Final = frozenset({0, 2, 6})
"""Columns of the table with words in them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recording at the default settings: what its subscribers and its owner get.

    Figures are None where there is no bundle, or where nobody knows.
    """

    recording: str
    """Name of the recording."""
    second_recording_of: str | None = None
    """The recording whose bundle was used; None for its own."""
    frames: int | None = None
    """Held-out frames that were measured; of a second recording all of them."""
    kind: str = REFUSED
    """What kind of twin it is, as the bundle has it; `refused` where there is none."""
    psnr_db: float | None = None
    """Mean PSNR at the default level and batch, through codec and int8 renderer, dB."""
    ssim: float | None = None
    """Mean SSIM of the same, -1 to 1."""
    bytes_per_frame: float | None = None
    """Payload of the packets."""
    baseline: str | None = None
    """The best of mean image, plain and registered principal components at no more bytes."""
    baseline_psnr_db: float | None = None
    """Its mean PSNR on the same frames, dB."""
    stated_psnr_db: float | None = None
    """What the bundle says of itself, dB."""
    int8_loss_db: float | None = None
    """What the deployed models lose to the float ones, by the bundle's own figures, dB."""
    above_99_share: float | None = None
    """Share of normal frames with a gap of 0.99 or more."""
    planted: Mapping[str, float | None] = field(default_factory=dict)
    """By fault: share of frames in which something is raised from 1 s after it on; by change of light: from 5 s on."""
    in_sync_share: float | None = None
    """Share of normal frames in which the device says that it is in sync."""
    training_s: float | None = None
    """What `twin-train` took, seconds."""
    training_mb: float | None = None
    """Its largest resident memory, MB."""
    reason: str = ""
    """Why there is no bundle; in the file only where there is none."""

    def to_json(self) -> dict[str, Any]:
        """Returns the row as it stands in the file."""
        tree = asdict(self)
        if not self.reason:
            del tree[_OPTIONAL]
        return tree

    @classmethod
    def from_json(cls, tree: Any) -> Row:
        """Reads a row.

        Raises:
            ValueError: It has other keys, or values of other types, than a row has.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(tree, dict) or set(tree) | {_OPTIONAL} != names:
            raise ValueError(f"a row must have exactly the keys {', '.join(sorted(names - {_OPTIONAL}))}")
        texts: dict[str, tuple[type, ...]] = {"recording": (str,), "kind": (str,), _OPTIONAL: (str,)}
        texts |= {name: (str, type(None)) for name in ("second_recording_of", "baseline")}
        for name, value in tree.items():
            if name in texts:
                fits = isinstance(value, texts[name])
            elif name == "planted":
                fits = isinstance(value, dict) and all(map(_is_figure, value.values()))
            else:
                fits = _is_figure(value)
            if not fits:
                raise ValueError(f"{name} of a row is {value!r:.60}")
        return cls(**tree)


def _is_figure(value: Any) -> bool:
    return value is None or (type(value) in {int, float} and math.isfinite(value))


def read_rows(path: Path) -> list[Row]:
    """Reads rows back; none where there is no file.

    Raises:
        ValueError: It is not what `write_rows` writes.
    """
    if not path.exists():
        return []
    tree = json.loads(path.read_bytes())
    if not isinstance(tree, list):
        raise ValueError(f"{path} is not a list")  # noqa: TRY004 - a wrong file, not a wrong argument
    return [Row.from_json(entry) for entry in tree]


def put(rows: Iterable[Row], row: Row) -> list[Row]:
    """Returns the rows with one in place of the older one of that recording, or at the end."""
    before = list(rows)
    after = [row if one.recording == row.recording else one for one in before]
    return after if any(one.recording == row.recording for one in before) else [*after, row]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as a JSON list.

    Raises:
        TwinEdgeError: The file cannot be written.
    """
    lines = ",\n".join(json.dumps(row.to_json(), allow_nan=False) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"[\n{lines}\n]\n".encode())


def table_of(rows: Iterable[Row]) -> Table:
    """Returns the table, a row a recording."""
    table = Table(
        title="the collection, at the default settings through the codec", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    columns = (
        "recording", "frames", "kind", "dB", "SSIM", "bytes", "baseline", "dB", "stated", "int8 -", ">.99", "sync",
        *(name.replace("_", "\n") for name in PLANTED), "train s", "MB",
    )  # fmt: skip
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number in _TEXTS else "right", no_wrap=number == 0)
    for row in rows:
        name = row.recording if row.second_recording_of is None else f"{row.recording}, 2nd"
        table.add_row(
            name, _figure(row.frames, 0), row.kind, _figure(row.psnr_db, 2), _figure(row.ssim, 3),
            _figure(row.bytes_per_frame, 2), row.baseline or row.reason, _figure(row.baseline_psnr_db, 2),
            _figure(row.stated_psnr_db, 2), _figure(row.int8_loss_db, 2), _share(row.above_99_share),
            _share(row.in_sync_share), *(_share(row.planted.get(name)) for name in PLANTED),
            _figure(row.training_s, 0), _figure(row.training_mb, 0),
        )  # fmt: skip
    return table


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"
