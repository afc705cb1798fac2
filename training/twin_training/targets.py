"""What a generator is to draw for each training view, kept or made when it is asked for.

For a moving subject that is what its view shows under the canvas, with the coverage, beside the plate under it. All of
it takes three times the memory of the views themselves: where that is much, a part is made anew for each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.pose import Pose
from twin_training.recordings import Views
from twin_training.scene import Masks, coverage, seen_parts, subject_core, warp_to_canvas

_MOST_KEPT: Final = 600 << 20
"""Bytes of canvases and plates that are kept: making them anew takes a quarter of a training step."""
_VIEWS_AT_ONCE: Final = 128
_HALF: Final = 127

Rows = npt.NDArray[np.int64]
"""Rows of training views, int64 of shape (n,)."""


class Targets(Protocol):
    """What to draw for each training view."""

    def pictures(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Returns what to draw, uint8 RGB of shape (n, size, size, 3), or (n, size, size, 4) with the coverage."""

    def seen(self, rows: Rows) -> Masks | None:
        """Returns 255 where a view shows its canvas, uint8 of shape (n, size, size); None when it does everywhere."""

    def plates(self, rows: Rows) -> Views | None:
        """Returns the plate under each canvas, uint8 RGB of shape (n, size, size, 3); None for a fixed subject."""


class WholeViews:
    """The views themselves: what is drawn of a fixed subject.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def pictures(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Returns the views, uint8 RGB of shape (n, size, size, 3)."""
        return np.asarray(self._views[rows])

    def seen(self, rows: Rows) -> Masks | None:  # noqa: ARG002 - the same for all
        """Returns None: everything is seen."""
        return None

    def plates(self, rows: Rows) -> Views | None:  # noqa: ARG002 - the same for all
        """Returns None: there is no plate."""
        return None


class Canvases:
    """What the views of a moving subject show under the canvas.

    Args:
        views: In time order, uint8 RGB of shape (n, size, size, 3).
        poses: Where the subject is in each.
        plate: What is behind it, uint8 RGB of shape (size, size, 3).
        most_kept: Bytes that canvases and plates may take for being kept.

    Attributes:
        often: Where the subject is in most of the views, bool of shape (size, size).
    """

    def __init__(self, views: Views, poses: Sequence[Pose], plate: Image, most_kept: int = _MOST_KEPT) -> None:
        self._views, self._poses, self._plate = views, list(poses), plate
        self._core = subject_core(self._moved, len(views))
        self._coverage: Masks | None = np.empty(views.shape[:3], np.uint8)
        self._seen = np.empty((len(views), -(-plate[..., 0].size // 8)), np.uint8)  # a bit for each pixel
        kept = 2 * views.nbytes <= most_kept
        self._canvases: Views | None = np.empty_like(views) if kept else None
        self._plates: Views | None = np.empty_like(views) if kept else None
        covered = np.zeros(plate.shape[:2], np.int64)
        for first in range(0, len(views), _VIEWS_AT_ONCE):
            part = slice(first, first + _VIEWS_AT_ONCE)
            canvases, plates = self._moved(np.arange(len(views))[part])
            found = coverage(canvases, plates, self._core)
            covered += (found > _HALF).sum(0)
            self._coverage[part] = found
            seen = seen_parts(len(plate), self._poses[part])
            self._seen[part] = np.packbits(seen.reshape(len(seen), -1) > 0, axis=1)
            if self._canvases is not None and self._plates is not None:
                self._canvases[part], self._plates[part] = canvases, plates
        self.often = np.asarray(2 * covered > len(views))

    def pictures(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Returns canvases with their coverage, uint8 of shape (n, size, size, 4)."""
        pictures = np.empty((len(rows), *self._plate.shape[:2], 4), np.uint8)
        for first in range(0, len(rows), _VIEWS_AT_ONCE):
            part = rows[first : first + _VIEWS_AT_ONCE]
            shown = self._shown(part)
            pictures[first : first + len(part), ..., :3] = shown
            pictures[first : first + len(part), ..., 3] = self._covered(part, shown)
        return pictures

    def seen(self, rows: Rows) -> Masks | None:
        """Returns 255 where a view shows its canvas, 0 beyond its edges, uint8 of shape (n, size, size)."""
        bits = np.unpackbits(self._seen[rows], axis=1, count=self._plate[..., 0].size)
        return np.asarray(bits.reshape(-1, *self._plate.shape[:2]) * np.uint8(255))

    def plates(self, rows: Rows) -> Views:
        """Returns the plate under each canvas, uint8 RGB of shape (n, size, size, 3)."""
        if self._plates is not None:
            return np.asarray(self._plates[rows])
        return warp_to_canvas(self._plate[np.newaxis], self._poses_of(rows))

    def forget(self) -> None:
        """Lets go of what can be made anew."""
        self._canvases = self._plates = self._coverage = None

    def _shown(self, rows: Rows) -> Views:
        if self._canvases is not None:
            return np.asarray(self._canvases[rows])
        return warp_to_canvas(self._views[rows], self._poses_of(rows))

    def _covered(self, rows: Rows, canvases: Views) -> Masks:
        if self._coverage is not None:
            return np.asarray(self._coverage[rows])
        plates = self.plates(rows)
        return coverage(canvases, plates, self._core)

    def _moved(self, rows: Rows) -> tuple[Views, Views]:
        poses = self._poses_of(rows)
        return warp_to_canvas(self._views[rows], poses), warp_to_canvas(self._plate[np.newaxis], poses)

    def _poses_of(self, rows: Rows) -> list[Pose]:
        return [self._poses[row] for row in rows]
