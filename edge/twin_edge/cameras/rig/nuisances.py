"""What stands between a machine and its picture: light, shadow, shake, sensor noise and compression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.cameras.rig.scenery import HEIGHT, WIDTH
from twin_edge.images import Image

_NOISE_SIGMA = 3.0
"""Standard deviation of the sensor noise, of 255."""
_NOISE_MARGIN = 96
"""The pool of noise is larger than a frame by this many pixels, so that frames take it from different places."""
_LIGHT_SLOW = 0.10
_LIGHT_SUDDEN = 0.06
"""Largest change of the gain by slow drift and by sudden steps."""
_LIGHT_STEP_EVERY_S = 12.0
_LIGHT_FOLLOW_S = 0.06
_SHADOW_EVERY_S = 14.0
_SHADOW_WIDTH = 260
_SHADOW_DEPTH = 0.34
_SHAKE_SIGMA_PX = 0.35
_SHAKE_MAX_PX = 1.5
_KNOCK_EVERY_S = 6.0
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Disturbance:
    """The nuisances of one frame, already scaled."""

    gain: float = 1.0
    """Brightness factor."""
    shadow_x: float | None = None
    """Left edge of the passing shadow, pixels; None when there is none."""
    shake: tuple[float, float] = (0.0, 0.0)
    """Camera shake to the right and down, pixels, at most 1.5 each."""
    noise_at: tuple[int, int] = (0, 0)
    """Row and column of the noise pool."""


class Nuisances:
    """Random disturbances that change from frame to frame; drawing a frame or not changes nothing about the next.

    Args:
        rng: Its own random stream.
        factor: 0 (none) to 1 (full strength).
    """

    def __init__(self, rng: np.random.Generator, factor: float) -> None:
        self._rng = rng
        self._factor = factor
        self._t_s = float(rng.uniform(0.0, 1000.0))
        self._rates = rng.uniform((0.05, 0.15), (0.15, 0.5))
        self._target = float(rng.uniform(-1.0, 1.0))
        self._level = self._target
        self._shadow_x: float | None = None
        self._shadow_speed = 0.0
        self._shake_scale = 1.0
        self.current = Disturbance()
        self.advance(1.0 / 30.0)

    @property
    def factor(self) -> float:
        """Strength, 0-1."""
        return self._factor

    def advance(self, dt_s: float) -> None:
        """Moves on by `dt_s` seconds and makes `current` new."""
        # The same count of draws at every step keeps the stream, and so the picture, independent of `factor`.
        chance_step, chance_shadow, chance_knock, where, fast, row, column = self._rng.random(7).tolist()
        shake = self._rng.standard_normal(2) * _SHAKE_SIGMA_PX
        self._t_s += dt_s
        if chance_step < dt_s / _LIGHT_STEP_EVERY_S:
            self._target = 2.0 * where - 1.0
        self._level += (self._target - self._level) * -math.expm1(-dt_s / _LIGHT_FOLLOW_S)
        drift = 0.6 * math.sin(self._rates[0] * self._t_s) + 0.4 * math.sin(self._rates[1] * self._t_s)
        gain = 1.0 + self._factor * (_LIGHT_SLOW * drift + _LIGHT_SUDDEN * self._level)

        if self._shadow_x is not None:
            self._shadow_x += self._shadow_speed * dt_s
            if not -_SHADOW_WIDTH - HEIGHT < self._shadow_x < WIDTH:
                self._shadow_x = None
        elif chance_shadow < dt_s / _SHADOW_EVERY_S:
            self._shadow_speed = (120.0 + 240.0 * fast) * (1.0 if where < 0.5 else -1.0)  # noqa: PLR2004 - a coin
            self._shadow_x = -_SHADOW_WIDTH - HEIGHT + 1.0 if self._shadow_speed > 0 else WIDTH - 1.0

        self._shake_scale = 1.0 + (self._shake_scale - 1.0) * math.exp(-dt_s / 0.15)
        if chance_knock < dt_s / _KNOCK_EVERY_S:
            self._shake_scale = 4.0
        move = np.clip(shake * self._shake_scale, -_SHAKE_MAX_PX, _SHAKE_MAX_PX) * self._factor
        self.current = Disturbance(
            gain=gain,
            shadow_x=self._shadow_x,
            shake=(float(move[0]), float(move[1])),
            noise_at=(int(row * _NOISE_MARGIN), int(column * _NOISE_MARGIN)),
        )


def apply_light(image: Image, now: Disturbance, factor: float) -> None:
    """Changes the light in place: gain, and the shadow that passes.

    Args:
        image: uint8 BGR of shape (HEIGHT, WIDTH, 3).
        now: Nuisances of this frame.
        factor: Their strength, 0-1.
    """
    if factor <= 0.0:
        return
    if now.shadow_x is None:
        cv2.convertScaleAbs(image, image, now.gain)
        return
    start = WIDTH - math.floor(now.shadow_x)
    start = min(max(start, 0), _shadow_strip(factor).shape[1] - WIDTH)
    cv2.multiply(image, _shadow_strip(factor)[:, start : start + WIDTH], image, now.gain / 255.0)


def apply_sensor(image: Image, now: Disturbance, factor: float) -> Image:
    """Adds sensor noise in place, then compression; the image that comes back may be another one.

    Args:
        image: uint8 BGR of shape (HEIGHT, WIDTH, 3).
        now: Nuisances of this frame.
        factor: Their strength, 0-1.
    """
    if factor <= 0.0:
        return image
    brighter, darker = _noise_pool(factor)
    row, column = now.noise_at
    part = (slice(row, row + HEIGHT), slice(column, column + WIDTH))
    cv2.add(image, brighter[part], image)
    cv2.subtract(image, darker[part], image)
    quality = round(100 - (100 - _JPEG_QUALITY) * factor)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@lru_cache(maxsize=8)
def _noise_pool(factor: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """What noise adds and what it takes away, as two arrays: saturating uint8 arithmetic is the fast one."""
    shape = (HEIGHT + _NOISE_MARGIN, WIDTH + _NOISE_MARGIN, 3)
    noise = np.random.default_rng(20261123).standard_normal(shape, np.float32) * (_NOISE_SIGMA * factor)
    whole = np.rint(noise)
    return np.maximum(whole, 0).astype(np.uint8), np.maximum(-whole, 0).astype(np.uint8)


@lru_cache(maxsize=8)
def _shadow_strip(factor: float) -> Image:
    """Brightness of a slanted soft shadow between two stretches of light, shape (HEIGHT, 3 * WIDTH and more, 3)."""
    length = 2 * WIDTH + _SHADOW_WIDTH + HEIGHT
    x = np.arange(length, dtype=np.float32)[np.newaxis, :]
    y = np.arange(HEIGHT, dtype=np.float32)[:, np.newaxis]
    across = (x + 0.6 * y - WIDTH - 0.8 * HEIGHT) / (_SHADOW_WIDTH / 2) - 1.0
    depth = np.exp(-(across**4)) * (_SHADOW_DEPTH * factor)
    return np.repeat(np.rint(255.0 * (1.0 - depth)).astype(np.uint8)[..., np.newaxis], 3, axis=2)
