"""The part of the link that keeps a picture for people on `up/preview`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np

from twin_edge.images import Image
from twin_edge.sync.device.part import Publish
from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.topics import TwinId

EVERY_S: Final = 5.0
"""At most one picture in this time."""
MAX_BYTES: Final = 64 * 1024
_MAX_SIDE: Final = 640
_QUALITIES: Final = (85, 70, 50, 30)


def encode_preview(image: Image) -> bytes | None:
    """Returns a picture as a JPEG of 64 kB at most, smaller than the picture if need be.

    Args:
        image: uint8 BGR of shape (height, width, 3).

    Returns:
        None when no quality makes it small enough.
    """
    longest = max(image.shape[:2])
    if longest > _MAX_SIDE:
        share = _MAX_SIDE / longest
        image = np.asarray(cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)
    image = np.ascontiguousarray(image)
    for quality in _QUALITIES:
        done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
        if done and len(data) <= MAX_BYTES:
            return bytes(data)
    return None


class PreviewPart:
    """Sends a picture from time to time while that is wanted, and takes it back from the broker when it is not.

    The thread that has the pictures asks `is_due` for each of them, and gives one with `put` when it is.

    Args:
        twin: Whose picture.
        clock: Monotonic seconds.
    """

    def __init__(self, twin: TwinId, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = twin.topics.preview
        self._clock = clock
        self._publish: Publish | None = None
        self._lock = threading.Lock()
        self._on = False
        self._clears = False
        self._next_s = -math.inf
        self._waiting: bytes | None = None

    @property
    def on(self) -> bool:
        """Whether pictures are sent."""
        return self._on

    def switch(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Begins or ends sending pictures, from any thread."""
        with self._lock:
            if self._on and not on:
                self._clears = True
            self._on = on
            if not on:
                self._waiting = None

    def is_due(self) -> bool:
        """Returns whether a picture is wanted now."""
        return self._on and self._clock() >= self._next_s

    def put(self, image: Image) -> None:
        """Takes a picture, from any thread: uint8 BGR of shape (height, width, 3)."""
        self._next_s = self._clock() + EVERY_S
        data = encode_preview(image)
        with self._lock:
            if self._on:
                self._waiting = data

    def attach(self, publish: Publish) -> None:
        """Takes the way to send."""
        self._publish = publish

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Returns what it wants to hear: nothing."""
        return ()

    def connected(self) -> None:
        """Takes back what an earlier run may have left, unless pictures are sent."""
        with self._lock:
            self._clears = not self._on

    def hear(self, message: Inbound) -> None:
        """Is not called."""

    def tick(self, now_s: float) -> None:  # noqa: ARG002 - a part is given the time
        """Sends what has come."""
        with self._lock:
            data, self._waiting = self._waiting, None
            clears, self._clears = self._clears, False
        if self._publish is None:
            return
        if clears:
            self._publish(Outbound(self._topic, b"", qos=1, retain=True), Delivery.GREETING)
        elif data is not None:
            self._publish(Outbound(self._topic, data, retain=True), Delivery.LIVE)

    def disconnected(self) -> None:
        """Nothing to do."""
