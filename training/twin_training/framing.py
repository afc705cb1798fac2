"""What of a recording's frames a twin is to look at: black bars, what moves, and the region that follows from them.

Pure functions of a few hundred small frames spread over the recording. They err on the side of the whole frame: what is
cut off the twin can never show, and what is kept in vain costs some detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.preprocess.region import Region, to_pixels

Floats = npt.NDArray[np.float32]

_BLACK: Final = 24
"""Black bars of a film are 16 of 255 where it has the range of television, and compression adds to that."""
_ALWAYS: Final = 98
_LEAST_BAR: Final = 0.02
_LEAST_EDGE: Final = 8.0

_LEAST_LEVELS: Final = 10.0
_OVER_NOISE: Final = 5.0
_EDGE_SHIFT: Final = 0.6
"""Shake of so many small pixels is not taken for motion."""
_LEAST_SHARE: Final = 0.015
_LEAST_PIXELS: Final = 8

_WAVES: Final = 3
_EVERY: Final = 4
_ROUNDS: Final = 4
_BLACKER: Final = 16.0
"""Added to values before their ratio is taken: those near black say little about light."""
_STRANGE_RATIO: Final = 0.05

_MARGIN: Final = 0.12
_SMALL: Final = 0.5
"""A box whose side is less than this share of the frame's shorter one is much smaller than the frame."""
_LEAST_SIDE: Final = 0.2
_WORTH_SHIFTING: Final = 0.1
"""A square frame is taken from elsewhere than the middle only when that shows so much more of what moves."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    """First column."""
    top: int
    """First row."""
    width: int
    """Columns, at least 1."""
    height: int
    """Rows, at least 1."""


@dataclass(frozen=True, slots=True)
class Framing:
    """What was found, in shares of the frame."""

    content: Region | None
    """The frame without black bars; None when there are none."""
    moving: Region | None
    """The box around everything that moves; None when nothing does."""
    region: Region | None
    """What the twin is to look at; None for the whole frame."""
    shown: float
    """Share of what moves that the view shows then, 0-1; 1 when nothing moves."""
    moving_share: float
    """Share of the frame in which something moves, 0-1."""


def content_box(frames: npt.NDArray[np.uint8]) -> Box:
    """Returns the frames without the black bars at their sides.

    A bar is black in practically all frames and ends at a sharp edge: a dark corner of a room is none.

    Args:
        frames: uint8 BGR of shape (n, rows, columns, 3), n at least 1.
    """
    gray = frames.max(-1)
    rows, columns = gray.shape[1:]
    # Compression leaves a few lighter pixels in bars: not the brightest one counts.
    (top, bottom), (left, right) = (
        [
            _bar(brightest[::turn], usual[::turn])
            for brightest in [np.percentile(np.percentile(gray, _ALWAYS, axis=axis), _ALWAYS, axis=0)]
            for usual in [np.median(gray.mean(0), axis=axis - 1)]
            for turn in (1, -1)
        ]
        for axis in (2, 1)
    )
    if top + bottom >= rows or left + right >= columns:
        return Box(0, 0, columns, rows)
    return Box(left, top, columns - left - right, rows - top - bottom)


def motion_map(frames: npt.NDArray[np.uint8]) -> Floats:
    """Returns in which share of the frames each pixel is not as it usually is, float32 of shape (rows, columns), 0-1.

    A change of light is taken out first, smooth over the frame and by channel; noise, and the edges of a camera that
    shakes a little, are not counted.

    Args:
        frames: uint8 BGR of shape (n, rows, columns, 3), n at least 3, spread over the recording.
    """
    usual = np.median(frames, axis=0).astype(np.float32)
    across, down = (cv2.Sobel(usual, cv2.CV_32F, *order, ksize=3, scale=1 / 8).max(-1) for order in ((1, 0), (0, 1)))
    edges = _EDGE_SHIFT * cv2.dilate(np.hypot(across, down), np.ones((3, 3), np.uint8))
    light = _Light(usual)
    apart = np.stack([_apart(frame, usual, light(frame)) for frame in frames])
    noise = float(np.median(apart[:: max(1, len(apart) // 40)]))
    threshold = max(_LEAST_LEVELS, _OVER_NOISE * noise) + edges
    return np.asarray((apart > threshold).mean(0), np.float32)


def _apart(frame: npt.NDArray[np.uint8], usual: Floats, gain: Floats) -> Floats:
    """Returns how far a frame is from the usual one in its light, levels of that one; what is overexposed is alike."""
    return np.asarray((np.abs(frame - np.minimum(usual * gain, 255)) / np.maximum(gain, 1)).max(-1), np.float32)


class _Light:
    """Finds how light a frame is beside the usual one: a smooth gain for each channel, by robust least squares.

    Args:
        usual: The usual frame, float32 BGR of shape (rows, columns, 3), 0-255.
    """

    def __init__(self, usual: Floats) -> None:
        rows, columns = usual.shape[:2]
        down, across = ((np.arange(side) + 0.5) / side for side in (rows, columns))
        waves = [
            np.outer(np.cos(np.pi * row * down), np.cos(np.pi * column * across))
            for row in range(_WAVES)
            for column in range(_WAVES)
        ]
        self._basis = np.stack(waves, axis=-1).astype(np.float32)
        self._few = np.s_[_EVERY // 2 :: _EVERY, _EVERY // 2 :: _EVERY]
        self._known = self._basis[self._few].reshape(-1, len(waves))
        self._usual = np.log(usual[self._few].reshape(-1, 3) + _BLACKER)

    def __call__(self, frame: npt.NDArray[np.uint8]) -> Floats:
        """Returns the gain of a frame, float32 of its shape, around 1."""
        ratio = np.log(frame[self._few].reshape(-1, 3) + np.float32(_BLACKER)) - self._usual
        weights = np.zeros((self._known.shape[1], 3), np.float32)
        weights[0] = np.median(ratio, axis=0)
        ridge = 1e-3 * len(self._known) * np.eye(len(weights))
        for _ in range(_ROUNDS):
            residual = ratio - self._known @ weights
            trust = 1 / (1 + np.square(residual / _STRANGE_RATIO))
            for channel in range(3):
                weighted = self._known * trust[:, channel, np.newaxis]
                weights[:, channel] = np.linalg.solve(weighted.T @ self._known + ridge, weighted.T @ ratio[:, channel])
        return np.asarray(np.exp(self._basis @ weights), np.float32)


def moving_mask(motion: Floats) -> npt.NDArray[np.bool_]:
    """Returns where something moves, specks left out, of shape (rows, columns).

    Args:
        motion: Of `motion_map`.
    """
    mask = (motion >= _LEAST_SHARE).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = np.flatnonzero(stats[:count, cv2.CC_STAT_AREA] >= _LEAST_PIXELS)
    return np.asarray(np.isin(labels, large[large > 0]))


def find_framing(frames: npt.NDArray[np.uint8], size: tuple[int, int], side: int) -> Framing:
    """Returns what a twin is to look at.

    Args:
        frames: Small frames spread over the recording, uint8 BGR of shape (n, rows, columns, 3), n at least 3.
        size: (rows, columns) of the frames as they were recorded.
        side: Height and width of the view, pixels: a region is not so small that a view would be enlarged.
    """
    shape = (frames.shape[1], frames.shape[2])
    content = content_box(frames)
    motion = motion_map(frames)
    mask = moving_mask(motion)
    mask = mask & _filled(content, shape)
    whole = _shares(content, shape) if content != Box(0, 0, shape[1], shape[0]) else None
    share = float(mask.mean())
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return Framing(whole, None, whole, 1.0, 0.0)
    moving = Box(
        int(columns.min()),
        int(rows.min()),
        int(columns.max() - columns.min() + 1),
        int(rows.max() - rows.min() + 1),
    )
    scale = shape[0] / size[0]
    chosen = _square(moving, content, mask, least=side * scale)
    region = whole if chosen is None else _shares(chosen, shape)
    return Framing(whole, _shares(moving, shape), region, shown_share(mask, region), share)


def shown_share(mask: npt.NDArray[np.bool_], region: Region | None) -> float:
    """Returns how much of a mask a square view of a region shows, 0-1; 1 for an empty mask.

    Args:
        mask: Where something moves, of shape (rows, columns).
        region: What of the frame is looked at; None for all of it.
    """
    rows, columns = mask.shape
    box = Box(0, 0, columns, rows) if region is None else Box(*to_pixels(region, (rows, columns)))
    return float(mask[_slices(_view_box(box))].sum() / mask.sum()) if mask.any() else 1.0


def shrink_frame(frame: Image, long_side: int = 192) -> Image:
    """Returns a frame whose longer side has so many pixels at most."""
    scale = long_side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    rows, columns = (max(1, round(side * scale)) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _square(moving: Box, content: Box, mask: npt.NDArray[np.bool_], least: float) -> Box | None:
    """Returns the square to look at; None when that is all of the content."""
    short = min(content.width, content.height)
    longest = max(moving.width, moving.height)
    side = max(longest * (1 + 2 * _MARGIN), _LEAST_SIDE * short, least)
    if side <= _SMALL * short:
        whole = round(side)
        left = _clamped(moving.left + moving.width / 2 - side / 2, content.left, content.width - whole)
        top = _clamped(moving.top + moving.height / 2 - side / 2, content.top, content.height - whole)
        return Box(left, top, whole, whole)
    middle = _view_box(content)
    total = mask.sum()
    counts = mask.sum(0) if content.width > content.height else mask.sum(1)
    first = content.left if content.width > content.height else content.top
    room = max(content.width, content.height) - short
    sums = np.concatenate([[0], np.cumsum(counts)])
    covered = [int(sums[first + start + short] - sums[first + start]) for start in range(room + 1)]
    most, now = max(covered), int(mask[_slices(middle)].sum())
    if most - now < _WORTH_SHIFTING * total:
        return None
    best = min((start for start in range(room + 1) if covered[start] == most), key=lambda start: abs(start - room / 2))
    if content.width > content.height:
        return Box(content.left + best, content.top, short, short)
    return Box(content.left, content.top + best, short, short)


def _view_box(box: Box) -> Box:
    """Returns the middle of a box that a square view shows."""
    side = min(box.width, box.height)
    return Box(box.left + (box.width - side) // 2, box.top + (box.height - side) // 2, side, side)


def _clamped(value: float, low: int, room: int) -> int:
    return int(min(max(round(value), low), low + room))


def _bar(brightest: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> int:
    """Returns how many rows (or columns) at the beginning are a black bar.

    Args:
        brightest: The brightest that each row gets, a few pixels and frames apart.
        usual: How bright each row usually is in its middle.
    """
    light = np.flatnonzero(brightest > _BLACK)
    if not len(light):
        return 0
    length = int(light[0])
    if length < max(2, _LEAST_BAR * len(brightest)):
        return 0
    outside = brightest[length : length + 3].max()
    # All along it, not only where something light happens to be.
    if usual[length : length + 3].max() - usual[: max(1, length - 1)].max() < _LEAST_EDGE:
        return 0
    # The row on the edge is a mixture of both where frames were made smaller.
    return length + (1 if brightest[length] < outside - _LEAST_EDGE else 0)


def _filled(box: Box, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    mask[_slices(box)] = True
    return mask


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _shares(box: Box, shape: tuple[int, int]) -> Region:
    rows, columns = shape
    values = box.left / columns, box.top / rows, box.width / columns, box.height / rows
    x, y, width, height = (round(value, 4) for value in values)
    return (x, y, min(width, round(1 - x, 4)), min(height, round(1 - y, 4)))
