"""The runtime of a device, from the camera to the broker.

```
camera -> capture thread -> latest frame -> twin thread: view, state, packet, rendering, gap -> link thread -> broker
```

The twin thread is the one that calls `DeviceRuntime.run`. It waits for frames only, never for the network.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from twin_edge.bundle import Bundle
from twin_edge.cameras import Camera, Capture, CaptureConfig, open_camera, refuse_unreadable
from twin_edge.config import RunConfig
from twin_edge.errors import CameraEndedError
from twin_edge.runtime.brokers import broker_for, check_broker
from twin_edge.runtime.events import EventWatch
from twin_edge.runtime.frames import FrameWorker
from twin_edge.runtime.parts import DeviceParts
from twin_edge.runtime.reporting import GapSchedule
from twin_edge.runtime.sending import SendingConfig, check_quality
from twin_edge.runtime.service import POLL_S, Service
from twin_edge.runtime.spooling import engine_config
from twin_edge.runtime.stats import RunStats, RunSummary, resident_mb
from twin_edge.sync import Counters, DeviceLink, LinkConfig, TwinId
from twin_edge.twin import Codec, Twin

_LOGGER = logging.getLogger(__name__)

STOPPED: Final = "stopped"
FINISHED: Final = "finished"
CAMERA_ENDED: Final = "camera-ended"
ERROR: Final = "error"

_LAST_WORDS_S: Final = 3.0
"""How long a runtime that ends by itself waits until late joiners have what they need."""


class DeviceRuntime:
    """Runs one twin once.

    Args:
        config: What to run, and how.
        camera: The camera, instead of the one that the configuration names.
        on_stats: Gets statistics once a second, in the twin thread; whatever it raises ends the run.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        camera: Camera | None = None,
        on_stats: Callable[[RunStats], None] | None = None,
    ) -> None:
        self._config = config
        self._twin_id = TwinId.parse(config.twin_name)
        self._camera = open_camera(config.camera) if camera is None else camera
        self._on_stats = on_stats
        self._stop_reason: str | None = None
        self._serving = False

    @property
    def serving(self) -> bool:
        """Whether everything has started, so that `stop` ends the run within two seconds."""
        return self._serving

    def stop(self, reason: str = STOPPED) -> None:
        """Ends the run after the frame at hand; from any thread, or a signal handler.

        Args:
            reason: What subscribers are told, printable ASCII, 80 characters at most.
        """
        # Nothing but an assignment: a signal handler may interrupt any line of the twin thread.
        self._stop_reason = reason

    def run(self) -> RunSummary:
        """Starts everything, serves until there is a reason to end, and takes everything down.

        Raises:
            BundleError: There is no bundle, it cannot be used, or its self-test fails.
            CameraError: The camera cannot be opened, or is gone for good.
            SyncError: The broker cannot be used, and the configuration does not say to wait for it; or another device
                has the same name.
            ConfigError: The counters, the broker's URL or the embedded broker cannot be used.
        """
        config = self._config
        with contextlib.ExitStack() as stack:
            # What this machine can refuse by itself comes first, then the network, then the camera.
            check_broker(config)
            bundle = Bundle.open(config.bundle_path())
            if not bundle.manifest.quality.beats_baseline:
                _LOGGER.warning("this twin is %s", bundle.manifest.quality.against_baseline.text)
            check_quality(config.quality, len(bundle.codec.levels))
            refuse_unreadable(self._camera)
            twin = Twin(bundle, threads=config.threads)
            twin.require_self_test()
            counters = stack.enter_context(self._counters())
            broker = stack.enter_context(broker_for(config))
            codec = Codec[config.codec.upper()]
            link_config = LinkConfig(
                broker,
                wait=config.wait_for_broker,
                codec=codec,
                engine=engine_config(config, self._twin_id),
                births=not config.ditto,
            )
            parts = DeviceParts(config, self._twin_id, bundle, counters.session, codec)
            link = DeviceLink(link_config, self._twin_id, bundle, counters.session, parts.all, parts.operations)
            schedule = GapSchedule(config.gap_every)
            sending = SendingConfig(codec, config.batch_ms, config.quality, config.kbps)
            worker = FrameWorker(
                twin, link, counters.session, schedule=schedule, sending=sending, on_rendered=parts.rendered
            )
            parts.answer_snapshots(worker)
            # The link comes before the camera: frames of a file must not pass by while it connects.
            link.start()
            capture = Capture(self._camera, CaptureConfig(fps=config.fps))
            events = EventWatch(moves=bundle.manifest.pose is not None)
            service = Service(worker, link, capture, counters, events, parts, self._on_stats)
            reason = ERROR
            try:
                capture.start()
                self._serving = True
                started_s = service.begin()
                reason = self._serve(service)
                seconds = time.monotonic() - started_s
                service.last_words(time.monotonic())
                self._wait_for_late_joiners(link)
            except (KeyboardInterrupt, SystemExit):
                # A signal while it was still starting: that is a stop like any other.
                reason = self._stop_reason or STOPPED
                raise
            finally:
                # Side by side: a camera and a network that both hang do not add up.
                closing = threading.Thread(target=capture.stop, name="closing", daemon=True)
                closing.start()
                link.stop(reason)
                closing.join()
            return self._summary(reason, bundle, service, seconds)

    def _serve(self, service: Service) -> str:
        """Works until there is a reason to end, and returns it."""
        config = self._config
        until_s = None if config.duration_s is None else time.monotonic() + config.duration_s
        while self._stop_reason is None:
            try:
                frames = service.step()
            except CameraEndedError:
                return CAMERA_ENDED
            if service.link.failure is not None:
                raise service.link.failure
            if config.frames is not None and frames >= config.frames:
                return FINISHED
            if until_s is not None and time.monotonic() >= until_s:
                return FINISHED
        return self._stop_reason

    def _wait_for_late_joiners(self, link: DeviceLink) -> None:
        """Lets a run that was too short for the upload of the bundle finish it, unless somebody waits for the end."""
        deadline_s = time.monotonic() + _LAST_WORDS_S
        while self._stop_reason is None and time.monotonic() < deadline_s and link.stats().connected:
            if link.wait_ready(POLL_S):
                return

    def _counters(self) -> Counters:
        twin, folder = self._twin_id, self._config.state_dir
        return Counters.open(twin, None if folder is None else folder / twin.namespace / twin.device)

    def _summary(self, reason: str, bundle: Bundle, service: Service, seconds: float) -> RunSummary:
        worker, link, capture = service.worker, service.link.stats(), service.capture.stats()
        return RunSummary(
            reason=reason,
            twin=str(self._twin_id),
            session=service.worker.session,
            bundle=bundle.digest,
            frames=worker.frames,
            measured=worker.measured,
            seconds=round(seconds, 3),
            fps=round(worker.frames / seconds, 2) if seconds > 0 else 0.0,
            stages=worker.times.spreads(),
            dropped=capture.dropped,
            sent=link.sent,
            skipped=link.skipped,
            level=worker.sender.level,
            state_bytes=round(worker.sender.payload_bytes / max(1, worker.sender.states), 2),
            kbps=round(8e-3 * worker.sender.packet_bytes / seconds, 2) if seconds > 0 else 0.0,
            reconnects=link.reconnects,
            waiting=link.engine.depth,
            backfilled=link.engine.backfilled,
            in_sync=worker.judge.in_sync if worker.frames else None,
            rss_mb=resident_mb(),
        )
