"""The parts of the rig's picture that are drawn once: room, pipes, gauge dial, tank, lamps, and the moving sprites."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from twin_edge.cameras.rig.sprites import (
    FINENESS,
    Color,
    Pen,
    Point,
    Sprite,
    fine_canvas,
    mix,
    polar,
    shade,
    shrink,
)
from twin_edge.images import Image

WIDTH, HEIGHT = 480, 360
"""Size of a frame of the rig, pixels; everything that moves lies in the middle HEIGHT x HEIGHT."""

GAUGE: Point = (150.0, 98.0)
GAUGE_RADIUS = 82.0
NEEDLE_LENGTH = 60.0
WHEEL: Point = (322.0, 262.0)
WHEEL_RADIUS = 82.0
VALVE: Point = (152.0, 272.0)
LEVER_LENGTH = 78.0
GLASS_LEFT, GLASS_TOP, GLASS_WIDTH, GLASS_HEIGHT = 263, 26, 36, 128
LAMP_X, LAMP_TOP, LAMP_PITCH, LAMP_SIZE = 368.0, 20.0, 44.0, (58.0, 40.0)
LAMPS = ("fault", "warn", "run")
"""The lamps of the stack light from top to bottom, by the light that they stand for."""

_WALL_TOP, _WALL_BOTTOM = (196, 178, 158), (222, 212, 200)
_FLOOR = (98, 90, 84)
_STEEL = (188, 180, 172)
_DARK = (58, 48, 42)
_INK = (44, 34, 30)
_FACE = (246, 248, 250)
_BLUE = (150, 98, 36)
_LIQUID = (214, 152, 22)
_RED, _AMBER, _GREEN = (48, 44, 226), (30, 168, 250), (86, 190, 44)
_MARK = (24, 132, 255)
_LAMP_COLORS = {"fault": (40, 36, 240), "warn": (20, 172, 255), "run": (80, 222, 60)}


@dataclass(frozen=True)
class Scenery:
    """Everything that is drawn once and only copied afterwards; treat it as read-only."""

    background: Image
    """uint8 BGR of shape (HEIGHT, WIDTH, 3): the skid at rest, lamps dark, tank empty."""
    lit: dict[str, Image]
    """The whole column of the stack light with one lamp lit, by light; goes to `lamp_box`."""
    lamp_box: tuple[slice, slice]
    """Rows and columns of that column."""
    full: Image
    """uint8 BGR of shape (GLASS_HEIGHT, GLASS_WIDTH, 3): the sight glass full of liquid."""
    needle: Sprite
    """The needle of the gauge, pointing up."""
    needle_shadow: Sprite
    """Its shadow."""
    wheel: Sprite
    """The flywheel, marked spoke up."""
    lever: Sprite
    """The lever of the valve, upright: closed."""


@cache
def scenery() -> Scenery:
    """Draws the scenery, once per process."""
    fine = fine_canvas(WIDTH, HEIGHT)
    pen = Pen(fine)
    _room(pen)
    _piping(pen)
    _motor(pen)
    _gauge(pen)
    _tank(pen)
    dark = fine.copy()
    _stack_light(Pen(dark), "")
    box = (slice(6, 172), slice(322, 418))
    lit: dict[str, Image] = {}
    for light in LAMPS:
        column = fine.copy()
        _stack_light(Pen(column), light)
        _glow(column, light)
        lit[light] = shrink(column)[box].copy()
    needle, needle_shadow = _needle()
    return Scenery(
        background=shrink(dark),
        lit=lit,
        lamp_box=box,
        full=_full_glass(),
        needle=needle,
        needle_shadow=needle_shadow,
        wheel=_wheel(),
        lever=_lever(),
    )


def gauge_angle_deg(pressure_bar: float) -> float:
    """Angle of the needle at a pressure, degrees clockwise from 12 o'clock: -135 at 0 bar, 135 at 10 bar."""
    return -135.0 + 27.0 * pressure_bar


