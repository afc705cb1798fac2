"""Things that go wrong with the rig, or with the camera in front of it, by name and time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from twin_edge.cameras.rig.scenery import GAUGE, GLASS_HEIGHT, GLASS_LEFT, GLASS_TOP, HEIGHT, WHEEL, WIDTH
from twin_edge.cameras.rig.sprites import Color, Pen, Point, Sprite, fine_canvas, polar
from twin_edge.errors import ConfigError
from twin_edge.images import Image

FAULT_NAMES = (
    "bearing-wobble",
    "camera-knocked",
    "hand",
    "lamp-dead",
    "leak",
    "lens-fogged",
    "needle-stuck",
    "picture-stopped",
)
"""Every fault by name.

``needle-stuck``, ``lamp-dead``, ``leak`` and ``bearing-wobble`` happen to the machine; ``hand`` comes between;
``camera-knocked``, ``lens-fogged`` and ``picture-stopped`` happen to the camera.
"""
TRIP_AFTER_S = 1.5
"""A leak or a wobbling bearing trips the machine's own guard, and with it the red lamp, after this long."""
_TRIPPING = frozenset({"bearing-wobble", "leak"})
_HAND_MOVE_S = 0.5
_HAND_TARGETS: tuple[Point, ...] = (
    (GAUGE[0] + 20.0, GAUGE[1] + 10.0),
    (GLASS_LEFT + 18.0, GLASS_TOP + GLASS_HEIGHT * 0.6),
    (WHEEL[0] + 10.0, WHEEL[1] - 30.0),
)
_SLEEVE: tuple[Point, ...] = ((-39, 110), (41, 110), (84, 620), (-82, 620))
_SLEEVE_FRONT: tuple[Point, ...] = ((-35, 110), (10, 110), (34, 620), (-76, 620))
"""The arm below the cuff and the lit part of it, seen from the palm with the fingers up, pixels."""
_SLEEVE_DARK: Color = (116, 70, 38)
_SLEEVE_LIGHT: Color = (142, 90, 52)
_FOG: Color = (214, 210, 206)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Raises:
        ConfigError: The name is unknown, or a time is out of range.
    """

    name: str
    """One of `FAULT_NAMES`."""
    at_s: float = 0.0
    """When it begins, seconds since the start of the rig, 0 and more."""
    duration_s: float | None = None
    """How long it lasts, seconds, more than 0; None for ever."""

    def __post_init__(self) -> None:
        if self.name not in FAULT_NAMES:
            raise ConfigError(f"unknown rig fault {self.name!r}", fix=f"use one of {', '.join(FAULT_NAMES)}")
        if not (math.isfinite(self.at_s) and self.at_s >= 0.0):
            raise ConfigError(f"rig fault time {self.at_s} is out of range", fix="give seconds, 0 or more")
        if self.duration_s is not None and not (math.isfinite(self.duration_s) and self.duration_s > 0.0):
            raise ConfigError(f"rig fault duration {self.duration_s} is out of range", fix="give seconds, more than 0")

    def age_s(self, t_s: float) -> float | None:
        """Seconds since it began, or None when it is not there at `t_s`."""
        # Half a microsecond of tolerance: the clock of the rig is a sum of steps.
        age = t_s - self.at_s + 5e-7
        if age < 0.0 or (self.duration_s is not None and age >= self.duration_s):
            return None
        return age

    @property
    def trips(self) -> bool:
        """True when the machine notices it by itself."""
        return self.name in _TRIPPING


def wobble(age_s: float, angle_deg: float) -> Point:
    """How far a worn bearing lets the flywheel off its place, pixels: it whirls with the wheel and rattles."""
    grown = min(1.0, age_s / 0.5)
    whirl = math.radians(angle_deg)
    rattle = 2.2 * math.sin(2.0 * math.pi * 6.3 * age_s)
    return grown * (8.0 * math.cos(whirl) + rattle), grown * (5.5 * math.sin(whirl) + 0.6 * rattle)


def leak_size(age_s: float) -> float:
    """How far a leak has opened, 0-1."""
    return min(1.0, age_s / 1.0)


def knock(age_s: float) -> tuple[float, Point]:
    """Turn (degrees clockwise) and shift (pixels) of a picture whose camera was knocked: it swings, then stays off."""
    swing = 1.0 - math.exp(-age_s / 0.12) * math.cos(2.0 * math.pi * 3.5 * age_s)
    return 7.5 * swing, (26.0 * swing, -17.0 * swing)


def fog(image: Image, age_s: float) -> None:
    """Fogs the lens over, in place: the picture goes soft and pale within two seconds.

    Args:
        image: uint8 BGR of shape (HEIGHT, WIDTH, 3).
        age_s: Seconds since it began.
    """
    share = min(1.0, 0.15 + age_s / 2.0)
    small = cv2.resize(image, (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 0.8 + 2.2 * share), (WIDTH, HEIGHT))
    pale = np.full_like(image, _FOG)
    cv2.addWeighted(soft, 1.0 - 0.62 * share, pale, 0.62 * share, 0.0, soft)
    cv2.addWeighted(image, 1.0 - share, soft, share, 0.0, image)


def draw_hand(canvas: Image, age_s: float, duration_s: float | None, chance: float) -> None:
    """Draws a hand that reaches in from the side, stays, and goes again.

    Args:
        canvas: uint8 BGR of shape (HEIGHT, WIDTH, 3), drawn on in place.
        age_s: Seconds since it began.
        duration_s: How long the fault lasts, None for ever.
        chance: 0-1, decides where it reaches and from which side.
    """
    reach = min(1.0, age_s / _HAND_MOVE_S)
    if duration_s is not None:
        reach = min(reach, max(0.0, (duration_s - age_s) / _HAND_MOVE_S))
    reach = reach * reach * (3.0 - 2.0 * reach)
    pick = chance * len(_HAND_TARGETS)
    target = _HAND_TARGETS[int(pick)]
    angle = -62.0 + 50.0 * (pick % 1.0)  # Fingers point up and to the left.
    hover = (5.0 * math.sin(2.1 * age_s), 4.0 * math.sin(3.3 * age_s + 1.0))
    away = polar((0.0, 0.0), 330.0 * (1.0 - reach), math.radians(angle + 90.0))
    palm = (target[0] + hover[0] + away[0], target[1] + hover[1] + away[1])
    # The arm goes on beyond the sprite, far enough to leave the picture at every angle.
    along = math.radians(angle)
    cos, sin = math.cos(along), math.sin(along)
    for outline, color in ((_SLEEVE, _SLEEVE_DARK), (_SLEEVE_FRONT, _SLEEVE_LIGHT)):
        points = [(palm[0] + cos * x - sin * y, palm[1] + sin * x + cos * y) for x, y in outline]
        cv2.fillConvexPoly(canvas, np.rint(np.array(points) * 16).astype(np.int32), color, cv2.LINE_AA, 4)
    _hand().draw(canvas, palm, angle)


@cache
def _hand() -> Sprite:
    """A right hand with the end of its sleeve, fingers up, the palm at the pivot."""
    side = 252
    middle = (side / 2, side / 2)
    paint, mask = Pen(fine_canvas(side, side), middle), Pen(fine_canvas(side, side), middle)
    skin: Color = (142, 178, 232)
    dark: Color = (104, 136, 194)
    fingers: tuple[tuple[Point, Point, float], ...] = (
        ((-27, -18), (-41, -74), 17),
        ((-10, -26), (-15, -94), 18.5),
        ((9, -26), (13, -90), 18),
        ((26, -18), (38, -68), 15.5),
        ((-28, 22), (-70, -8), 19),
    )
    palm: list[Point] = [(-37, -22), (-20, -34), (18, -34), (36, -20), (34, 30), (24, 66), (-22, 66), (-34, 34)]
    forearm: list[Point] = [(-23, 50), (25, 50), (30, 112), (-28, 112)]
    solid: Color = (255, 255, 255)
    for pen, tone in ((mask, solid), (paint, dark)):
        for base, tip, width in fingers:
            pen.line(base, tip, tone, width)
        pen.polygon(palm, tone)
        pen.polygon(forearm, tone)
    for base, tip, width in fingers:
        paint.line((base[0] - 1, base[1] - 1), (tip[0] - 0.8, tip[1] + 0.5), skin, width - 4.5)
        nail = (tip[0] + (tip[0] - base[0]) * 0.03, tip[1] + (tip[1] - base[1]) * 0.03)
        root = (nail[0] - (tip[0] - base[0]) * 0.08, nail[1] - (tip[1] - base[1]) * 0.08)
        paint.line(nail, root, (184, 206, 244), 7)
    paint.polygon([(x * 0.93 - 1, y * 0.95) for x, y in palm], skin)
    paint.polygon([(x * 0.93 - 1, y) for x, y in forearm], skin)
    for x in (-15, 1, 18):
        paint.line((x, -34), (x * 0.9, -20), dark, 2.0)
    cuff: list[Point] = [(-41, 102), (43, 102), (45, 118), (-43, 118)]
    paint.polygon(cuff, (92, 54, 28))
    mask.polygon(cuff, solid)
    return Sprite(paint.image, mask.image[..., 0])
