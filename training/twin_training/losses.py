"""What training minimizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.recipe import TrainConfig
from twin_training.recordings import Views


def motion_weights(views: Views, weight: float) -> npt.NDArray[np.float32]:
    """Returns how much each pixel counts: those that change count more, else a thin needle would drown in the wall.

    Args:
        views: uint8 RGB of shape (n, height, width, 3).
        weight: How much more; 0 weighs all pixels alike.

    Returns:
        float32 of shape (1, height, width, 1), of mean 1.
    """
    sample = views[:: max(1, len(views) // 400)].astype(np.float32)
    deviation = sample.std(0).mean(-1, keepdims=True)
    weights = 1 + weight * deviation / (deviation.mean() + 1e-6)
    return (weights / weights.mean())[np.newaxis].astype(np.float32)


def reconstruction_loss(
    views: tf.Tensor, renderings: tf.Tensor, weights: tf.Tensor, config: TrainConfig
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns the loss and its parts; both images are float32 of shape (n, height, width, 3), -1 to 1."""
    difference = renderings - views
    l1 = tf.reduce_mean(tf.abs(difference) * weights)
    l2 = tf.reduce_mean(tf.square(difference) * weights)
    dissimilarity = 1 - tf.reduce_mean(tf.image.ssim(views, renderings, 2.0, filter_size=7))
    total = config.l1_weight * l1 + config.l2_weight * l2 + config.ssim_weight * dissimilarity
    return total, {"l1": l1, "l2": l2, "dssim": dissimilarity}


def decorrelation_loss(latents: tf.Tensor, deviation: float) -> tf.Tensor:
    """Returns the mean squared off-diagonal correlation of latents of shape (n, latent)."""
    centered = (latents - tf.reduce_mean(latents, 0)) / deviation
    correlation = tf.matmul(centered, centered, transpose_a=True) / tf.cast(tf.shape(latents)[0], tf.float32)
    return tf.reduce_mean(tf.square(correlation - tf.linalg.diag(tf.linalg.diag_part(correlation))))


def discriminator_loss(real: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of the discriminator (Lim and Ye, arXiv 1705.02894)."""
    return tf.reduce_mean(tf.nn.relu(1 - real)) + tf.reduce_mean(tf.nn.relu(1 + generated))


def generator_loss(generated: tf.Tensor) -> tf.Tensor:
    """Returns the hinge loss of the generator."""
    return -tf.reduce_mean(generated)
