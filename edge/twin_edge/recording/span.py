"""A part of a recording, which is what is exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twin_edge.recording.reader import Recording
from twin_edge.recording.reports import RecordedReport
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.topics import TwinId


@dataclass(frozen=True, slots=True)
class Span:
    """One twin between two times, ends included."""

    recording: Recording
    """The recording."""
    twin: TwinId
    """Which twin."""
    begin_us: int
    """From when, by the device's clock, microseconds since the epoch."""
    end_us: int
    """Until when."""

    def updates(self) -> Iterator[TwinUpdate]:
        """Goes through its states; see `Recording.updates`."""
        return self.recording.updates(self.twin, self.begin_us, self.end_us)

    def reports(self) -> Iterator[RecordedReport]:
        """Goes through its reports; see `Recording.reports`."""
        return self.recording.reports(self.twin, self.begin_us, self.end_us)

    def events(self) -> Iterator[TwinEvent]:
        """Goes through its events; see `Recording.events`."""
        return self.recording.events(self.twin, self.begin_us, self.end_us)
