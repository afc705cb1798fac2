"""How long a bundle takes on this machine, beside encoding the same frames as JPEG."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.config import RunConfig
from twin_edge.frame_cost import JPEG_QUALITY, FrameCost, measure_costs, single_threaded_opencv
from twin_edge.images import Image
from twin_edge.models.runtimes import Runtime, installed_runtimes, load_runtime
from twin_edge.runtime.sending import SendingConfig, State, StateSender
from twin_edge.sample_frames import FPS, HEIGHT, WIDTH, sample_frames
from twin_edge.stage_times import Spread, StageTimes
from twin_edge.twin import Packet, Twin

STAGES: Final = ("view", "encode", "render", "gap", "packet", "whole")
EXCLUDED: Final = "capturing, the broker and the start are excluded; models and buffers are warm"
_FRAME_US: Final = 1_000_000 // FPS
_MS: Final = 1e3


@dataclass(frozen=True, slots=True)
class TwinTimes:
    """One runtime with one number of threads."""

    runtime: str
    """Name and version of the runtime."""
    threads: int
    """CPU threads for one inference."""
    stages: dict[str, Spread]
    """Milliseconds of each stage, see `STAGES`; `whole` is all of them together, with rendering and gap."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured."""

    rounds: int
    """Frames that each line was measured over, after a warm-up."""
    frame: str
    """Size of the frames."""
    shown: str
    """What the frames show."""
    twins: tuple[TwinTimes, ...]
    """Every installed runtime with 1 and 2 threads."""
    jpeg: Spread
    """Milliseconds to encode the same frames as JPEG of quality 80."""
    costs: tuple[FrameCost, ...]
    """CPU of whole frames with one thread, on every installed runtime: all rendered, and as many as by default."""
    packet_bytes: int
    """Size of a packet with one raw state; the codec makes it smaller."""
    jpeg_bytes: int
    """Median size of a frame as JPEG."""

    @property
    def size_ratio(self) -> float:
        """How many packets one JPEG weighs."""
        return self.jpeg_bytes / self.packet_bytes

    def to_json(self) -> dict[str, Any]:
        """Returns what was measured as an object of JSON."""
        return {
            "type": "bench",
            **asdict(self),
            "costs": [cost.to_json() for cost in self.costs],
            "size_ratio": round(self.size_ratio, 1),
            "excluded": EXCLUDED,
        }


def run_benchmark(bundle: Bundle, *, rounds: int = 200, threads: Sequence[int] = (1, 2)) -> Benchmark:
    """Measures a bundle on every installed runtime.

    Args:
        bundle: What to measure.
        rounds: Frames per line, at least 1.
        threads: Numbers of CPU threads to try, 1-16 each.

    Raises:
        BundleError: A runtime cannot run the bundle.
        SyncError: The loopback cannot be used.
    """
    runtimes = [load_runtime(name) for name in installed_runtimes()]
    sample = sample_frames(bundle, load_runtime())
    frames = sample.frames
    with single_threaded_opencv():
        jpeg, jpeg_bytes = _measure_jpeg(frames, rounds)
        twins = tuple(
            TwinTimes(str(runtime), count, _measure_twin(bundle, runtime, count, frames, rounds))
            for runtime in runtimes
            for count in threads
        )
    costs = measure_costs(bundle, runtimes, frames, rounds=rounds, gap_every=(1, RunConfig().gap_every))
    return Benchmark(
        rounds=rounds,
        frame=f"{WIDTH}x{HEIGHT}",
        shown=sample.shown,
        twins=twins,
        jpeg=jpeg,
        costs=costs,
        packet_bytes=len(_packet(bundle, frames[0], _blank(bundle)).encode()),
        jpeg_bytes=jpeg_bytes,
    )


def _measure_jpeg(frames: Sequence[Frame], rounds: int) -> tuple[Spread, int]:
    times, sizes = StageTimes(("jpeg",), rounds), []
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    for number in range(-len(frames), rounds):  # The negative ones warm up.
        image = frames[number % len(frames)].image
        start = time.perf_counter()
        encoded = cv2.imencode(".jpg", image, options)[1]
        end = time.perf_counter()
        if number >= 0:
            times.next_row()[0] = (end - start) * _MS
            sizes.append(len(encoded))
    return times.spreads(rounds)["jpeg"], int(np.median(sizes))


def _measure_twin(
    bundle: Bundle, runtime: Runtime, threads: int, frames: Sequence[Frame], rounds: int
) -> dict[str, Spread]:
    twin = Twin(bundle, runtime, threads=threads)
    times = StageTimes(STAGES, rounds)
    clock = time.perf_counter
    view: Image = np.zeros((twin.make_view.spec.height, twin.make_view.spec.width, 3), np.uint8)
    state: State | None = None
    sender = StateSender(_Sink(), bundle, 1, SendingConfig())
    for number in range(-len(frames), rounds):
        frame = frames[number % len(frames)]
        marks = [clock()]
        view = twin.make_view(frame.image, view)
        marks.append(clock())
        state = twin.encode(view, state)
        marks.append(clock())
        rendering = twin.render(state)
        marks.append(clock())
        twin.compare(view, rendering, state)
        marks.append(clock())
        # At a camera's pace, so that as many states share a packet as on a device.
        seq = number + len(frames)
        sender.put(state, seq, frames[0].time_us + seq * _FRAME_US, clock())
        marks.append(clock())
        if number >= 0:
            row = times.next_row()
            row[:-1] = np.diff(marks) * _MS
            row[-1] = (marks[-1] - marks[0]) * _MS
    return times.spreads(rounds)


class _Sink:
    """Takes packets as the link does, without sending them."""

    stands_alone = False

    def publish(self, packet: Packet) -> bool:
        """Makes the bytes of a packet."""
        return bool(packet.encode())

    def take_resync(self) -> bool:
        """Wants no key packet."""
        return False


def _blank(bundle: Bundle) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.zeros(bundle.manifest.state.length, np.int8)


def _packet(bundle: Bundle, frame: Frame, state: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> Packet:
    return Packet(bundle.model_id, 1, 0, frame.time_us, state[np.newaxis])
