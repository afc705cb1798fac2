"""Looking into a recording from the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twin_edge.errors import ConfigError
from twin_edge.files import refuse_unwritable
from twin_edge.recording import RecordedTwin, Recording, Span
from twin_edge.recording.pictures import save_mp4, save_png
from twin_edge.recording.tables import require_pyarrow, save_csv, save_parquet
from twin_edge.recording.times import parse_time
from twin_edge.sync import TwinEvent, TwinUpdate
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import MAX_TIME_US


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """What to do with a recording."""

    path: Path
    """The recording."""
    twin: str | None = None
    """Which twin; the only one in it when None."""
    begin: str | None = None
    """From when, see `recording.times.parse_time`; the start when None."""
    end: str | None = None
    """Until when; the end when None."""
    at: str | None = None
    """Shows the state of this time."""
    save: Path | None = None
    """Where to write the rendering of that state."""
    csv: Path | None = None
    """Where to write a table of the states."""
    parquet: Path | None = None
    """Where to write that table as Parquet."""
    mp4: Path | None = None
    """Where to write a film."""
    fps: float | None = None
    """Pictures a second of the film, 1-60; as the states came when None."""

    def __post_init__(self) -> None:
        if self.save is not None and self.at is None:
            raise ConfigError("--save writes the rendering of one state", fix="say which one with --at TIME")
        if self.at is not None and (self.begin or self.end or self.csv or self.parquet or self.mp4):
            raise ConfigError("--at is about one state", fix="leave out --from, --to and the exports, or --at")
        if self.fps is not None and self.mp4 is None:
            raise ConfigError("--fps is about a film", fix="name it with --mp4 FILE")


class ReplayOutput(Protocol):
    """Gets what is found."""

    def twin(self, contents: RecordedTwin, path: Path) -> None:
        """What is in it of a twin."""

    def event(self, event: TwinEvent) -> None:
        """An event of the twin that was listed before."""

    def state(self, update: TwinUpdate, saved: Path | None) -> None:
        """The state of the time that was asked for."""

    def written(self, path: Path, rows: int, unit: str) -> None:
        """A file was written."""

    def unreadable(self, packets: int) -> None:
        """Some packets could not be read."""


def replay(config: ReplayConfig, output: ReplayOutput) -> None:
    """Lists or exports a recording.

    Args:
        config: What to do.
        output: Gets what is found.

    Raises:
        ConfigError: There is no such file, twin or time, or no place for an export; nothing was written then.
        RecordingError: It is not a recording, or damaged.
        BundleError: A bundle in it cannot be used.
        TwinEdgeError: A file could not be written.
    """
    for written in (config.save, config.csv, config.parquet, config.mp4):
        if written is not None:
            refuse_unwritable(written)
    if config.parquet is not None:
        require_pyarrow()
    with Recording(config.path) as recording:
        if config.at is not None:
            twin = recording.only_twin(config.twin)
            found = recording.state_at(twin, parse_time(config.at, recording.contents(twin).begin_us))
            if config.save is not None:
                save_png(found, config.save)
            output.state(found, config.save)
        elif config.csv or config.parquet or config.mp4:
            _export(recording, config, output)
        else:
            _list(recording, config, output)
        if recording.unreadable:
            output.unreadable(recording.unreadable)


def _export(recording: Recording, config: ReplayConfig, output: ReplayOutput) -> None:
    span = _span(recording, recording.only_twin(config.twin), config)
    exports: list[tuple[Path | None, str, Callable[[Path], int]]] = [
        (config.csv, "states", lambda path: save_csv(span, path)),
        (config.parquet, "states", lambda path: save_parquet(span, path)),
        (config.mp4, "pictures", lambda path: save_mp4(span, path, config.fps)),
    ]
    for path, unit, save in exports:
        if path is not None:
            output.written(path, save(path), unit)


def _list(recording: Recording, config: ReplayConfig, output: ReplayOutput) -> None:
    if not recording.twins or config.twin is not None:
        recording.only_twin(config.twin)
    for twin in recording.twins:
        if config.twin in {None, str(twin)}:
            output.twin(recording.contents(twin), config.path)
            for event in _span(recording, twin, config).events():
                output.event(event)


def _span(recording: Recording, twin: TwinId, config: ReplayConfig) -> Span:
    start_us = recording.contents(twin).begin_us
    begin_us = 0 if config.begin is None else parse_time(config.begin, start_us)
    end_us = MAX_TIME_US if config.end is None else parse_time(config.end, start_us)
    if end_us < begin_us:
        raise ConfigError("--to is before --from", fix="exchange them")
    return Span(recording, twin, begin_us, end_us)
