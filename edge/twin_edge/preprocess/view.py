"""Frame to view: crop, resize, denoise, colour order.

How this is done belongs to the model, so a `ViewSpec` travels in the bundle, and training, conversion and the device
all make their views with the same `Viewer`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import cv2
import numpy as np

from twin_edge.errors import CameraError, ManifestError
from twin_edge.images import Image

ResizeMode = Literal["fit-shortest", "fit-longest", "squash"]
Denoise = Literal["none", "gaussian", "median"]

MIN_SIDE, MAX_SIDE = 16, 1024
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """How a frame becomes a view."""

    height: int = 128
    """Rows of the view, pixels, 16-1024."""
    width: int = 128
    """Columns of the view, pixels, 16-1024."""
    resize_mode: ResizeMode = "fit-shortest"
    """`fit-shortest` crops the frame's centre to the view's aspect, `fit-longest` pads with black, `squash` does
    neither and distorts."""
    denoise: Denoise = "none"
    """Filter over the resized view: `gaussian` or `median`, each 3x3. Area resizing is itself the strongest one."""
    colour: Literal["RGB"] = "RGB"
    """Channel order of the view."""

    @classmethod
    def from_json(cls, value: Any) -> ViewSpec:
        """Reads a view specification out of an untrusted manifest.

        Raises:
            ManifestError: A key is unknown or missing, or a value is out of range.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(value, dict) or set(value) != names:
            raise ManifestError(f"'view' must have exactly the keys {', '.join(sorted(names))}")
        for side in ("height", "width"):
            if type(value[side]) is not int or not MIN_SIDE <= value[side] <= MAX_SIDE:
                raise ManifestError(f"'view.{side}' must be a whole number from {MIN_SIDE} to {MAX_SIDE}")
        for key, allowed in (
            ("resize_mode", get_args(ResizeMode)),
            ("denoise", get_args(Denoise)),
            ("colour", ("RGB",)),
        ):
            if value[key] not in allowed:
                raise ManifestError(f"'view.{key}' must be one of {', '.join(allowed)}")
        return cls(**value)

    def to_json(self) -> dict[str, int | str]:
        """Returns the specification as it stands in the manifest."""
        return asdict(self)


class Viewer:
    """Makes views; keeps its buffers, so one thread uses one viewer.

    Args:
        spec: How to make them.
    """

    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec
        self._resized: Image = np.zeros((spec.height, spec.width, _CHANNELS), np.uint8)
        self._filtered: Image = np.zeros_like(self._resized)

    def __call__(self, frame: Image, out: Image | None = None) -> Image:
        """Makes the view of a frame.

        Args:
            frame: uint8 BGR of shape (any height, any width, 3), 0-255.
            out: Where to put the view; a new array when None.

        Returns:
            uint8 RGB of shape (height, width, 3), 0-255.

        Raises:
            CameraError: The frame is not such an image.
        """
        if frame.dtype != np.uint8 or frame.ndim != _CHANNELS or frame.shape[2] != _CHANNELS or not frame.size:
            raise CameraError(
                f"a frame of shape {frame.shape} and type {frame.dtype} is not a color image",
                fix="set the camera to 8-bit color",
            )
        spec = self.spec
        if out is None:
            out = np.empty_like(self._resized)
        view = self._resized
        if spec.resize_mode == "fit-longest":
            self._letterbox(frame)
        elif spec.resize_mode == "fit-shortest":
            _resize(self._cropped(frame), view)
        else:
            _resize(frame, view)
        if spec.denoise == "gaussian":
            cv2.GaussianBlur(view, (3, 3), 0.6, dst=self._filtered)
            view = self._filtered
        elif spec.denoise == "median":
            cv2.medianBlur(view, 3, dst=self._filtered)
            view = self._filtered
        cv2.cvtColor(view, cv2.COLOR_BGR2RGB, dst=out)
        return out

    def _cropped(self, frame: Image) -> Image:
        """Returns the largest centred part of the frame that has the view's aspect, without copying it."""
        rows, columns = frame.shape[:2]
        wanted = self.spec.width / self.spec.height
        if columns > rows * wanted:
            keep = max(1, round(rows * wanted))
            left = (columns - keep) // 2
            return frame[:, left : left + keep]
        keep = max(1, round(columns / wanted))
        top = (rows - keep) // 2
        return frame[top : top + keep]

    def _letterbox(self, frame: Image) -> None:
        """Puts the whole frame into the middle of the buffer; the rest of it is black."""
        spec = self.spec
        scale = min(spec.height / frame.shape[0], spec.width / frame.shape[1])
        rows = min(spec.height, max(1, round(frame.shape[0] * scale)))
        columns = min(spec.width, max(1, round(frame.shape[1] * scale)))
        top, left = (spec.height - rows) // 2, (spec.width - columns) // 2
        inner = np.empty((rows, columns, _CHANNELS), np.uint8)
        _resize(frame, inner)
        self._resized.fill(0)
        self._resized[top : top + rows, left : left + columns] = inner


def _resize(frame: Image, out: Image) -> None:
    """Fills `out` with the resized frame."""
    rows, columns = out.shape[:2]
    shrinks = frame.shape[0] >= rows and frame.shape[1] >= columns
    # Area averaging when shrinking: no aliasing, and it averages the sensor noise away.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(frame, (columns, rows), dst=out, interpolation=interpolation)
