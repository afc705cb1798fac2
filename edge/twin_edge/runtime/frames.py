"""What happens to one frame: view, state, packet, rendering, gap."""

from __future__ import annotations

import time
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from twin_edge.cameras import Frame
from twin_edge.images import Image
from twin_edge.runtime.reporting import RecentGap, SyncJudge
from twin_edge.runtime.stats import STAGES
from twin_edge.stage_times import StageTimes
from twin_edge.twin import Flags, Packet, Twin

KEY_EVERY_S: Final = 10.0
_U32: Final = 0xFFFF_FFFF
_MS: Final = 1e3


class PacketSink(Protocol):
    """Where packets go: the device's link."""

    def publish(self, packet: Packet) -> bool:
        """Sends a packet, without ever waiting."""

    def take_resync(self) -> bool:
        """Returns whether a key packet is wanted since this was last asked."""


class FrameWorker:
    """Turns frames into packets and gaps; for one thread.

    The packet leaves before the state is rendered: subscribers render it meanwhile themselves, and nothing in it
    depends on the gap.

    Args:
        twin: What to run.
        sink: Where packets go.
        session: Number of this process start.

    Attributes:
        session: Number of this process start.
        times: How long the stages took.
        judge: Whether reality is where the twin is.
        recent_gap: What the gap has been lately.
        frames: Frames that became states.
        time_us: Capture time of the latest one, microseconds since the epoch.
    """

    def __init__(self, twin: Twin, sink: PacketSink, session: int) -> None:
        spec = twin.bundle.manifest.view
        self._twin = twin
        self._sink = sink
        self.session = session
        self._model = twin.bundle.model_id
        self._view: Image = np.zeros((spec.height, spec.width, 3), np.uint8)
        self._states: npt.NDArray[np.int8] = np.zeros((1, twin.state_length), np.int8)
        self._key_s = -np.inf
        self.times = StageTimes(STAGES)
        self.judge = SyncJudge()
        self.recent_gap = RecentGap()
        self.frames = 0
        self.time_us = 0

    @property
    def seq(self) -> int:
        """Sequence number of the latest state, u32."""
        return (self.frames - 1) & _U32

    def work(self, frame: Frame) -> None:
        """Takes a frame through all stages.

        Args:
            frame: Of any size.

        Raises:
            CameraError: The frame is no color image.
        """
        twin, clock = self._twin, time.perf_counter
        age_ms = max(0.0, time.time_ns() // 1000 - frame.time_us) / _MS  # a clock that was set back makes no age
        start = clock()
        view = twin.make_view(frame.image, self._view)
        viewed = clock()
        self._states[0] = twin.encode(view)
        encoded = clock()
        self.frames += 1
        self.time_us = frame.time_us
        self._publish(time.monotonic())
        published = clock()
        rendering = twin.render(self._states[0])
        rendered = clock()
        gap = twin.compare(view, rendering).score
        now_s = time.monotonic()
        self.judge.judge(gap, now_s)
        self.recent_gap.add(gap, now_s)
        end = clock()
        row = self.times.next_row()
        row[0] = age_ms
        row[1] = (viewed - start) * _MS
        row[2] = (encoded - viewed) * _MS
        row[3] = (rendered - published) * _MS
        row[4] = (end - rendered) * _MS
        row[5] = (published - encoded) * _MS
        row[6] = (end - start) * _MS
        row[7] = row[0] + row[6]

    def publish_last(self) -> None:
        """Publishes the latest state once more as a key packet, for those who come when the device has gone."""
        if self.frames:
            self._key_s = -np.inf
            self._publish(time.monotonic())

    def camera_went_away(self) -> None:
        """Forgets what was known about reality."""
        self.judge, self.recent_gap = SyncJudge(), RecentGap()

    def _publish(self, now_s: float) -> None:
        flags = Flags.NONE
        if self._sink.take_resync() or now_s - self._key_s >= KEY_EVERY_S:
            flags, self._key_s = Flags.KEY, now_s
        self._sink.publish(Packet(self._model, self.session, self.seq, self.time_us, self._states, flags=flags))
