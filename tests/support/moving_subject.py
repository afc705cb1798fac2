"""A textured square that moves before a textured wall, with known poses, and what training starts from on it."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import cv2
import numpy as np

from twin_edge.models.pose import Pose
from twin_training.recipe import ModelConfig
from twin_training.start import Start, prepare

SIZE = 64
SIDE = 30
"""Side of the square, pixels of a view."""
MODEL = ModelConfig(size=SIZE, moving=True, latent=6, encoder_side=16, block=8, atoms=32, hidden=8, refiner=8, patch=32)
RECIPE = f"""
[data]
train_share = 0.6
validation_share = 0.15
gap_s = 0.5
[model]
size = {SIZE}
moving = true
latent = {MODEL.latent}
encoder_side = {MODEL.encoder_side}
block = {MODEL.block}
atoms = {MODEL.atoms}
hidden = {MODEL.hidden}
refiner = {MODEL.refiner}
discriminator_filters = [8, 16]
patch = {MODEL.patch}
[train]
steps = 30
batch = 8
learning_rate = 1e-3
motion_weight = 0.0
[gate]
max_baseline_loss_db = 30.0
max_psnr_loss_db = 2.0
max_share_apart = 1e-2
"""
"""A small twin of it, in seconds."""
_FINE = 4
"""Everything is drawn this many times larger and averaged, so that no shift is drawn better than another."""


def wall(size: int = SIZE) -> np.ndarray:
    """Returns the background, uint8 RGB of shape (size, size, 3)."""
    return _coarse(_fine_wall(size * _FINE))


def poses(count: int, reach: float = 5.0) -> list[Pose]:
    """Returns where the square is, frame by frame: never far from where it was just before."""
    times = np.arange(count)
    across, down = reach * np.sin(times * 0.11), 0.7 * reach * np.sin(times * 0.073 + 1)
    turns = 0.08 * np.sin(times * 0.05)
    return [Pose(float(x), float(y), float(turn)) for x, y, turn in zip(across, down, turns, strict=True)]


def views(where: list[Pose], size: int = SIZE) -> np.ndarray:
    """Returns the views with the square there, uint8 RGB of shape (n, size, size, 3); a lamp on it goes up and down."""
    background, texture = _fine_wall(size * _FINE), _texture(size * _FINE)
    return np.stack([_draw(background, texture, pose, row) for row, pose in enumerate(where)])


def write_video(path: Path, frames: np.ndarray, fps: float = 20.0) -> Path:
    """Writes views as a video."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, frames.shape[2:0:-1])
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 100)
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


@functools.cache
def prepared() -> tuple[np.ndarray, list[Pose], Start]:
    """Returns 240 views, their true poses, and what training starts from on them."""
    where = poses(240)
    seen = views(where)
    return seen, where, prepare(MODEL, seen, (0,), 1)


def _draw(background: np.ndarray, texture: np.ndarray, pose: Pose, row: int) -> np.ndarray:
    # A matrix of OpenCV's own making: the one of Pose is what is tested.
    side = len(background)
    middle, scale = (side - 1) / 2, math.exp(pose.log_scale)
    matrix = cv2.getRotationMatrix2D((middle, middle), -math.degrees(pose.rotation), scale)
    matrix[:, 2] += (_FINE * pose.tx, _FINE * pose.ty)
    lit = texture.copy()
    lamp = slice(side // 2, side // 2 + side // 8)
    lit[lamp, lamp, :3] = 120 + 100 * math.sin(row * 0.4)
    warped = cv2.warpAffine(lit, matrix, (side, side), flags=cv2.INTER_LINEAR).astype(np.float32)
    coverage = warped[..., 3:] / 255
    return _coarse(coverage * warped[..., :3] + (1 - coverage) * background)


def _fine_wall(side: int) -> np.ndarray:
    noise = cv2.resize(np.random.default_rng(1).uniform(-12, 12, (16, 16, 3)), (side, side))
    across = np.linspace(60, 120, side)[np.newaxis, :, np.newaxis]
    return (noise + across).astype(np.float32)


def _texture(side: int) -> np.ndarray:
    """Returns the square in the middle, float32 RGBA."""
    texture = np.zeros((side, side, 4), np.float32)
    blocks = np.random.default_rng(2).uniform(110, 250, (6, 6, 3))
    wide = SIDE * _FINE * side // (SIZE * _FINE)
    top = (side - wide) // 2
    square = slice(top, top + wide)
    texture[square, square, :3] = cv2.resize(blocks, (wide, wide), interpolation=cv2.INTER_NEAREST)
    texture[square, square, 3] = 255
    return texture


def _coarse(fine: np.ndarray) -> np.ndarray:
    side = len(fine) // _FINE
    return np.clip(np.rint(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)), 0, 255).astype(np.uint8)
