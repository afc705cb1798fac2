"""The twin thread's loop: a frame if there is one, then whatever is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from twin_edge.cameras import Capture, CaptureState
from twin_edge.runtime.applying import SettingsApplier
from twin_edge.runtime.events import EventWatch
from twin_edge.runtime.frames import FrameWorker
from twin_edge.runtime.parts import BATCH_MS, FPS, GAP_EVERY, KBPS, PREVIEW, QUALITY, RUN, DeviceParts
from twin_edge.runtime.reporting import ReportSchedule
from twin_edge.runtime.stats import RunStats, resident_mb
from twin_edge.sync import Counters, DeviceLink, StateReport

POLL_S: Final = 0.1
"""How long the twin thread waits for a frame before it looks whether to stop, seconds."""
_STATS_EVERY_S: Final = 1.0
_STATS_FRAMES: Final = 300
_AWAY: Final = frozenset({CaptureState.OPENING, CaptureState.STALLED, CaptureState.BACKOFF})

_LOGGER = logging.getLogger(__name__)


class Service:
    """What the twin thread does again and again; for that thread only.

    Args:
        worker: Works on frames.
        link: Where reports and events go.
        capture: Where frames come from.
        counters: Where revisions come from.
        events: Tells what has happened.
        parts: What the link has beside the twin's own messages.
        on_stats: Gets statistics once a second.

    Attributes:
        worker: Works on frames.
        link: Where reports and events go.
        capture: Where frames come from.
    """

    def __init__(
        self,
        worker: FrameWorker,
        link: DeviceLink,
        capture: Capture,
        counters: Counters,
        events: EventWatch,
        parts: DeviceParts,
        on_stats: Callable[[RunStats], None] | None,
    ) -> None:
        self.worker = worker
        self.link = link
        self.capture = capture
        self._counters = counters
        self._events = events
        self._parts = parts
        self._on_stats = on_stats
        self._running = True
        self._applier = SettingsApplier(
            parts.settings,
            {
                RUN: self._set_running,
                FPS: lambda fps: capture.set_fps(fps or None),
                QUALITY: worker.sender.set_quality,
                KBPS: lambda kbps: worker.sender.set_kbps(kbps or None),
                BATCH_MS: worker.sender.set_batch_ms,
                GAP_EVERY: worker.schedule.set_every,
                PREVIEW: parts.preview.switch,
            },
        )
        self._schedule = ReportSchedule()
        self._away = False
        self._fps = 0.0
        self._has_figures = False
        self._measured_s = 0.0
        self._measured_frames = 0
        self._sent = (0, 0, 0)

    def begin(self) -> float:
        """Starts to measure; returns the monotonic time, seconds."""
        self._measured_s = time.monotonic()
        return self._measured_s

    def step(self) -> int:
        """Waits for a frame for a moment and works on it.

        Returns:
            Frames that became states since the start.

        Raises:
            CameraEndedError: A finite source is over.
            CameraError: The camera is gone for good.
        """
        self._applier.apply_wishes()
        frame = self.capture.get(POLL_S)
        if frame is not None and self._running:
            self._away = False
            self.worker.work(frame)
        elif not self._away and (not self._running or self.capture.state in _AWAY):
            self._away = True
            self.worker.camera_went_away()
        now_s = time.monotonic()
        self.worker.sender.send_overdue(now_s)
        self._tell_events(now_s)
        if now_s - self._measured_s >= _STATS_EVERY_S:
            self._measure(now_s)
        self._report_if_due(now_s)
        return self.worker.frames

    def last_words(self, now_s: float) -> None:
        """Leaves the last state and a report of it with the broker, for those who come when the device has gone."""
        if self.worker.frames:
            self.worker.publish_last()
            gap, in_sync = self._reality(now_s)
            self._report(gap, in_sync=in_sync)

    def _tell_events(self, now_s: float) -> None:
        worker = self.worker
        if not worker.frames:
            return
        for event in self._events.look(
            now_s,
            camera=not self._away or not self._running,
            in_sync=worker.judge.in_sync,
            gap=worker.recent_gap.latest,
            seq=worker.seq,
            time_us=worker.time_us,
        ):
            _LOGGER.info("%s at state %d", event.kind, event.seq)
            self.link.event(event)

    def _report_if_due(self, now_s: float) -> None:
        self._schedule.every_s = self._parts.report_every_s
        # Before the first measurement there are no figures to report, and a calm twin would leave zeros for a minute.
        if self._has_figures and self._schedule.may_send(now_s):
            gap, in_sync = self._reality(now_s)
            if self._schedule.is_due(now_s, gap=gap, in_sync=in_sync, properties=self._parts.settings.reported()):
                self._report(gap, in_sync=in_sync)

    def _report(self, gap: float | None, *, in_sync: bool | None) -> None:
        worker = self.worker
        whole = worker.times.spreads(_STATS_FRAMES)["whole"]
        report = StateReport(
            rev=self._counters.next_rev(),
            seq=worker.seq,
            time_us=worker.time_us,
            gap=gap,
            in_sync=in_sync,
            fps=self._fps,
            p50_ms=whole.p50_ms,
            p95_ms=whole.p95_ms,
            dropped=self.capture.stats().dropped,
            settings=self._parts.settings.reported(),
            probes=self._parts.take_probe(),
        )
        self.link.report(report)
        self._parts.reported(report)

    def _set_running(self, running: bool) -> None:  # noqa: FBT001 - a switch
        self._running = running

    def _reality(self, now_s: float) -> tuple[float | None, bool | None]:
        """Returns recent gap and whether reality is where the twin is; None for both while no frames come."""
        if self._away:
            return None, None
        return self.worker.recent_gap.median(now_s), self.worker.judge.in_sync

    def _measure(self, now_s: float) -> None:
        frames, capture, link = self.worker.frames, self.capture.stats(), self.link.stats()
        self._fps = (frames - self._measured_frames) / (now_s - self._measured_s)
        passed_s = now_s - self._measured_s
        self._measured_s, self._measured_frames = now_s, frames
        sender, before = self.worker.sender, self._sent
        self._sent = (sender.states, sender.payload_bytes, sender.packet_bytes)
        states, payload_bytes, packet_bytes = (now - then for now, then in zip(self._sent, before, strict=True))
        self._has_figures = self._has_figures or frames > 0
        if self._on_stats is None:
            return
        gap, in_sync = self._reality(now_s)
        self._on_stats(
            RunStats(
                time_us=time.time_ns() // 1000,
                frames=frames,
                measured=self.worker.measured,
                fps=round(self._fps, 2),
                stages=self.worker.times.spreads(_STATS_FRAMES),
                camera=capture.state.value,
                dropped=capture.dropped,
                queue=link.queued,
                waiting=link.engine.depth,
                waiting_bytes=link.engine.bytes,
                sent=link.sent,
                skipped=link.skipped,
                level=sender.level,
                state_bytes=round(payload_bytes / states, 2) if states else 0.0,
                kbps=round(8e-3 * packet_bytes / passed_s, 2),
                gap=None if gap is None else round(gap, 4),
                in_sync=in_sync,
                connected=link.connected,
                rss_mb=resident_mb(),
            )
        )
