"""The time machine: a twin's history in one file, at a few bytes a state, rendered again at any time."""

from twin_edge.recording.contents import RecordedTwin
from twin_edge.recording.reader import Recording
from twin_edge.recording.recorder import RecordConfig, RecordStats, record
from twin_edge.recording.reports import RecordedReport
from twin_edge.recording.span import Span
from twin_edge.recording.writer import RecordingWriter

__all__ = [
    "RecordConfig",
    "RecordStats",
    "RecordedReport",
    "RecordedTwin",
    "Recording",
    "RecordingWriter",
    "Span",
    "record",
]
