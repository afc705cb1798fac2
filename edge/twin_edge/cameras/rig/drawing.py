"""Draws one instant of the rig: the scenery is copied, only what moves is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from twin_edge.cameras.rig.scenery import (
    GAUGE,
    GLASS_HEIGHT,
    GLASS_LEFT,
    GLASS_TOP,
    GLASS_WIDTH,
    VALVE,
    WHEEL,
    gauge_angle_deg,
    scenery,
)
from twin_edge.images import Image

_GLASS_COLUMNS = slice(GLASS_LEFT, GLASS_LEFT + GLASS_WIDTH)
_SURFACE = (255, 216, 140)
_DRIP = (214, 152, 22)
_FLANGE = (236.0, 303.0)
"""Where a leak drips from: the flange before the pump."""
_FLOOR_Y = 350.0


@dataclass(slots=True)
class Appearance:
    """What is seen of the machine at one instant."""

    pressure_bar: float
    """Reading of the needle, 0-10 bar."""
    level_pct: float
    """Level in the sight glass, 0-100 %."""
    valve_deg: float
    """Lever, 0 (upright) to 90 degrees (to the left)."""
    angle_deg: float
    """Flywheel, degrees clockwise."""
    light: str
    """Lit lamp: run, warn or fault; anything else is dark."""
    wobble: tuple[float, float] = (0.0, 0.0)
    """How far the flywheel is off its place, pixels to the right and down."""
    leak_s: float = 0.0
    """Seconds that the leak has been dripping, 0 when tight."""


def draw_machine(canvas: Image, seen: Appearance) -> None:
    """Draws the machine.

    Args:
        canvas: uint8 BGR of shape (HEIGHT, WIDTH, 3), overwritten.
        seen: What to draw.
    """
    parts = scenery()
    np.copyto(canvas, parts.background)
    if seen.light in parts.lit:
        canvas[parts.lamp_box] = parts.lit[seen.light]
    _draw_level(canvas, seen.level_pct)
    if seen.leak_s > 0.0:
        _draw_leak(canvas, seen.leak_s)
    needle_deg = gauge_angle_deg(seen.pressure_bar)
    parts.needle_shadow.draw(canvas, (GAUGE[0] + 2.5, GAUGE[1] + 3.5), needle_deg)
    parts.needle.draw(canvas, GAUGE, needle_deg)
    parts.wheel.draw(canvas, (WHEEL[0] + seen.wobble[0], WHEEL[1] + seen.wobble[1]), seen.angle_deg)
    parts.lever.draw(canvas, VALVE, -seen.valve_deg)


def _draw_level(canvas: Image, level_pct: float) -> None:
    """Fills the sight glass up to a fraction of a row."""
    height = GLASS_HEIGHT * level_pct / 100.0
    rows = math.floor(height)
    bottom = GLASS_TOP + GLASS_HEIGHT
    full = scenery().full
    if rows:
        canvas[bottom - rows : bottom, _GLASS_COLUMNS] = full[GLASS_HEIGHT - rows :]
    if rows < GLASS_HEIGHT:
        surface = canvas[bottom - rows - 1, _GLASS_COLUMNS]
        part = height - rows
        surface[:] = (surface * (1.0 - part) + full[GLASS_HEIGHT - rows - 1] * part).astype(np.uint8)
    # A lighter line below the surface makes it readable in small pictures too.
    for row in range(max(bottom - rows, GLASS_TOP), min(bottom - rows + 2, bottom)):
        canvas[row, _GLASS_COLUMNS] = _SURFACE


def _draw_leak(canvas: Image, leak_s: float) -> None:
    """A puddle that grows below the flange, and the drops that feed it."""
    x, y = _FLANGE
    reach = 1.0 - math.exp(-leak_s / 4.0)
    axes = (round((10 + 62 * reach) * 16), round((2 + 7 * reach) * 16))
    puddle = (round((x - 20 * reach) * 16), round((_FLOOR_Y - 2) * 16))
    cv2.ellipse(canvas, puddle, axes, 0, 0, 360, (150, 104, 20), -1, cv2.LINE_AA, 4)
    shine = (round((x - 24 * reach) * 16), round((_FLOOR_Y - 4) * 16))
    cv2.ellipse(canvas, shine, (axes[0] * 3 // 5, axes[1] // 2), 0, 0, 360, (226, 178, 70), -1, cv2.LINE_AA, 4)
    for drop in range(3):
        fallen = (leak_s * 1.9 + drop / 3) % 1.0
        center = (round(x * 16), round((y + (_FLOOR_Y - 6 - y) * fallen * fallen) * 16))
        cv2.ellipse(canvas, center, (44, 80), 0, 0, 360, _DRIP, -1, cv2.LINE_AA, 4)
