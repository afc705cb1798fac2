"""Following a twin from the command line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from twin_edge.album import Album
from twin_edge.errors import ConfigError
from twin_edge.files import refuse_unwritable
from twin_edge.stage_times import Spread, StageTimes
from twin_edge.sync import BrokerConfig, TwinId, TwinStatus, TwinUpdate, TwinView, TwinViews, ViewStats

_WEEK_S: Final = 7 * 24 * 3600.0
_STATUS_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What to follow, and for how long."""

    broker: str
    """URL of the broker."""
    twin: str | None = None
    """Twin id, or a pattern such as `org.acme/*` for all twins that match; the first one found when None."""
    frames: int | None = None
    """Ends after this many updates, at least 1; None goes on."""
    save: Path | None = None
    """Folder for the renderings, with one of its own for each twin of a pattern; none are written when None."""
    timeout_s: float = 10.0
    """Longest wait for an update, seconds; 0 waits for ever."""
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

    @property
    def several(self) -> bool:
        """Whether a pattern of twins is followed."""
        return self.twin is not None and "*" in self.twin


@dataclass(frozen=True, slots=True)
class Heard:
    """One update, as it is printed."""

    twin: str
    """Twin id."""
    session: int
    """Process start of the device."""
    seq: int
    """Number of the state within the session."""
    time: float
    """When the frame was captured, by the device's clock, seconds since the epoch."""
    missed: int
    """States that were lost between the update before and this one."""
    gap: float | None
    """Reality gap last reported, 0-1."""
    in_sync: bool | None
    """Whether reality was where the twin is when last reported."""
    latency_ms: float
    """From capture until it was rendered here, or only decoded where a pattern of twins is followed and no rendering
    kept, milliseconds; as right as the two clocks agree."""
    payload_bytes: float
    """Its part of the payload of its packet, the header of 24 bytes not included, bytes."""

    def to_json(self) -> dict[str, Any]:
        """Returns the update as an object of JSON."""
        return {"type": "update", **asdict(self)}


@dataclass(frozen=True, slots=True)
class WatchSummary:
    """What was heard in all."""

    twin: str | None
    """Twin id, None when none was found or there are several."""
    bundle: str | None
    """Digest of its bundle, None without one or for several."""
    twins: int
    """Twins that were found."""
    updates: int
    """Updates that were heard."""
    missed: int
    """States that were lost on the way."""
    seconds: float
    """From the first update to the last."""
    latency_p50_ms: float
    """Median latency of the last 4096 updates, milliseconds."""
    latency_p95_ms: float
    """95th percentile of it."""
    state_bytes: float
    """Payload bytes of a state, mean of all updates."""
    kbps: float
    """Rate of the payload, kbit/s; 0 for a single update."""
    reconnects: int
    """Times that the broker came back."""
    saved: int
    """Renderings that were written."""
    folder: str | None
    """Where they were written to."""

    def to_json(self) -> dict[str, Any]:
        """Returns the summary as an object of JSON."""
        return {"type": "summary", **asdict(self)}


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How all twins that are followed do now."""

    twins: list[TwinStatus]
    """Each of them."""
    stats: ViewStats
    """The counters of all together."""


def watch(
    config: WatchConfig,
    *,
    on_update: Callable[[Heard], None],
    on_end: Callable[[WatchSummary], None],
    on_status: Callable[[WatchStatus], None] | None = None,
) -> None:
    """Follows twins until enough was heard, or Ctrl-C.

    Args:
        config: What to follow.
        on_update: Gets every update; that of a single twin has been rendered.
        on_end: Gets the summary, also when the watch ends by an error after an update.
        on_status: Gets how all twins do, four times a second, whether something came or not.

    Raises:
        ConfigError: The broker's URL, the twin id, or the folder for renderings, cannot be used.
        SyncError: The broker cannot be used, or no update came in time; says what is missing.
        BundleError: The twin's bundle does not run here.
        TwinEdgeError: A rendering could not be written.
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
    if config.save is not None:
        refuse_unwritable(config.save, folder=True)
    watching = _Watching(config, on_update, on_status)
    view: View
    if config.several and config.twin is not None:
        view = TwinViews(broker, config.twin, config.cache_dir)
    else:
        view = TwinView(broker, config.twin, config.cache_dir)
    with view:
        try:
            watching.follow(view)
        except KeyboardInterrupt:
            watching.interrupted = True
        finally:
            if watching.updates or watching.interrupted:
                watching.end(view, on_end)


