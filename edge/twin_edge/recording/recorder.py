"""Recording twins live: what comes in from the broker goes to the disk once a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import ConfigError
from twin_edge.files import refuse_unwritable
from twin_edge.recording.schema import refuse_another_file
from twin_edge.recording.writer import RecordingWriter
from twin_edge.sync import BrokerConfig, HeardEvent, HeardReport, TwinId, TwinViews
from twin_edge.sync.view.patterns import EVERY
from twin_edge.twin.packet import Packet

_COMMIT_S: Final = 1.0
_MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
"""What may wait for a slow disk."""
_ITEM_BYTES: Final = 512
"""About what an item takes beside its data."""

MIN_FILE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RecordConfig:
    """What to record, where to, and for how long."""

    broker: str
    """URL of the broker."""
    path: Path
    """The recording; one that is there is added to."""
    twins: str = EVERY
    """Whom to record, such as `org.acme/cam-01` or `org.acme/*`."""
    duration_s: float | None = None
    """Ends after this many seconds, above 0; None goes on."""
    frames: int | None = None
    """Ends when this many states or a few more are recorded, at least 1; None goes on."""
    max_bytes: int | None = None
    """Size that the recording is not to pass, at least 1 MB; it ends before it would. None for no limit."""
    timeout_s: float = 30.0
    """Longest wait for the first state, seconds; 0 waits for ever."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the broker's certificate; the system's when None."""
    cert_file: Path | None = None
    """PEM file of the certificate to log in with (mTLS); none when None."""
    key_file: Path | None = None
    """PEM file of its private key; the certificate's file when None."""
    password_file: Path | None = None
    """File with the password; the environment or systemd's credential when None."""
    cache_dir: Path | None = None
    """Where fetched bundles are kept; below `$XDG_CACHE_HOME` when None."""


@dataclass(frozen=True, slots=True)
class RecordStats:
    """How a recording does."""

    twins: int
    """Twins that were found."""
    states: int
    """States that were recorded."""
    packets: int
    """Packets that they came in."""
    reports: int
    """State reports that were recorded."""
    events: int
    """Events that were recorded."""
    missed: int
    """States that were lost on the way to us."""
    dropped: int
    """Packets, reports and events that were lost here, because the disk was too slow."""
    bytes: int
    """Size of the recording."""
    seconds: float
    """Time since the beginning."""
    connected: bool
    """Whether the broker has us."""
    reason: str = ""
    """Why it ended: `stopped`, `duration`, `frames` or `full`; empty while it goes on."""

    def to_json(self) -> dict[str, Any]:
        """Returns it as an object of JSON."""
        return {"type": "summary" if self.reason else "stats", **asdict(self)}


def record(config: RecordConfig, *, stop: threading.Event, on_stats: Callable[[RecordStats], None]) -> RecordStats:
    """Records until enough is there, or until it is to stop.

    Args:
        config: What to record.
        stop: Set from anywhere, even a signal handler, to end it; nothing that came before is lost.
        on_stats: Gets the counters once a second.

    Returns:
        The counters at the end.

    Raises:
        ConfigError: The broker's URL, the pattern, or the place of the file, cannot be used.
        SyncError: The broker cannot be used, or no state came in time; says what is missing.
        RecordingError: The file is not a recording, or cannot be written.
    """
    if config.broker.startswith("embedded:"):
        raise ConfigError(
            "an embedded broker lives inside of 'twin-edge run'", fix="give the URL that it prints to --broker"
        )
    broker = BrokerConfig.from_url(
        config.broker,
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        password_file=config.password_file,
    )
    refuse_another_file(config.path)
    refuse_unwritable(config.path)
    inbox = _Inbox()
    views = TwinViews(broker, config.twins, config.cache_dir, max_queued=0, tap=inbox)
    # Without a broker, no empty file is to stay behind.
    with views, RecordingWriter(config.path, config.max_bytes) as writer:
        began = time.monotonic()

        def stats(reason: str = "") -> RecordStats:
            heard = views.stats()
            return RecordStats(
                twins=heard.twins,
                states=writer.states,
                packets=writer.packets,
                reports=writer.reports,
                events=writer.events,
                missed=heard.missed,
                dropped=inbox.dropped,
                bytes=writer.size,
                seconds=round(time.monotonic() - began, 3),
                connected=heard.connected,
                reason=reason,
            )

        reason = ""
        while not reason:
            left_s = _COMMIT_S
            if config.duration_s is not None:
                left_s = max(0.0, min(left_s, began + config.duration_s - time.monotonic()))
            stop.wait(left_s)
            for write in inbox.take():
                write(writer)
                if config.frames is not None and writer.states >= config.frames:
                    break
            writer.commit()
            passed_s = time.monotonic() - began
            reason = _why_over(config, writer, passed_s, stopped=stop.is_set())
            if not reason and not writer.states and config.timeout_s and passed_s > config.timeout_s:
                raise views.what_is_missing(config.timeout_s)
            if not reason:
                on_stats(stats())
        return stats(reason)


def _why_over(config: RecordConfig, writer: RecordingWriter, passed_s: float, *, stopped: bool) -> str:
    if config.frames is not None and writer.states >= config.frames:
        return "frames"
    if writer.full:
        return "full"
    if config.duration_s is not None and passed_s >= config.duration_s:
        return "duration"
    return "stopped" if stopped else ""


Write = Callable[[RecordingWriter], None]


class _Inbox:
    """Keeps what the network thread hears until it is written."""

    def __init__(self) -> None:
        self.dropped = 0
        self._items: deque[tuple[int, Write]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self) -> Iterator[Write]:
        """Goes through what waits, and removes it."""
        while self._items:
            with self._lock:
                size, write = self._items.popleft()
                self._bytes -= size
            yield write

    def on_packet(self, twin: TwinId, bundle: Bundle, data: bytes, packet: Packet) -> None:
        """Takes a packet."""
        self._put(len(data), lambda writer: writer.packet(twin, bundle, data, packet))

    def on_report(self, twin: TwinId, data: bytes, report: HeardReport) -> None:  # noqa: ARG002 - see `Tap`
        """Takes a report."""
        self._put(len(data), lambda writer: writer.report(twin, data))

    def on_event(self, twin: TwinId, data: bytes, event: HeardEvent) -> None:
        """Takes an event."""
        self._put(len(data), lambda writer: writer.event(twin, data, event))

    def _put(self, size: int, write: Write) -> None:
        size += _ITEM_BYTES
        if self._bytes + size > _MAX_WAITING_BYTES:
            self.dropped += 1
            return
        with self._lock:
            self._items.append((size, write))
            self._bytes += size
