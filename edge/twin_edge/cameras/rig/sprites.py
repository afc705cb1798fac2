"""Drawing tools of the rig: a pen for smooth shapes on a fine canvas, and sprites that turn and move on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image

Color = tuple[int, int, int]
"""Blue, green, red, 0-255 each."""
Point = tuple[float, float]
"""x to the right and y down, pixels of the final picture."""

FINENESS = 4
"""Pixels of the fine canvas per pixel of the final picture, in each direction."""
_SHIFT = 4
_ONE = 1 << _SHIFT


class Pen:
    """Draws shapes, in coordinates of the final picture, on a canvas that is `FINENESS` times as fine.

    Args:
        image: uint8 of shape (height * FINENESS, width * FINENESS, channels), drawn on in place.
        origin: Where (0, 0) lies on it, in final pixels.
    """

    def __init__(self, image: npt.NDArray[np.uint8], origin: Point = (0.0, 0.0)) -> None:
        self.image = image
        self._origin = origin

    def _at(self, point: Point) -> tuple[int, int]:
        scale = FINENESS * _ONE
        return (
            round((point[0] + self._origin[0]) * scale),
            round((point[1] + self._origin[1]) * scale),
        )

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fills a polygon, convex or not."""
        corners = np.array([self._at(point) for point in points], np.int32)
        cv2.fillPoly(self.image, [corners], color, cv2.LINE_AA, _SHIFT)

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """Fills a circle."""
        cv2.circle(self.image, self._at(center), round(radius * FINENESS * _ONE), color, -1, cv2.LINE_AA, _SHIFT)

    def line(self, start: Point, end: Point, color: Color, width: float) -> None:
        """Draws a line with round ends."""
        thickness = max(1, round(width * FINENESS))
        cv2.line(self.image, self._at(start), self._at(end), color, thickness, cv2.LINE_AA, _SHIFT)

    def arc(self, center: Point, radius: float, span_deg: tuple[float, float], color: Color, width: float) -> None:
        """Draws an arc with flat ends.

        Args:
            center: Its center.
            radius: Radius of its middle line, pixels.
            span_deg: First and last angle, degrees clockwise from 3 o'clock.
            color: Its color.
            width: Pixels across.
        """
        first, last = span_deg
        steps = max(2, math.ceil(abs(last - first) / 2.0))
        angles = [math.radians(first + (last - first) * i / steps) for i in range(steps + 1)]
        outer = [polar(center, radius + width / 2, angle) for angle in angles]
        inner = [polar(center, radius - width / 2, angle) for angle in reversed(angles)]
        self.polygon(outer + inner, color)

    def box(self, corner: Point, size: Point, color: Color, radius: float = 0.0) -> None:
        """Fills a rectangle with round corners."""
        (x, y), (width, height) = corner, size
        radius = min(radius, width / 2, height / 2)
        if radius <= 0:
            self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color)
            return
        quarter = [math.radians(step * 7.5) for step in range(13)]
        points: list[Point] = []
        for index, center in enumerate(
            (
                (x + width - radius, y + height - radius),
                (x + radius, y + height - radius),
                (x + radius, y + radius),
                (x + width - radius, y + radius),
            )
        ):
            points += [polar(center, radius, angle + index * math.pi / 2) for angle in quarter]
        self.polygon(points, color)

    def text(self, center: Point, text: str, color: Color, height: float, width: float) -> None:
        """Writes `text` around `center`; `height` of a digit and stroke `width` in pixels."""
        face = cv2.FONT_HERSHEY_DUPLEX
        thickness = max(1, round(width * FINENESS))
        scale = cv2.getFontScaleFromHeight(face, round(height * FINENESS), thickness)
        (text_width, text_height), _ = cv2.getTextSize(text, face, scale, thickness)
        x, y = self._at(center)
        place = (x // _ONE - text_width // 2, y // _ONE + text_height // 2)
        cv2.putText(self.image, text, place, face, scale, color, thickness, cv2.LINE_AA)

    def tube(self, start: Point, end: Point, width: float, color: Color) -> None:
        """Draws a horizontal or vertical pipe that is shaded across, like a cylinder."""
        x0, x1 = sorted((start[0], end[0]))
        y0, y1 = sorted((start[1], end[1]))
        upright = x0 == x1
        strips = max(8, round(width * 2))
        for strip in range(strips):
            low, high = (-0.5 + part / strips for part in (strip, strip + 1))
            tone = shade(color, _cylinder((low + high) / 2))
            if upright:
                self.box((x0 + low * width, y0), ((high - low) * width + 0.3, y1 - y0), tone)
            else:
                self.box((x0, y0 + low * width), (x1 - x0, (high - low) * width + 0.3), tone)


def _cylinder(across: float) -> float:
    """Brightness of a cylinder lit from the upper left, for a position across it from -0.5 to 0.5."""
    depth = math.sqrt(max(0.0, 1.0 - (2.0 * across) ** 2))
    gloss = math.exp(-(((across + 0.2) / 0.09) ** 2))
    return 0.45 + 0.55 * depth - 0.35 * across + 0.45 * gloss


def polar(center: Point, radius: float, angle_rad: float) -> Point:
    """The point `radius` away from `center` at an angle clockwise from 3 o'clock."""
    return center[0] + radius * math.cos(angle_rad), center[1] + radius * math.sin(angle_rad)


def shade(color: Color, factor: float) -> Color:
    """Makes a color darker (below 1) or lighter (above 1: towards white)."""
    if factor <= 1.0:
        blue, green, red = (channel * factor for channel in color)
    else:
        part = min(1.0, factor - 1.0)
        blue, green, red = (channel + (255 - channel) * part for channel in color)
    return round(blue), round(green), round(red)


def mix(first: Color, second: Color, share: float) -> Color:
    """A color between two; `share` of the second, 0-1."""
    blue, green, red = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return round(blue), round(green), round(red)


def fine_canvas(width: int, height: int, color: Color = (0, 0, 0)) -> Image:
    """An empty fine canvas for a picture of `width` x `height` pixels."""
    return np.full((height * FINENESS, width * FINENESS, 3), color, np.uint8)


def shrink(fine: Image) -> Image:
    """The final picture of a fine canvas."""
    size = (fine.shape[1] // FINENESS, fine.shape[0] // FINENESS)
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.uint8)


class Sprite:
    """A shape with soft edges that is drawn turned and moved, at fractions of pixels.

    Args:
        color: uint8 BGR of shape (side * FINENESS, side * FINENESS, 3), the pivot in its middle.
        mask: uint8 of shape (side * FINENESS, side * FINENESS), 255 where the shape is solid.
        opacity: How solid the shape is at most, 0-1.
    """

    def __init__(self, color: Image, mask: npt.NDArray[np.uint8], *, opacity: float = 1.0) -> None:
        # Kept twice as fine as the picture: with linear interpolation that is smooth at every angle.
        side = mask.shape[0] // FINENESS
        fine = (2 * side, 2 * side)
        solid = mask.astype(np.float32) * (opacity / 255.0)
        weighted = color.astype(np.float32) * solid[..., np.newaxis]
        self._weighted = cv2.resize(weighted, fine, interpolation=cv2.INTER_AREA).round().astype(np.uint8)
        through = cv2.resize(1.0 - solid, fine, interpolation=cv2.INTER_AREA)
        self._through = cv2.merge([(through * 255.0).round().astype(np.uint8)] * 3)
        self._side = side
        # The corners of what is there at all, seen from the pivot: only where they go is anything drawn.
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        x = (np.array([columns[0], columns[-1] + 1]) / FINENESS - side / 2).tolist()
        y = (np.array([rows[0], rows[-1] + 1]) / FINENESS - side / 2).tolist()
        self._corners: list[Point] = [(x[i], y[j]) for i in (0, 1) for j in (0, 1)]

    def draw(self, canvas: Image, pivot: Point, angle_deg: float) -> None:
        """Draws the sprite.

        Args:
            canvas: uint8 BGR, drawn on in place; what hangs over its edge is cut off.
            pivot: Where the middle of the sprite goes, pixels.
            angle_deg: How far it is turned, degrees clockwise.
        """
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        xs = [pivot[0] + cos * x - sin * y for x, y in self._corners]
        ys = [pivot[1] + sin * x + cos * y for x, y in self._corners]
        x0, y0 = max(math.floor(min(xs)) - 1, 0), max(math.floor(min(ys)) - 1, 0)
        x1, y1 = min(math.ceil(max(xs)) + 1, canvas.shape[1]), min(math.ceil(max(ys)) + 1, canvas.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        # From a pixel of the canvas back to a point of the sprite, which is twice as fine; OpenCV puts pixel centers
        # at whole numbers, hence the halves.
        cos, sin = 2.0 * cos, 2.0 * sin
        x, y, middle = pivot[0] - x0 - 0.5, pivot[1] - y0 - 0.5, self._side - 0.5
        matrix = np.array([[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]])
        flags, edge, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_CONSTANT, (x1 - x0, y1 - y0)
        through = cv2.warpAffine(self._through, matrix, size, None, flags, edge, (255, 255, 255))
        weighted = cv2.warpAffine(self._weighted, matrix, size, None, flags, edge, (0, 0, 0))
        target = canvas[y0:y1, x0:x1]
        cv2.multiply(target, through, target, 1.0 / 255.0)
        cv2.add(target, weighted, target)