def _soft_shadow(pen: Pen, corner: Point, size: Point, radius: float, strength: float, blur: float) -> None:
    """Darkens what lies under a body that stands off the wall."""
    # Blurred in the final size, where it is many times cheaper, and only around the body.
    height, width = pen.image.shape[0] // FINENESS, pen.image.shape[1] // FINENESS
    fine = fine_canvas(width, height)
    Pen(fine).box(corner, size, (255, 255, 255), radius)
    reach = math.ceil(3 * blur)
    x0, y0 = max(0, math.floor(corner[0]) - reach), max(0, math.floor(corner[1]) - reach)
    x1 = min(width, math.ceil(corner[0] + size[0]) + reach)
    y1 = min(height, math.ceil(corner[1] + size[1]) + reach)
    mask = cv2.GaussianBlur(shrink(fine)[y0:y1, x0:x1], (0, 0), blur)
    through = cv2.resize(255 - (mask * strength).astype(np.uint8), None, fx=FINENESS, fy=FINENESS)
    target = pen.image[y0 * FINENESS : y1 * FINENESS, x0 * FINENESS : x1 * FINENESS]
    cv2.multiply(target, through, target, 1.0 / 255.0)


def _room(pen: Pen) -> None:
    """Wall of large panels above a floor."""
    for y in range(0, 318, 2):
        pen.box((0, y), (WIDTH, 2.4), mix(_WALL_TOP, _WALL_BOTTOM, y / 318))
    for x in (30, 150, 270, 390):
        pen.line((x, 0), (x, 316), (186, 172, 156), 1.0)
        pen.line((x + 1.2, 0), (x + 1.2, 316), (230, 222, 212), 0.8)
    pen.box((0, 312), (WIDTH, 6), (150, 138, 126))
    for y in range(318, HEIGHT, 2):
        pen.box((0, y), (WIDTH, 2.4), shade(_FLOOR, 1.18 - (y - 318) / 130))


def _piping(pen: Pen) -> None:
    """Main line with the valve body, riser to the gauge, pipes along both sides, and the skid."""
    _soft_shadow(pen, (0, 270), (250, 30), 6, 0.35, 5)
    for x, width in ((18, 20), (44, 12)):
        pen.tube((x, 0), (x, HEIGHT), width, (172, 146, 108))
        for y in (60, 196):
            pen.tube((x, y), (x, y + 9), width + 8, _STEEL)
    pen.tube((452, 0), (452, 330), 22, (120, 150, 176))
    for y in (86, 230):
        pen.tube((452, y), (452, y + 9), 30, _STEEL)
    pen.tube((212, 140), (212, 270), 11, _STEEL)  # riser to the gauge
    pen.tube((0, 282), (270, 282), 28, _BLUE)
    for x in (66, 100, 204, 232):
        pen.tube((x, 282), (x + 9, 282), 42, shade(_BLUE, 0.9))
    _soft_shadow(pen, (40, 338), (390, 18), 4, 0.5, 4)
    pen.tube((66, 334), (414, 334), 16, (70, 62, 58))
    pen.tube((88, 296), (88, 330), 10, (88, 80, 74))
    pen.tube((222, 296), (222, 330), 10, (88, 80, 74))
    for x in (60, 396):
        pen.box((x, 338), (26, 12), _DARK, 2)
    # valve body with its bonnet; the lever turns on it
    pen.tube((VALVE[0] - 34, 282), (VALVE[0] + 34, 282), 50, (104, 88, 76))
    pen.disc(VALVE, 26, shade(_DARK, 0.8))
    pen.disc(VALVE, 23, (126, 112, 100))
    pen.disc(VALVE, 17, (96, 84, 74))


def _motor(pen: Pen) -> None:
    """Motor and pump casing behind the flywheel."""
    x, y = WHEEL
    _soft_shadow(pen, (x - 62, y - 62), (150, 134), 30, 0.4, 7)
    pen.tube((x - 88, y + 20), (x - 60, y + 20), 34, _BLUE)
    for dx, tone in ((-74, 0.74), (-70, 0.9)):
        pen.box((x + dx, y + 40), (150, 32), shade((112, 98, 84), tone), 4)
    pen.tube((x, y - 4), (x + 96, y - 4), 74, (116, 104, 84))
    for fin in range(5):
        pen.box((x + 34 + fin * 13, y - 40), (4, 72), (74, 66, 54), 1)
    pen.disc((x, y), WHEEL_RADIUS - 8, (92, 80, 70))
    pen.disc((x, y), WHEEL_RADIUS - 13, (62, 54, 48))