View = TwinView | TwinViews


class _Watching:
    def __init__(
        self,
        config: WatchConfig,
        on_update: Callable[[Heard], None],
        on_status: Callable[[WatchStatus], None] | None,
    ) -> None:
        self.updates = 0
        self.interrupted = False
        self._config = config
        self._on_update = on_update
        self._on_status = on_status
        self._albums: dict[TwinId | None, Album] = {}
        self._latency = StageTimes(("latency",))
        self._first_s = self._last_s = 0.0
        self._missed = 0
        self._bytes = 0.0

    def follow(self, view: View) -> None:
        timeout_s = self._config.timeout_s or _WEEK_S
        status_s = give_up_s = time.monotonic()
        while self._config.frames is None or self.updates < self._config.frames:
            update = next(view.updates(_STATUS_EVERY_S), None)
            now_s = time.monotonic()
            if update is not None:
                self._take(update)
                give_up_s = now_s
            elif now_s - give_up_s > timeout_s:
                raise view.what_is_missing(timeout_s)
            if self._on_status is not None and now_s - status_s >= _STATUS_EVERY_S:
                status_s = now_s
                self._on_status(WatchStatus(view.status(), view.stats()))

    def _take(self, update: TwinUpdate) -> None:
        save = self._config.save
        rendering = update.rendering if save is not None or not self._config.several else None
        latency_ms = (time.time_ns() // 1000 - update.time_us) / 1e3
        self._last_s = time.monotonic()
        if not self.updates:
            self._first_s = self._last_s
        self.updates += 1
        self._missed += update.missed
        self._bytes += update.payload_bytes
        self._latency.next_row()[0] = latency_ms
        if save is not None and rendering is not None:
            self._album(save, update.twin).add(
                rendering, session=update.session, seq=update.seq, time_us=update.time_us, gap=update.gap
            )
        self._on_update(
            Heard(
                twin=str(update.twin),
                session=update.session,
                seq=update.seq,
                time=update.time_us / 1e6,
                missed=update.missed,
                gap=update.gap,
                in_sync=update.in_sync,
                latency_ms=round(latency_ms, 3),
                payload_bytes=round(update.payload_bytes, 3),
            )
        )

    def _album(self, folder: Path, twin: TwinId) -> Album:
        several = self._config.several
        key = twin if several else None
        if key not in self._albums:
            self._albums[key] = Album(folder / twin.namespace / twin.device if several else folder)
        return self._albums[key]

    def end(self, view: View, on_end: Callable[[WatchSummary], None]) -> None:
        with contextlib.ExitStack() as stack:
            # The summary is told even if the sheet cannot be written.
            stack.callback(lambda: on_end(self._summary(view)))
            for album in self._albums.values():
                stack.callback(album.close)

    def _summary(self, view: View) -> WatchSummary:
        latency = self._latency.spreads().get("latency", Spread(0.0, 0.0))
        found = view.status()
        only = found[0] if len(found) == 1 else None
        seconds = self._last_s - self._first_s
        return WatchSummary(
            twin=None if only is None else str(only.twin),
            bundle=None if only is None or only.bundle is None else only.bundle.digest,
            twins=len(found),
            updates=self.updates,
            missed=self._missed,
            seconds=round(seconds, 3),
            latency_p50_ms=latency.p50_ms,
            latency_p95_ms=latency.p95_ms,
            state_bytes=round(self._bytes / max(1, self.updates), 3),
            kbps=round(8e-3 * self._bytes / seconds, 3) if seconds > 0 else 0.0,
            reconnects=view.stats().reconnects,
            saved=sum(album.saved for album in self._albums.values()),
            folder=None if self._config.save is None else str(self._config.save),
        )
