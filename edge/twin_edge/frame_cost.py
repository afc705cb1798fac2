"""What a whole frame costs a device in CPU time, beside encoding it as JPEG."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import cv2

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.models.runtimes import Runtime
from twin_edge.null_broker import NullBroker
from twin_edge.runtime.frames import FrameWorker
from twin_edge.runtime.reporting import GapSchedule
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, TwinId
from twin_edge.twin import Twin

JPEG_QUALITY: Final = 80
_FPS: Final = 30
_PAUSE_S: Final = 0.002
"""Between two frames, so that the network thread sends each packet by itself, as at a camera's pace."""
_READY_S: Final = 5.0
_US: Final = 1_000_000
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class FrameCost:
    """CPU time of a frame, capture excluded: view, state, packet, its way into the socket, and rendering and gap."""

    runtime: str
    """Name and version of the TFLite runtime; it ran with one thread, and so did OpenCV."""
    gap_every: int
    """Rendering and gap were those of every n-th frame; 1 is all of them."""
    twin_ms: float
    """Twin thread, mean CPU milliseconds a frame."""
    link_ms: float
    """Network thread, mean CPU milliseconds a frame."""
    packets: float
    """Packets a frame; below 1 when several states go in one."""
    jpeg_ms: float
    """Encoding such a frame as JPEG of quality 80, mean CPU milliseconds, in turns with the above."""

    @property
    def whole_ms(self) -> float:
        """Both threads, mean CPU milliseconds a frame."""
        return self.twin_ms + self.link_ms

    @property
    def ratio_to_jpeg(self) -> float:
        """How many times the CPU time of the JPEG a frame takes."""
        return self.whole_ms / self.jpeg_ms

    def to_json(self) -> dict[str, str | int | float]:
        """Returns the cost as an object of JSON."""
        return {
            "runtime": self.runtime,
            "threads": 1,
            "gap_every": self.gap_every,
            "cpu_ms": round(self.whole_ms, 4),
            "twin_cpu_ms": round(self.twin_ms, 4),
            "link_cpu_ms": round(self.link_ms, 4),
            "packets": round(self.packets, 3),
            "jpeg_cpu_ms": round(self.jpeg_ms, 4),
            "ratio_to_jpeg": round(self.ratio_to_jpeg, 3),
        }


class _Regular(GapSchedule):
    """Every n-th frame, however strange: what is measured here is not the subject."""

    def __init__(self, every: int) -> None:
        self._n = every
        self._asked = 0
        super().__init__(every)

    def is_due(self, now_s: float) -> bool:  # noqa: ARG002 - as its base
        self._asked += 1
        return self._asked % self._n == 0


def measure_costs(
    bundle: Bundle, runtimes: Sequence[Runtime], frames: Sequence[Frame], *, rounds: int, gap_every: Sequence[int]
) -> tuple[FrameCost, ...]:
    """Measures whole frames, with the code that a device runs and a client that publishes over loopback.

    Args:
        bundle: What to run.
        runtimes: On what to run it.
        frames: Frames to take in turns, at least 1.
        rounds: Frames for each figure, at least 1.
        gap_every: Which shares of the frames to render, see `FrameCost.gap_every`.

    Raises:
        BundleError: A runtime cannot run the bundle.
        SyncError: The loopback cannot be used.
    """
    return tuple(_measure(bundle, runtime, frames, rounds, every) for runtime in runtimes for every in gap_every)


def _measure(bundle: Bundle, runtime: Runtime, frames: Sequence[Frame], rounds: int, every: int) -> FrameCost:
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    twin_ns = jpeg_ns = 0
    with single_threaded_opencv(), _link(bundle) as (link, network_clock):
        worker = FrameWorker(Twin(bundle, runtime), link, 1, schedule=_Regular(every))
        start_us = time.time_ns() // 1000
        warm_up = max(len(frames), every)
        network_ns = sent = 0
        for number in range(warm_up + rounds):
            if number == warm_up:
                twin_ns = jpeg_ns = 0
                network_ns, sent = time.clock_gettime_ns(network_clock), link.stats().sent
            frame = frames[number % len(frames)]
            # Another frame than the twin's, so that neither finds it in the cache because of the other.
            other = frames[(number + len(frames) // 2) % len(frames)]
            begin = time.thread_time_ns()
            cv2.imencode(".jpg", other.image, options)
            encoded = time.thread_time_ns()
            worker.work(replace(frame, time_us=start_us + number * _US // _FPS))
            twin_ns += time.thread_time_ns() - encoded
            jpeg_ns += encoded - begin
            time.sleep(_PAUSE_S)
        network_ns = time.clock_gettime_ns(network_clock) - network_ns
        sent = link.stats().sent - sent
    scale = rounds * _NS_PER_MS
    return FrameCost(str(runtime), every, twin_ns / scale, network_ns / scale, sent / rounds, jpeg_ns / scale)


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Keeps OpenCV to the calling thread."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _link(bundle: Bundle) -> Iterator[tuple[DeviceLink, int]]:
    """Gives a connected link and the CPU clock of its network thread."""
    with NullBroker() as broker, _quiet("twin_edge.sync.mqtt.client"):
        config = LinkConfig(BrokerConfig.from_url(broker.url, environ={}), uploads_bundle=False)
        others = set(threading.enumerate())
        with DeviceLink(config, TwinId("org.twin-edge", "bench"), bundle, 1) as link:
            link.wait_ready(_READY_S)
            (thread,) = set(threading.enumerate()) - others
            yield link, time.pthread_getcpuclockid(thread.ident or 0)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a logger from telling about connections that nobody has asked for."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