def _gauge(pen: Pen) -> None:
    """Dial with scale, numbers and bands; the needle comes later."""
    x, y = GAUGE
    _soft_shadow(pen, (x - 78, y - 74), (168, 164), 84, 0.42, 6)
    pen.disc(GAUGE, GAUGE_RADIUS, (70, 62, 56))
    for ring in range(24):
        tone = 0.72 + 0.5 * ring / 24
        pen.disc((x - ring * 0.03, y - ring * 0.03), GAUGE_RADIUS - 1 - ring * 0.3, shade(_STEEL, tone))
    pen.disc(GAUGE, GAUGE_RADIUS - 9, (112, 104, 98))
    pen.disc(GAUGE, GAUGE_RADIUS - 10.5, _FACE)
    bands = ((0.0, 7.8, _GREEN), (7.8, 9.2, _AMBER), (9.2, 10.0, _RED))
    for low, high, color in bands:
        span = (gauge_angle_deg(low) - 90.0, gauge_angle_deg(high) - 90.0)
        pen.arc(GAUGE, GAUGE_RADIUS - 14.5, span, color, 7)
    for half in range(21):
        angle = math.radians(gauge_angle_deg(half / 2) - 90.0)
        major = half % 2 == 0
        inner = GAUGE_RADIUS - (26 if major else 21)
        pen.line(polar(GAUGE, inner, angle), polar(GAUGE, GAUGE_RADIUS - 11.5, angle), _INK, 2.2 if major else 1.1)
    for bar in range(0, 11, 2):
        angle = math.radians(gauge_angle_deg(bar) - 90.0)
        pen.text(polar(GAUGE, GAUGE_RADIUS - 36, angle), str(bar), _INK, 9.0, 1.1)
    pen.text((x, y + 36), "bar", (120, 108, 100), 8.0, 0.9)


def _tank(pen: Pen) -> None:
    """Tank with its sight glass, empty."""
    left, top = GLASS_LEFT - 17, GLASS_TOP - 18
    width, height = GLASS_WIDTH + 34, GLASS_HEIGHT + 36
    _soft_shadow(pen, (left + 4, top + 6), (width + 4, height), 16, 0.42, 6)
    strips = 64
    for strip in range(strips):
        across = (strip + 0.5) / strips - 0.5
        bulge = 14.0 * math.sqrt(max(0.0, 1.0 - (2 * across) ** 2))
        tone = 1.14 - 0.5 * abs(across + 0.14) ** 1.2 - 0.25 * max(0.0, across)
        x = left + width * strip / strips
        pen.box((x, top + 14 - bulge), (width / strips + 0.3, height - 28 + 2 * bulge), shade(_STEEL, tone))
    pen.box((GLASS_LEFT - 6, GLASS_TOP - 6), (GLASS_WIDTH + 12, GLASS_HEIGHT + 12), (96, 86, 80), 8)
    pen.box((GLASS_LEFT - 4, GLASS_TOP - 4), (GLASS_WIDTH + 8, GLASS_HEIGHT + 8), (52, 46, 42), 6)
    for column in range(GLASS_WIDTH * 2):
        across = (column + 0.5) / (GLASS_WIDTH * 2) - 0.5
        tone = 0.94 + 0.14 * math.exp(-(((across + 0.26) / 0.1) ** 2)) - 0.3 * across * across
        pen.box((GLASS_LEFT + column / 2, GLASS_TOP), (0.6, GLASS_HEIGHT), shade((232, 228, 222), tone))
    for tick in range(11):
        y = GLASS_TOP + GLASS_HEIGHT * tick / 10
        long = 9.0 if tick % 5 == 0 else 5.0
        pen.line((GLASS_LEFT + GLASS_WIDTH + 5.5, y), (GLASS_LEFT + GLASS_WIDTH + 5.5 + long, y), _INK, 1.4)


