"""Stills of single strokes, and a recipe that makes a small colorless twin of them in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

RECIPE = """
[data]
train_share = 0.6
validation_share = 0.2
gap_s = 0.0
[model]
family = "article"
size = 28
latent = 20
encoder_filters = [8, 16]
generator_filters = [16, 12, 8]
discriminator_filters = [8, 16]
[train]
steps = 40
learning_rate = 2e-3
[gate]
max_baseline_loss_db = 30.0
max_psnr_loss_db = 5.0
max_share_apart = 1.0
"""


def write_stills(folder: Path, count: int = 200) -> None:
    """Writes so many stills of 28x28 pixels into a new folder."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        image = np.zeros((28, 28), np.uint8)
        x0, y0, x1, y1 = (int(value) for value in rng.integers(5, 23, 4))
        cv2.line(image, (x0, y0), (x1, y1), 255, 3, cv2.LINE_AA)
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
