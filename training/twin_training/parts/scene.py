"""The scene of a fixed subject: its plate, the light of each view, and where things move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.scene import SHIFT_VALUES
from twin_edge.twin.light import LightMeter, Relighter
from twin_edge.twin.parts import Labels
from twin_edge.twin.shift import ShiftMeter, shifted
from twin_training.recordings import Views

_MOST_SAMPLES: Final = 400
_ROUNDS: Final = 2
_ROWS_AT_ONCE: Final = 16
_MOVES: Final = 3.0
"""Deviation, in deviations of the noise, from where on a pixel counts as one where something moves."""
_MOST_NOISE: Final = 4.0
"""Variance of a pixel's noise, in the usual ones, that is not motion."""
_MOST_SHAKE: Final = 25.0
"""And what a shaking camera may add to it at edges, levels^2."""
_LEAST_MOTION: Final = 6.0
"""The same in levels: what is below that is left to the light."""

Lights = npt.NDArray[np.int8]
"""Light of each view, int8 of shape (n, LIGHT_VALUES)."""


@dataclass(frozen=True, slots=True)
class LitScene:
    """A plate, and what the views are in its light."""

    plate: Image
    """The scene without what moves, uint8 RGB of shape (size, size, 3)."""
    lights: Lights
    """The light of each view."""
    shifts: npt.NDArray[np.int8]
    """How far the camera has moved in each, 1/8 pixels, int8 of shape (n, SHIFT_VALUES)."""
    activity: npt.NDArray[np.float32]
    """Mean squared distance from the plate, less what noise makes of it, float32 of shape (size, size), levels^2."""
    noise: float
    """Usual variance of the noise of a pixel, levels^2."""

    def flat(self, views: Views, rows: npt.NDArray[np.int64]) -> Views:
        """Returns some views in the plate's light, the camera held still, uint8 RGB of shape (n, size, size, 3).

        Args:
            views: All views, uint8 RGB of shape (m, size, size, 3).
            rows: Which of them, int64 of shape (n,).
        """
        relight, flat = Relighter(*self.plate.shape[:2]), np.empty((len(rows), *views.shape[1:]), np.uint8)
        # A camera that shakes would make components of its own; renderings are moved as the views are.
        for place, row in enumerate(rows):
            flat[place] = relight(shifted(views[row], -self.shifts[row]), -self.lights[row])
        return flat


@dataclass(frozen=True, slots=True)
class PartsLayout:
    """What there is beside the networks of a scene of parts."""

    plate: Image
    """The scene without what moves, uint8 RGB of shape (size, size, 3)."""
    labels: Labels
    """Where the parts are, uint8 of shape (size, size): 0 is the plate."""
    side: int
    """Height and width of a part as the encoder sees it, pixels."""


def light_up(views: Views, empty: Image | None = None) -> LitScene:
    """Takes the light out of views of a fixed scene.

    Args:
        views: In time order, uint8 RGB of shape (n, size, size, 3).
        empty: The scene without what moves, if that is known, uint8 RGB of shape (size, size, 3).
    """
    sample = evenly(views, _MOST_SAMPLES)
    plate = np.median(sample, axis=0).astype(np.uint8) if empty is None else empty
    moving = np.zeros(plate.shape[:2], bool)
    activity, noise = np.zeros(moving.shape, np.float32), 1.0
    for _ in range(_ROUNDS):
        measure = LightMeter(plate, moving)
        flat = in_plates_light(sample, np.stack([measure(view) for view in sample]))
        if empty is None:
            plate = np.median(flat, axis=0).astype(np.uint8)
        activity, noise = _activity(flat, plate, views)
        moving = activity > max(_LEAST_MOTION**2, _MOVES**2 * noise)
    measure, follow = LightMeter(plate, moving), ShiftMeter(plate, moving)
    here = np.zeros(SHIFT_VALUES, np.int8)
    lights = np.stack([measure(view) for view in views])
    shifts = np.stack([follow(view, here) for view in views])
    return LitScene(plate, lights, shifts, activity, noise)


def in_plates_light(views: Views, lights: Lights) -> Views:
    """Returns views in the plate's light, uint8 RGB of shape (n, size, size, 3)."""
    # The gains of a light with its signs turned are one over its gains.
    relight = Relighter(*views.shape[1:3])
    return np.stack([relight(view, -light) for view, light in zip(views, lights, strict=True)])


def evenly(views: Views, most: int) -> Views:
    """Returns at most so many of the views, evenly spaced."""
    return views[evenly_rows(len(views), most)]


def evenly_rows(count: int, most: int) -> npt.NDArray[np.int64]:
    """Returns the rows of at most so many of `count` views, evenly spaced, int64 of shape (n,)."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def _activity(flat: Views, plate: Image, views: Views) -> tuple[npt.NDArray[np.float32], float]:
    """Returns how much each pixel moves, and the usual variance of its noise."""
    step = max(1, len(views) // _MOST_SAMPLES)
    first = views[: len(views) - 1 : step]
    second = views[1::step][: len(first)]
    fast: npt.NDArray[np.float64] = np.empty(plate.shape[:2])
    slow: npt.NDArray[np.float32] = np.empty(plate.shape[:2], np.float32)
    for top in range(0, len(plate), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        # What differs from one view to the next, most of the time, is noise and a camera that shakes.
        change = np.abs(second[:, rows].astype(np.int16) - first[:, rows])
        fast[rows] = np.square(1.4826 * np.median(change, axis=0).mean(-1)) / 2
        slow[rows] = np.square(flat[:, rows].astype(np.float32) - plate[rows]).mean((0, 3))
    noise = max(float(np.median(fast)), 1.0)
    # A wheel that never rests changes as much from view to view, and is no noise.
    fast = np.minimum(fast, _MOST_NOISE * noise + _MOST_SHAKE)
    return np.maximum(slow - fast, 0).astype(np.float32), noise
