"""Frame to view: region, crop, resize, denoise, colour order.

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
from twin_edge.preprocess.region import Region, checked, to_pixels
from twin_edge.preprocess.shrink import Shrinker

ResizeMode = Literal["fit-shortest", "fit-longest", "squash"]
Denoise = Literal["none", "gaussian"]

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
    """Filter over the resized view. Resizing averages noise away already, so that `gaussian`, 3x3, pays only for soft
    subjects in the dark, see docs/preprocessing.md."""
    colour: Literal["RGB"] = "RGB"
    """Channel order of the view."""
    region: Region | None = None
    """What of the frame is looked at: x, y, width and height as shares of the frame's, 0-1; None for all of it."""

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
        return cls(**value | {"region": _region(value["region"])})

    def to_json(self) -> dict[str, int | str | list[float] | None]:
        """Returns the specification as it stands in the manifest."""
        return asdict(self) | {"region": None if self.region is None else list(self.region)}


def _region(value: Any) -> Region | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(entry) in (int, float) for entry in value):
        raise ManifestError("'view.region' must be null or four numbers")
    try:
        return checked(value)
    except (ValueError, OverflowError) as error:
        raise ManifestError(f"'view.region' is out of range ({error})") from error


class Viewer:
    """Makes views; keeps its buffers, so one thread uses one viewer.

    Args:
        spec: How to make them.
    """

    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec
        self._resized: Image = np.zeros((spec.height, spec.width, _CHANNELS), np.uint8)
        self._filtered: Image = np.zeros_like(self._resized)
        self._plan = Plan(spec, (spec.height, spec.width))

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
        spec, plan = self.spec, self._plan
        if plan.size != frame.shape[:2]:
            plan = self._plan = Plan(spec, (frame.shape[0], frame.shape[1]))
            self._resized.fill(0)
        if out is None:
            out = np.empty_like(self._resized)
        view = self._resized
        plan.shrink(frame[plan.source], view[plan.target])
        if spec.denoise == "gaussian":
            cv2.GaussianBlur(view, (3, 3), 0.6, dst=self._filtered)
            view = self._filtered
        # Colors last, on the few pixels that are left.
        cv2.cvtColor(view, cv2.COLOR_BGR2RGB, dst=out)
        return out


class Plan:
    """Which part of frames of one size goes where in the view.

    Attributes:
        size: (rows, columns) of the frames.
        source: Rows and columns of the frame that are taken.
        target: Rows and columns of the view that they fill; the others are black.
        shrink: Resizes the one to the other.
    """

    def __init__(self, spec: ViewSpec, size: tuple[int, int]) -> None:
        self.size = size
        left, top, columns, rows = (0, 0, size[1], size[0]) if spec.region is None else to_pixels(spec.region, size)
        inner = (spec.height, spec.width)
        outer = (rows, columns)
        if spec.resize_mode == "fit-shortest":
            wanted = spec.width / spec.height
            if columns > rows * wanted:
                outer = (rows, max(1, round(rows * wanted)))
            else:
                outer = (max(1, round(columns / wanted)), columns)
        elif spec.resize_mode == "fit-longest":
            scale = min(spec.height / rows, spec.width / columns)
            inner = (
                min(spec.height, max(1, round(rows * scale))),
                min(spec.width, max(1, round(columns * scale))),
            )
        self.source = _centered(outer, (rows, columns), (top, left))
        self.target = _centered(inner, (spec.height, spec.width))
        self.shrink = Shrinker(outer, inner)


def _centered(part: tuple[int, int], whole: tuple[int, int], corner: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
    """Returns the rows and columns of the part in the middle of the whole, whose first ones are the corner's."""
    top, left = corner[0] + (whole[0] - part[0]) // 2, corner[1] + (whole[1] - part[1]) // 2
    return slice(top, top + part[0]), slice(left, left + part[1])
