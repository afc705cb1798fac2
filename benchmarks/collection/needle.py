"""Reads the rig's gauge in pictures of the rig, by what the rig itself looks like at each pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from collection.faults import Views
from collection.films import Film, as_filmed
from twin_edge.cameras.rig.drawing import Appearance, draw_machine
from twin_edge.cameras.rig.scenery import GAUGE, GAUGE_RADIUS, HEIGHT, WIDTH
from twin_edge.images import Image
from twin_edge.preprocess.view import Viewer, ViewSpec

_STEP_BAR: Final = 0.05
_MOST_BAR: Final = 10.0
WRONG_BAR: Final = 1.0
_INSIDE: Final = 0.8
"""The dial within this share of the gauge's radius: neither its rim nor what is around it."""
_VARIED: Final = 2.0


@dataclass(frozen=True, slots=True)
class NeedleErrors:
    """How far the needle in pictures is from the truth."""

    frames: int
    """Pictures that were read."""
    median_bar: float
    """Median of the error, bar."""
    p95_bar: float
    """What 95 % of the errors are below, bar."""
    wrong_share: float
    """Share of errors above 1 bar."""
    unnoticed_share: float
    """Share of frames with an error above 1 bar that are in sync and have a gap below 0.99."""


class NeedleReader:
    """Finds the pressure whose dial correlates best with that of a picture.

    Correlation does not ask for light or contrast, so that it reads renderings as well as views; on camera views of the
    rig with all nuisances it errs by about 0.02 bar.

    Args:
        spec: How views are made.
        film: How the rig is filmed; its seed and length do not matter.
    """

    def __init__(self, spec: ViewSpec, film: Film) -> None:
        viewer = Viewer(spec)
        dial = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        center = (round(GAUGE[0]), round(GAUGE[1]))
        cv2.circle(dial, center, round(_INSIDE * GAUGE_RADIUS), (255, 255, 255), -1)
        inside = viewer(as_filmed(film, dial)).min(-1) > 250  # noqa: PLR2004 - wholly inside
        self._pressures = np.arange(0.0, _MOST_BAR + _STEP_BAR / 2, _STEP_BAR)
        canvas: Image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        pictures = []
        for pressure in self._pressures:
            draw_machine(canvas, Appearance(float(pressure), 50.0, 45.0, 0.0, "run"))
            pictures.append(viewer(as_filmed(film, canvas)).copy())
        self._inside = inside & (np.std(pictures, axis=0).mean(-1) > _VARIED)
        self._dials = _normalized(np.stack([self._dial(picture) for picture in pictures]))

    def _dial(self, picture: Image) -> npt.NDArray[np.float32]:
        dial: npt.NDArray[np.float32] = picture[self._inside].astype(np.float32).ravel()
        return dial

    def read(self, picture: Image) -> float:
        """Returns the pressure that a picture shows, bar.

        Args:
            picture: View or rendering, uint8 RGB of shape (height, width, 3).
        """
        (dial,) = _normalized(self._dial(picture)[np.newaxis])
        alike = self._dials @ dial
        best = int(alike.argmax())
        if not 0 < best < len(alike) - 1:
            return float(self._pressures[best])
        before, at, after = alike[best - 1 : best + 2]
        between = 0.5 * float(before - after) / float(before - 2 * at + after - 1e-9)
        return float(self._pressures[best]) + between * _STEP_BAR


def _normalized(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centered = rows - rows.mean(1, keepdims=True)
    scaled: npt.NDArray[np.float32] = centered / (np.linalg.norm(centered, axis=1, keepdims=True) + 1e-6)
    return scaled


def needle_errors(
    read: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], strange: npt.NDArray[np.bool_]
) -> NeedleErrors:
    """Returns how far the needle was from the truth.

    Args:
        read: Pressures that pictures show, bar, shape (n,).
        truth: What they were, bar, shape (n,).
        strange: Whether the device raised something in that frame, shape (n,).
    """
    errors = np.abs(read - truth)
    wrong = errors > WRONG_BAR
    return NeedleErrors(
        len(errors),
        round(float(np.median(errors)), 4),
        round(float(np.percentile(errors, 95)), 4),
        round(float(wrong.mean()), 5),
        round(float((wrong & ~strange).mean()), 5),
    )


def truth_of(views: Views, all_views: Views, pressures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the true pressure of views that were taken out of a film.

    Args:
        views: Some views of the film; nan comes for those that are not.
        all_views: All views of the film.
        pressures: Truth of each of those.
    """
    known = {view.tobytes(): pressure for view, pressure in zip(all_views, pressures, strict=True)}
    return np.array([known.get(view.tobytes(), np.nan) for view in views])
