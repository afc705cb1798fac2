"""The capture thread: reads a camera into a slot that holds the latest frame.

```
CLOSED -> OPENING -> STREAMING <-> STALLED      ENDED: a file or folder is over
             ^            |           |         FAILED: gone for good
             +-- BACKOFF <+-----------+         any of them -> CLOSED by stop()
```

One thread opens, reads and closes the camera. The consumer never waits longer than it says, whatever the camera does:
a camera that blocks in the driver is left to its (daemon) thread, and no second thread is started beside it.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from twin_edge.cameras.base import Camera, Frame
from twin_edge.cameras.pacing import Pacer, pacer_for
from twin_edge.cameras.settings import TRANSITIONS, CaptureConfig, CaptureState, CaptureStats
from twin_edge.errors import CameraEndedError, CameraError, CameraOpenError, CameraTimeoutError

_LOGGER = logging.getLogger(__name__)
_STOP_TIMEOUT_S = 1.0
_STABLE_S = 5.0
"""A camera that has delivered for this long starts with the shortest wait when it goes away again."""
_QUIET = frozenset({CaptureState.CLOSED, CaptureState.OPENING, CaptureState.STREAMING, CaptureState.ENDED})
_OVER = frozenset({CaptureState.ENDED, CaptureState.FAILED})


class Capture:
    """Reads a camera in a thread of its own.

    Live cameras are opened again when they go away. A source that waits (a file, a folder) cannot come back: when it
    breaks, the capture fails.

    `get` and `stats` may be called from any thread, `start` and `stop` from one.

    Args:
        camera: What to read; used by the capture alone until it is stopped.
        config: How to read it.
    """

    def __init__(self, camera: Camera, config: CaptureConfig | None = None) -> None:
        self._camera = camera
        self._config = config if config is not None else CaptureConfig()
        self._fps = self._config.fps
        self._lossless = self._fps == math.inf and not camera.live
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # Everything below is guarded by the condition.
        self._state = CaptureState.CLOSED
        self._complained = False
        self._slot: Frame | None = None
        self._error: CameraError | None = None
        self._reading_since_s: float | None = None
        self._good_s = 0.0
        self._delivered = False
        self._reset_counters()

    def _reset_counters(self) -> None:
        self._frames = self._dropped = self._skipped = self._reconnects = self._timeouts = 0

    @property
    def camera(self) -> Camera:
        """The camera that is read."""
        return self._camera

    @property
    def state(self) -> CaptureState:
        """What the capture is doing now."""
        with self._changed:
            self._watch(time.monotonic())
            return self._state

    def set_fps(self, fps: float | None) -> None:
        """Changes the pace, from any thread; the next frame comes by the new one.

        Args:
            fps: See `CaptureConfig.fps`.

        Raises:
            ConfigError: It is out of range.
        """
        replace(self._config, fps=fps)
        with self._changed:
            self._fps = fps
            self._lossless = fps == math.inf and not self._camera.live
            self._changed.notify_all()

    def stats(self) -> CaptureStats:
        """What has been counted since the start."""
        with self._changed:
            self._watch(time.monotonic())
            return CaptureStats(
                state=self._state,
                frames=self._frames,
                dropped=self._dropped,
                skipped=self._skipped,
                reconnects=self._reconnects,
                timeouts=self._timeouts,
            )

    def start(self) -> None:
        """Starts the thread and waits until the first frame is there.

        Raises:
            CameraError: The camera cannot be opened, or gives no frame; the capture is stopped then. Also when it runs
                already, or when the thread of an earlier run still hangs in the camera.
        """
        if self._thread is not None and self._thread.is_alive():
            hangs = self._stopping.is_set()
            raise CameraError(
                f"{self._camera.uri} still hangs in its driver" if hangs else "the capture runs already",
                fix="restart the process, or plug the camera in again" if hangs else "stop it first",
            )
        with self._changed:
            self._slot = self._error = self._reading_since_s = None
            self._delivered = False
            self._reset_counters()
            self._stopping.clear()
            self._enter(CaptureState.OPENING)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()
        with self._changed:
            ready = self._changed.wait_for(lambda: self._delivered or self._state in _OVER, self._config.open_timeout_s)
            error = (
                self._error
                if ready
                else CameraOpenError(
                    f"{self._camera.uri} gave no frame within {self._config.open_timeout_s:g} s",
                    fix="check that no other program uses the camera",
                )
            )
        if error is not None and not self._delivered:
            self.stop()
            raise error

    def stop(self) -> None:
        """Stops the thread, within about a second; may be called more than once.

        A camera that blocks is closed by its thread once it lets go.
        """
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)
            if self._thread.is_alive():
                _LOGGER.warning("camera %s does not let go, leaving it behind", self._camera.uri)
            else:
                self._thread = None
        with self._changed:
            if self._state is not CaptureState.CLOSED:
                self._enter(CaptureState.CLOSED)
            self._slot = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def get(self, timeout_s: float) -> Frame | None:
        """Takes the latest frame, waiting for one that has not been taken yet.

        Args:
            timeout_s: How long to wait at most, seconds, 0 and more.

        Returns:
            The frame, or None when none came in time.

        Raises:
            CameraEndedError: A finite source is over, and its last frame was taken.
            CameraError: The camera is gone for good, or the capture does not run.
        """
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                now_s = time.monotonic()
                again_s = self._watch(now_s)
                if self._slot is not None:
                    frame, self._slot = self._slot, None
                    self._changed.notify_all()  # The reader of a source that waits may go on.
                    return frame
                if self._state in _OVER and self._error is not None:
                    # A new error each time: raising one object again and again grows its traceback.
                    raise type(self._error)(self._error.message, fix=self._error.fix) from self._error
                if self._state is CaptureState.CLOSED:
                    raise CameraError("the capture does not run", fix="start it first")
                if now_s >= until_s:
                    return None
                self._changed.wait(min(until_s, again_s) - now_s)

    # The state, always with the condition held.

    def _enter(self, state: CaptureState, reason: str = "") -> None:
        if state is self._state:
            return
        if state not in TRANSITIONS[self._state]:
            raise AssertionError(f"capture cannot go from {self._state.value} to {state.value}")
        level = logging.INFO if state in _QUIET else logging.WARNING
        if state is CaptureState.FAILED:
            level = logging.DEBUG  # it is raised to whoever reads, and told there
        # One warning for each time the camera goes away, not one for each attempt to get it back.
        if self._complained and state is not CaptureState.FAILED:
            level = logging.DEBUG if state is not CaptureState.STREAMING else logging.INFO
        self._complained = level == logging.WARNING or (self._complained and state is not CaptureState.STREAMING)
        _LOGGER.log(level, "camera %s is %s%s", self._camera.uri, state.value, f": {reason}" if reason else "")
        self._state = state
        self._changed.notify_all()

    def _watch(self, now_s: float) -> float:
        """Notices, on behalf of a reader that is blocked, that a deadline has passed.

        Returns:
            When to look again, monotonic seconds.
        """
        config = self._config
        if not self._delivered or self._stopping.is_set() or self._state in _OVER:
            return math.inf
        late_s = (now_s if self._reading_since_s is None else self._reading_since_s) + config.read_timeout_s
        if now_s >= late_s and self._state is CaptureState.STREAMING:
            self._timeouts += 1
            self._enter(CaptureState.STALLED, f"no frame for {config.read_timeout_s:g} s")
        if not self._camera.live or config.give_up_s is None:
            return late_s if late_s > now_s else math.inf
        lost_s = self._good_s + config.give_up_s
        if now_s >= lost_s:
            reason = f"no frame from {self._camera.uri} for {config.give_up_s:g} s"
            self._fail(CameraTimeoutError(reason, fix="check the camera"))
        return min(late_s if late_s > now_s else math.inf, lost_s)

    def _fail(self, error: CameraError) -> None:
        self._error = error
        self._stopping.set()  # The reader, should it still be at it, winds up.
        self._enter(CaptureState.ENDED if isinstance(error, CameraEndedError) else CaptureState.FAILED, str(error))

    # The reader thread.

    def _run(self) -> None:
        try:
            self._sessions()
        except CameraError as error:
            self._report(error)
        except Exception as error:
            # A bug in a camera must reach the consumer, which would wait for ever otherwise.
            _LOGGER.exception("camera %s broke unexpectedly", self._camera.uri)
            self._report(CameraError(f"{self._camera.uri} broke unexpectedly ({error})", fix="report this as a bug"))

    def _report(self, error: CameraError) -> None:
        with self._changed:
            if not self._stopping.is_set():
                self._fail(error)

    def _sessions(self) -> None:
        """Opens and reads the camera, again and again when it is a live one."""
        config = self._config
        attempt = 0
        while not self._stopping.is_set():
            started_s = time.monotonic()
            try:
                self._session()
            except CameraError as error:
                if isinstance(error, CameraEndedError) or (self._delivered and not self._camera.live):
                    raise
                attempt = 1 if self._good_s - started_s > _STABLE_S else attempt + 1
                if not self._delivered and attempt >= config.max_attempts:
                    raise
                self._back_off(attempt, error)

    def _back_off(self, attempt: int, error: CameraError) -> None:
        """Waits for a random time, so that many devices do not come back to a server at the same instant."""
        config = self._config
        ceiling_s = min(config.backoff_max_s, config.backoff_min_s * 2.0 ** min(attempt - 1, 30))
        with self._changed:
            if self._stopping.is_set():
                return
            self._enter(CaptureState.BACKOFF, str(error))
        self._stopping.wait(random.uniform(0.0, ceiling_s))

    def _session(self) -> None:
        """Opens the camera and reads it until it breaks, ends, or the capture is stopped.

        Raises:
            CameraError: It broke, or ended.
        """
        with self._changed:
            if self._stopping.is_set():
                return
            self._enter(CaptureState.OPENING)
        try:
            self._camera.open()
            fps = self._fps
            pacer = pacer_for(fps, self._camera.fps, live=self._camera.live)
            first = True
            while not self._stopping.is_set():
                if not self._camera.live:
                    self._wait_for_pace(pacer, fps)
                if fps != self._fps:
                    fps = self._fps
                    pacer = pacer_for(fps, self._camera.fps, live=self._camera.live)
                    continue
                if self._stopping.is_set():
                    return
                frame = self._read()
                if frame is None:
                    continue
                self._hand_over(frame, pacer, first=first)
                first = False
        finally:
            self._camera.close()

    def _wait_for_pace(self, pacer: Pacer, fps: float | None) -> None:
        """Waits until the next frame is due, the capture is stopped, or its pace is another one."""
        wait_s = pacer.wait_s(time.monotonic())
        if wait_s > 0.0:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping.is_set() or self._fps != fps, wait_s)

    def _read(self) -> Frame | None:
        """Reads a frame; None when a source that waits took too long for once."""
        with self._changed:
            self._reading_since_s = time.monotonic()
        try:
            return self._camera.read(self._config.read_timeout_s)
        except CameraTimeoutError as error:
            with self._changed:
                if self._stopping.is_set():
                    return None
                if self._state is not CaptureState.STALLED:
                    self._timeouts += 1
                    if self._state is CaptureState.STREAMING:
                        self._enter(CaptureState.STALLED, str(error))
            if self._camera.live:
                raise
            return None
        finally:
            with self._changed:
                self._reading_since_s = None

    def _hand_over(self, frame: Frame, pacer: Pacer, *, first: bool) -> None:
        with self._changed:
            if self._stopping.is_set():
                return
            self._good_s = time.monotonic()
            if first and self._delivered:
                self._reconnects += 1
            self._enter(CaptureState.STREAMING)
            if self._camera.live and not pacer.admits(self._good_s):
                self._skipped += 1
                return
            if self._lossless:
                self._changed.wait_for(lambda: self._slot is None or self._stopping.is_set())
                if self._stopping.is_set():
                    return
            if self._slot is not None:
                self._dropped += 1
            self._slot = frame
            self._frames += 1
            self._delivered = True
            self._changed.notify_all()