def _full_glass() -> Image:
    """The sight glass full of liquid."""
    fine = fine_canvas(GLASS_WIDTH, GLASS_HEIGHT)
    pen = Pen(fine)
    for column in range(GLASS_WIDTH * 2):
        across = (column + 0.5) / (GLASS_WIDTH * 2) - 0.5
        tone = 0.92 + 0.42 * math.exp(-(((across + 0.26) / 0.09) ** 2)) - 1.1 * across * across
        pen.box((column / 2, 0), (0.6, GLASS_HEIGHT), shade(_LIQUID, tone))
    depth = np.linspace(1.04, 0.8, fine.shape[0], dtype=np.float32)[:, np.newaxis, np.newaxis]
    return shrink(np.clip(fine * depth, 0, 255).astype(np.uint8))


def _stack_light(pen: Pen, lit: str) -> None:
    """Column of three lamps on its pole, one of them lit or none."""
    width, height = LAMP_SIZE
    left = LAMP_X - width / 2
    bottom = LAMP_TOP + LAMP_PITCH * len(LAMPS)
    _soft_shadow(pen, (left + 5, LAMP_TOP - 2), (width, bottom - LAMP_TOP + 14), 10, 0.38, 5)
    pen.tube((LAMP_X, bottom), (LAMP_X, bottom + 20), 18, (84, 76, 70))
    pen.box((left - 3, LAMP_TOP - 12), (width + 6, 12), _DARK, 5)
    pen.box((left - 1, LAMP_TOP - 2), (width + 2, bottom - LAMP_TOP + 2), (50, 42, 38), 3)
    for index, light in enumerate(LAMPS):
        top = LAMP_TOP + LAMP_PITCH * index
        on = light == lit
        color: Color = _LAMP_COLORS[light]
        strips = 56
        for strip in range(strips):
            across = (strip + 0.5) / strips - 0.5
            if on:
                tone = 1.3 - 1.9 * across * across
            else:
                tone = 0.34 - 0.5 * across * across + 0.22 * math.exp(-(((across + 0.3) / 0.05) ** 2))
            pen.box((left + width * strip / strips, top), (width / strips + 0.3, height), shade(color, tone))
        if on:
            pen.box((left + 15, top + 9), (width - 30, height - 18), shade(color, 1.62), 9)
        for rib in (10, 20, 30):
            pen.line((left, top + rib), (left + width, top + rib), shade(color, 0.92 if on else 0.26), 1.0)
    pen.box((left - 3, bottom - 3), (width + 6, 8), _DARK, 3)


def _glow(fine: Image, light: str) -> None:
    """Lets a lit lamp shine on its surroundings."""
    width, height = LAMP_SIZE
    halo = fine_canvas(WIDTH, HEIGHT)
    top = LAMP_TOP + LAMP_PITCH * LAMPS.index(light)
    Pen(halo).box((LAMP_X - width / 2, top), (width, height), _LAMP_COLORS[light], 6)
    # Blurred so narrowly that nothing is left of it at the border of the column.
    small = cv2.GaussianBlur(shrink(halo), (0, 0), 6.5)
    wide = cv2.resize(small, (fine.shape[1], fine.shape[0]))
    cv2.addWeighted(fine, 1.0, wide, 0.5, 0.0, fine)


def _shape(side: int) -> tuple[Pen, Pen]:
    """Pens for the color and the mask of a sprite of `side` pixels, (0, 0) being its pivot."""
    middle = (side / 2, side / 2)
    return Pen(fine_canvas(side, side), middle), Pen(fine_canvas(side, side), middle)


_SOLID: Color = (255, 255, 255)


