"""What happens to one frame: view, state, packet, rendering, gap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from twin_edge.cameras import Frame
from twin_edge.images import Image
from twin_edge.runtime.reporting import GapSchedule, RecentGap, SyncJudge
from twin_edge.runtime.sending import PacketSink, SendingConfig, State, StateSender
from twin_edge.runtime.stats import STAGES
from twin_edge.stage_times import StageTimes
from twin_edge.twin import Twin
from twin_edge.twin.packet import Flags, Packet

_U32: Final = 0xFFFF_FFFF
_MS: Final = 1e3


class FrameWorker:
    """Turns frames into packets and gaps; for one thread.

    A packet leaves before the state is rendered: subscribers render it meanwhile themselves, and nothing in it
    depends on the gap. What is rendered here is the state before the codec, as it was when the gap
    was calibrated.

    Args:
        twin: What to run.
        sink: Where packets go.
        session: Number of this process start.
        schedule: Which frames are rendered and measured; all of them when None.
        sending: How states are sent; as `SendingConfig` has it when None.
        on_rendered: Gets each frame that was rendered, with its rendering, uint8 RGB of shape (height, width, 3).

    Raises:
        ConfigError: The bundle has no such quality.

    Attributes:
        session: Number of this process start.
        schedule: Which frames are rendered and measured.
        sender: What sends the states.
        times: How long the stages took.
        judge: Whether reality is where the twin is.
        recent_gap: What the gap has been lately.
        frames: Frames that became states.
        measured: Frames that were rendered and measured.
        time_us: Capture time of the latest one, microseconds since the epoch.
    """

    def __init__(
        self,
        twin: Twin,
        sink: PacketSink,
        session: int,
        *,
        schedule: GapSchedule | None = None,
        sending: SendingConfig | None = None,
        on_rendered: Callable[[Frame, Image], None] | None = None,
    ) -> None:
        spec = twin.bundle.manifest.view
        self._twin = twin
        self.session = session
        self.sender = StateSender(sink, twin.bundle, session, sending or SendingConfig())
        self._view: Image = np.zeros((spec.height, spec.width, 3), np.uint8)
        self._state: State = np.zeros(twin.state_length, np.int8)
        self._following = False
        self.times = StageTimes(STAGES)
        self.judge = SyncJudge()
        self.recent_gap = RecentGap()
        self.schedule = schedule or GapSchedule(1)
        self._on_rendered = on_rendered
        self._latest: tuple[State, int, int] | None = None
        self.frames = 0
        self.measured = 0
        self.time_us = 0

    @property
    def seq(self) -> int:
        """Sequence number of the latest state, u32."""
        return (self.frames - 1) & _U32

    def work(self, frame: Frame) -> None:
        """Takes a frame through all stages; rendering and gap are those of some frames only.

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
        self._state = twin.encode(view, self._state if self._following else None)
        self._following = True
        encoded = clock()
        self.frames += 1
        self.time_us = frame.time_us
        self._latest = (self._state, self.seq, frame.time_us)
        self.sender.put(self._state, self.seq, self.time_us, time.monotonic())
        published = clock()
        rendered = end = np.nan
        if self.schedule.is_due(frame.own_s):
            rendering = twin.render(self._state)
            rendered = clock()
            self._take_gap(twin.compare(view, rendering, self._state).score, frame.own_s, time.monotonic())
            end = clock()
            if self._on_rendered is not None:
                self._on_rendered(frame, rendering)
        worked_ms = (clock() - start) * _MS
        self.times.next_row()[:] = (
            age_ms,
            (viewed - start) * _MS,
            (encoded - viewed) * _MS,
            (rendered - published) * _MS,
            (end - rendered) * _MS,
            (published - encoded) * _MS,
            worked_ms,
            age_ms + worked_ms,
        )

    def snapshot(self) -> Packet | None:
        """Returns the latest state as a raw key packet, for any thread; None before the first one."""
        if self._latest is None:
            return None
        state, seq, time_us = self._latest
        model = self._twin.bundle.model_id
        return Packet(model, self.session, seq, time_us, state[np.newaxis], flags=Flags.KEY)

    def publish_last(self) -> None:
        """Publishes the latest state once more as a key packet, for those who come when the device has gone."""
        if self.frames:
            self.sender.send_last(self._state, self.seq, self.time_us, time.monotonic())

    def camera_went_away(self) -> None:
        """Forgets what was known about reality."""
        self.judge, self.recent_gap = SyncJudge(), RecentGap()
        self._following = False
        self.schedule.restart()

    def _take_gap(self, gap: float, own_s: float, now_s: float) -> None:
        self.measured += 1
        # By the frames' own time: how fast a file is read must not change what is found in it.
        in_sync = self.judge.judge(gap, own_s)
        # What looks like nothing known may be the subject, lost: it is looked for from the start.
        self._following = in_sync
        self.recent_gap.add(gap, now_s)
        self.schedule.measured(gap, own_s, in_sync=in_sync)
