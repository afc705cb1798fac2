"""Tracking: from a view and the state before it to pose and latent.

The encoder sees the view from where the subject was last, and says how far it has moved since and what it looks like.
It is asked again from there until that is next to nothing: once for a subject that rests, twice for most that move.
The latent is what it says at last, and so belongs to just the pose that stands beside it in the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from twin_edge.images import Image
from twin_edge.models.engine import Quantization
from twin_edge.models.networks import State
from twin_edge.models.pose import Pose, PoseSpec

_FOLLOW_PASSES: Final = 4
_SEARCH_PASSES: Final = 10
_SMALL_STEPS: Final = 0.75
_OVERSAMPLING: Final = 2
"""The view is warped at twice the encoder's resolution and then halved: small shifts must not blur it unevenly."""


class Cropper:
    """Cuts what the encoder sees out of a view; keeps its buffers, so one thread uses one cropper.

    Args:
        size: Side of the views, pixels.
        side: Side of the encoder's input, pixels; divides `size`.
    """

    def __init__(self, size: int, side: int) -> None:
        self._size, self._side = size, side
        self._between = min(size, _OVERSAMPLING * side)
        self._small: Image = np.zeros((self._between, self._between, 3), np.uint8)
        self._warped: Image = np.zeros_like(self._small)
        self._crop: Image = np.zeros((side, side, 3), np.uint8)

    def look_at(self, view: Image) -> None:
        """Takes the view that crops are cut out of, uint8 RGB of shape (size, size, 3)."""
        if self._between == self._size:
            self._small = view
        else:
            between = (self._between, self._between)
            cv2.resize(view, between, dst=self._small, interpolation=cv2.INTER_AREA)

    def __call__(self, pose: Pose) -> Image:
        """Returns the crop at a pose, uint8 RGB of shape (side, side, 3); the next call overwrites it."""
        cv2.warpAffine(
            self._small,
            pose.matrix(self._size, self._between),
            (self._between, self._between),
            dst=self._warped,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if self._between == self._side:
            return self._warped
        cv2.resize(self._warped, (self._side, self._side), dst=self._crop, interpolation=cv2.INTER_AREA)
        return self._crop


class Tracker:
    """Encodes views of a subject that moves; one thread uses one tracker.

    Args:
        encoder: Says of a crop how far the subject is from where it should be, and its latent, in int8.
        output: Real values of the encoder's output.
        spec: How poses stand in states.
        size: Side of the views, pixels.
        side: Side of the crops that the encoder takes, pixels.
    """

    def __init__(
        self, encoder: Callable[[Image], State], output: Quantization, spec: PoseSpec, size: int, side: int
    ) -> None:
        self._encoder = encoder
        self._output = output
        self._spec = spec
        self._crop = Cropper(size, side)
        self._count = len(spec.steps)

    def __call__(self, view: Image, near: State | None) -> State:
        """Returns the state of a view.

        Args:
            view: uint8 RGB of shape (size, size, 3).
            near: The state before, from which the search starts; from the middle of the view when None.

        Returns:
            int8 of shape (state length,).
        """
        self._crop.look_at(view)
        values = self._spec.quantize(Pose()) if near is None else near[: self._count]
        for _ in range(_SEARCH_PASSES if near is None else _FOLLOW_PASSES):
            pose = self._spec.dequantize(values)
            outputs = self._encoder(self._crop(pose))
            change = self._spec.change(self._output.dequantize(outputs[: self._count]))
            if self._is_small(change):
                break
            last, values = values, self._spec.quantize(pose.then(change))
        else:
            values = last
        state = outputs.copy()
        state[: self._count] = values
        return state

    def _is_small(self, change: Pose) -> bool:
        """Whether a change of pose is too small to be worth another look, and a byte on the wire."""
        pairs = zip(change.values(), self._spec.steps, strict=True)
        return all(abs(value) < _SMALL_STEPS * step for value, step in pairs)

    def read_at(self, view: Image, state: State) -> State:
        """Returns the state of a view whose pose is known: that of `state`; one pass, for a self-test.

        Args:
            view: uint8 RGB of shape (size, size, 3).
            state: int8 of shape (state length,).

        Returns:
            int8 of shape (state length,).
        """
        self._crop.look_at(view)
        read = self._encoder(self._crop(self._spec.dequantize(state[: self._count]))).copy()
        read[: self._count] = state[: self._count]
        return read