def _needle() -> tuple[Sprite, Sprite]:
    paint, mask = _shape(150)
    body: list[Point] = [
        (-4.6, 0),
        (-1.5, -NEEDLE_LENGTH),
        (1.5, -NEEDLE_LENGTH),
        (4.6, 0),
        (5.6, 22),
        (-5.6, 22),
    ]
    paint.polygon([(x * 1.5, y * 1.2) for x, y in body], (38, 30, 196))
    paint.polygon([(0, -NEEDLE_LENGTH - 6), (4.0, -NEEDLE_LENGTH), (7.0, 0), (8.0, 26), (0, 26)], (26, 20, 150))
    paint.disc((0, 0), 12, _INK)
    paint.disc((0, 0), 10, (74, 64, 58))
    paint.disc((-1, -1), 5.5, (150, 140, 132))
    mask.polygon(body, _SOLID)
    mask.disc((0, 0), 12, _SOLID)
    blurred = cv2.GaussianBlur(mask.image, (0, 0), 1.5 * FINENESS).astype(np.uint8)
    shadow = Sprite(np.zeros_like(paint.image), blurred[..., 0], opacity=0.35)
    return Sprite(paint.image, mask.image[..., 0]), shadow


def _wheel() -> Sprite:
    side = 2 * math.ceil(WHEEL_RADIUS) + 8
    paint, mask = _shape(side)
    center: Point = (0.0, 0.0)
    paint.disc(center, WHEEL_RADIUS, (54, 48, 44))
    for ring in range(22):
        tone = 0.62 + 0.46 * math.sin(math.pi * (ring + 1) / 23)
        paint.disc(center, WHEEL_RADIUS - 1.5 - ring * 0.62, shade((206, 198, 190), tone))
    paint.disc(center, WHEEL_RADIUS - 15.5, (54, 48, 44))
    mask.disc(center, WHEEL_RADIUS, _SOLID)
    mask.disc(center, WHEEL_RADIUS - 16.5, (0, 0, 0))
    for spoke in range(5):
        angle = math.radians(72.0 * spoke - 90.0)
        color = _MARK if spoke == 0 else (198, 190, 182)
        base, tip = 9.5 if spoke == 0 else 7.5, 7.5 if spoke == 0 else 5.5
        across = angle + math.pi / 2
        corners = [
            polar(polar(center, 12, angle), base, across),
            polar(polar(center, WHEEL_RADIUS - 13, angle), tip, across),
            polar(polar(center, WHEEL_RADIUS - 13, angle), -tip, across),
            polar(polar(center, 12, angle), -base, across),
        ]
        mask.polygon(corners, _SOLID)
        paint.polygon(corners, shade(color, 0.62))
        inner = [
            polar(polar(center, 12, angle), base - 1.8, across),
            polar(polar(center, WHEEL_RADIUS - 13, angle), tip - 1.8, across),
            polar(polar(center, WHEEL_RADIUS - 13, angle), -tip + 1.8, across),
            polar(polar(center, 12, angle), -base + 1.8, across),
        ]
        paint.polygon(inner, color)
    # Reflecting tape on the rim where the marked spoke meets it, as for a tachometer.
    paint.arc(center, WHEEL_RADIUS - 8.2, (-102.0, -78.0), _MARK, 13.5)
    for ring in range(10):
        paint.disc(center, 22 - ring * 0.5, shade((190, 182, 174), 0.6 + 0.06 * ring))
    mask.disc(center, 22, _SOLID)
    paint.disc(center, 9, _DARK)
    paint.disc(center, 5.5, (170, 162, 154))
    return Sprite(paint.image, mask.image[..., 0])


def _lever() -> Sprite:
    side = 2 * math.ceil(LEVER_LENGTH) + 28
    paint, mask = _shape(side)
    tip: Point = (0.0, -(LEVER_LENGTH - 9.0))
    paint.line((0, 0), tip, shade(_RED, 0.66), 19)
    mask.line((0, 0), tip, _SOLID, 18)
    paint.line((0, 0), tip, _RED, 14.5)
    paint.line((-3.2, -18), (-3.2, -(LEVER_LENGTH - 13.0)), shade(_RED, 1.45), 3)
    for pen, color in ((paint, _DARK), (mask, _SOLID)):
        pen.disc((0, 0), 14.5, color)
    paint.disc((0, 0), 12.5, (168, 158, 150))
    paint.disc((0, 0), 7, (98, 88, 80))
    return Sprite(paint.image, mask.image[..., 0])
