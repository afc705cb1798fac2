"""What training minimizes."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.recipe import TrainConfig
from twin_training.recordings import Views

_LUMA: Final = (0.299, 0.587, 0.114)
_WINDOW: Final = 7
_C1: Final = (0.01 * 2) ** 2
_C2: Final = (0.03 * 2) ** 2


def motion_weights(views: Views, weight: float) -> npt.NDArray[np.float32]:
    """Returns how much each pixel counts: those that change count more, else a thin needle would drown in the wall.

    Args:
        views: uint8 RGB of shape (n, height, width, 3).
        weight: How much more; 0 weighs all pixels alike.

    Returns:
        float32 of shape (1, height, width, 1), of mean 1.
    """
    sample = views[:: max(1, len(views) // 400)]
    deviation = np.stack([rows.astype(np.float32).std(0).mean(-1, keepdims=True) for rows in sample.swapaxes(0, 1)])
    weights = 1 + weight * deviation / (deviation.mean() + 1e-6)
    return (weights / weights.mean())[np.newaxis].astype(np.float32)


def reconstruction_loss(
    wanted: tf.Tensor, drawn: tf.Tensor, weights: tf.Tensor, config: TrainConfig
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the loss and its parts; both images are float32 of shape (n, height, width, 3), -1 to 1."""
    difference = drawn - wanted
    l1 = tf.reduce_mean(tf.abs(difference) * weights)
    l2 = tf.reduce_mean(tf.square(difference) * weights)
    dissimilarity = 1 - similarity(wanted, drawn)
    total = config.l1_weight * l1 + config.l2_weight * l2 + config.ssim_weight * dissimilarity
    return total, {"l1": l1, "l2": l2, "dssim": dissimilarity}


def similarity(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns the mean SSIM of the luma of images of -1 to 1, over square windows: cheaper than with Gaussian ones."""
    x, y = _luma(first), _luma(second)
    mean_x, mean_y = _windows(x), _windows(y)
    var_x = _windows(x * x) - mean_x * mean_x
    var_y = _windows(y * y) - mean_y * mean_y
    covariance = _windows(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x * mean_x + mean_y * mean_y + _C1) * (var_x + var_y + _C2)
    return tf.reduce_mean(numerator / denominator)


def _luma(images: tf.Tensor) -> tf.Tensor:
    # From 0 to 2: the constants of SSIM are meant for values that are not negative.
    return tf.reduce_sum((images + 1) * tf.constant(_LUMA), -1, keepdims=True)


def _windows(values: tf.Tensor) -> tf.Tensor:
    """Returns the means of square windows, two pixels apart, of maps of shape (n, height, width, 1).

    As two matrix products: pooling, whose gradient is slow on a CPU, took most of a training step.
    """
    down, across = (_window_means(int(values.shape[axis])) for axis in (1, 2))
    return tf.einsum("yh,nhw,xw->nyx", down, values[..., 0], across, optimize="optimal")


@functools.cache
def _window_means(length: int) -> npt.NDArray[np.float32]:
    """Returns the matrix that takes the mean of each window of a row, float32 of shape (windows, length)."""
    starts = range(0, length - _WINDOW + 1, 2)
    means = np.zeros((len(starts), length), np.float32)
    for row, start in enumerate(starts):
        means[row, start : start + _WINDOW] = 1 / _WINDOW
    return means


def discriminator_loss(real: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of the discriminator (Lim and Ye, arXiv 1705.02894)."""
    return tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(tf.nn.relu(1 + generated))


def generator_loss(generated: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of the generator."""
    return -tf.reduce_mean(generated)
