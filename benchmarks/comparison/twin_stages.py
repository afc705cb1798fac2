"""The stages of a frame on a device, to be timed one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame
from twin_edge.images import Image
from twin_edge.models import State
from twin_edge.models.runtimes import Runtime
from twin_edge.twin import Twin
from twin_edge.twin.codec import PayloadEncoder
from twin_edge.twin.packet import HEADER_BYTES

PACKET_STATES: Final = 7
"""States of a packet: a quarter of a second at 30 frames a second."""
_INTERVAL_MS: Final = 33
_HEADER: Final = bytes(HEADER_BYTES)


class TwinStages:
    """Each stage takes up what the one before it has left.

    Args:
        bundle: What to run.
        runtime: What to run it on.
        threads: CPU threads for one inference.
        frames: Frames to take in turns.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, threads: int, frames: Sequence[Frame]) -> None:
        self._twin = Twin(bundle, runtime, threads=threads)
        self._frames = frames
        spec = self._twin.make_view.spec
        self._view: Image = np.zeros((spec.height, spec.width, 3), np.uint8)
        self._state = self._twin.encode(self._view)
        self._rendering = self._twin.render(self._state)
        self._payloads = PayloadEncoder(bundle.codec)
        self._waiting: list[State] = []

    @property
    def work(self) -> dict[str, Callable[[int], object]]:
        """The stages by name, and all of them together; each is called with the number of the frame."""
        return {
            "view": self.view,
            "encode": self.encode,
            "code": self.code,
            "render": self.render,
            "gap": self.gap,
            "whole frame": self.whole,
        }

    def view(self, number: int) -> None:
        """Makes the view of a frame."""
        self._view = self._twin.make_view(self._frames[number % len(self._frames)].image, self._view)

    def encode(self, _number: int) -> None:
        """Makes the state of the view."""
        self._state = self._twin.encode(self._view, self._state)

    def code(self, _number: int) -> None:
        """Codes the state, and ends the payload when it has enough of them."""
        self._waiting.append(self._state)
        if len(self._waiting) == PACKET_STATES:
            self._payloads.encode(np.stack(self._waiting), _HEADER, _INTERVAL_MS, key=self._payloads.position is None)
            self._waiting.clear()

    def render(self, _number: int) -> None:
        """Makes the rendering of the state."""
        self._rendering = self._twin.render(self._state)

    def gap(self, _number: int) -> None:
        """Compares view and rendering."""
        self._twin.compare(self._view, self._rendering, self._state)

    def whole(self, number: int) -> None:
        """Does all of it, rendering included."""
        for stage in (self.view, self.encode, self.code, self.render, self.gap):
            stage(number)
