"""What a subscriber gets: one update for each state, rendered when it is looked at, and events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twin_edge.bundle.archive import Bundle
from twin_edge.errors import BundleError
from twin_edge.images import Image
from twin_edge.sync.wire.events import HeardEvent
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.twin import Twin


class Renderer:
    """Renders the states of one bundle; loads the generator when it is first used.

    Args:
        bundle: Whose states.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._twin: Twin | None = None
        self._refused: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def render(self, state: npt.NDArray[np.int8]) -> Image:
        """Returns the rendering of a state.

        Raises:
            BundleError: The bundle is one that is shown on devices only.
        """
        with self._lock:  # a twin is for one thread at a time
            if self._twin is None:
                self._twin = self._load()
            rendering = self._twin.render(state)
        rendering.flags.writeable = False
        return rendering

    def _load(self) -> Twin:
        # What a stranger's bundle is refused for may take a while to find, and comes to the same for every update.
        if self._refused is None:
            try:
                return Twin(self.bundle, encodes=False)
            except BundleError as error:
                # Not the error itself: its traceback would keep all that it was looked for with.
                self._refused = error.message, error.fix
                raise
        message, fix = self._refused
        raise BundleError(message, fix=fix)


@dataclass(slots=True, eq=False)
class TwinUpdate:
    """One state of a twin."""

    twin: TwinId
    """Whose state."""
    session: int
    """The device's process start that made it, u32."""
    seq: int
    """Its number within the session, u32."""
    time_us: int
    """When the frame was captured, by the device's clock, microseconds since the epoch."""
    state: npt.NDArray[np.int8]
    """The state, int8 of shape (state length,), read-only."""
    missed: int
    """States between the one before and this one that were lost, on the way or here for want of time."""
    key: bool
    """Whether it came in a key packet."""
    payload_bytes: float
    """Its part of the payload of its packet, the header of 24 bytes not included, bytes."""
    historical: bool
    """Whether it is old news, sent after an outage."""
    gap: float | None
    """The reality gap last heard of, 0-1; None when there is none."""
    in_sync: bool | None
    """Whether reality was where the twin is when last heard of; None when that is not known."""
    _renderer: Renderer = field(repr=False)
    _rendering: Image | None = field(default=None, repr=False)

    @property
    def bundle(self) -> Bundle:
        """The bundle that the state belongs to."""
        return self._renderer.bundle

    @property
    def rendering(self) -> Image:
        """The rendering, uint8 RGB of shape (height, width, 3), read-only; made once, when it is first asked for.

        Raises:
            BundleError: The bundle is one that is shown on devices only.
        """
        if self._rendering is None:
            self._rendering = self._renderer.render(self.state)
        return self._rendering


@dataclass(frozen=True, slots=True)
class TwinEvent:
    """Something that happened to a twin."""

    twin: TwinId
    """Whose event."""
    event: HeardEvent
    """What happened, when, and what speaks for it."""
