"""A small machine to learn: a needle that turns, a lamp and a level, in light that drifts, drawn and not filmed."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 64
RECIPE = """
[model]
family = "parts"
size = 64

[parts]
weights = 150_000
components = 32

[train]
steps = 900
batch = 64
learning_rate = 2e-3

[gate]
max_psnr_loss_db = 2.0
max_baseline_loss_db = 3.0
"""


def draw_machine(
    angle: float, lamp: int, level: float, gain: float = 1.0, shift: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Returns a view, uint8 RGB of shape (SIZE, SIZE, 3)."""
    view = np.full((SIZE, SIZE, 3), 120, np.uint8)
    view[::8] = 100
    view[:, ::8] = 140
    cv2.circle(view, (16, 16), 13, (230, 230, 230), -1)
    end = (round(16 + 11 * np.cos(angle)), round(16 + 11 * np.sin(angle)))
    cv2.line(view, (16, 16), end, (200, 20, 20), 2, cv2.LINE_AA)
    cv2.rectangle(view, (40, 6), (54, 20), (20, 220, 20) if lamp else (20, 50, 20), -1)
    cv2.rectangle(view, (40, 34), (52, 58), (240, 240, 240), -1)
    cv2.rectangle(view, (40, round(58 - 23 * level)), (52, 58), (30, 80, 220), -1)
    view = np.roll(view, shift[::-1], (0, 1))
    return np.clip(view * gain, 0, 255).astype(np.uint8)


def machine_views(count: int, seed: int = 0) -> np.ndarray:
    """Returns consecutive views, uint8 RGB of shape (count, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(seed)
    angle, level, lamp, views = rng.uniform(0, 6), 0.5, 0, []
    for number in range(count):
        angle += 0.15 + 0.1 * np.sin(number / 20)
        level = float(np.clip(level + rng.normal() * 0.04, 0, 1))
        lamp = lamp if rng.random() > 0.05 else 1 - lamp
        view = draw_machine(angle, lamp, level, 1 + 0.12 * np.sin(number / 37))
        views.append(np.clip(view + rng.normal(0, 2, view.shape), 0, 255).astype(np.uint8))
    return np.stack(views)


def crowd_views(count: int, seed: int = 0) -> np.ndarray:
    """Returns views of unrelated things that cross the picture once, uint8 RGB of shape (count, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 160, (8, 8, 3), np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    walkers: list[list] = []
    views = []
    for _ in range(count):
        if rng.random() < 0.25:
            down = rng.random() < 0.5
            start, speed = rng.uniform(4, SIZE - 4), rng.uniform(0.8, 1.6)
            color = tuple(int(c) for c in rng.choice([rng.integers(0, 40, 3), rng.integers(200, 255, 3)]))
            walkers.append(
                [
                    start if down else -4.0,
                    -4.0 if down else start,
                    0.0 if down else speed,
                    speed if down else 0.0,
                    color,
                ]
            )
        view = ground.copy()
        for one in walkers:
            one[0] += one[2] + rng.normal() * 0.3
            one[1] += one[3] + rng.normal() * 0.3
            cv2.ellipse(view, (round(one[0]), round(one[1])), (3, 5), 0, 0, 360, one[4], -1)
        walkers = [one for one in walkers if one[0] < SIZE + 5 and one[1] < SIZE + 5]
        views.append(np.clip(view + rng.normal(0, 2, view.shape), 0, 255).astype(np.uint8))
    return np.stack(views)
