"""How far apart two sets of images are as distributions, seen through a network that is trained here.

The Frechet distance of two Gaussians fitted to network features (Heusel et al., arXiv 1706.08500) says whether
renderings look like views, and as varied as views, where a pixel error cannot: for samples of the prior there is no
view to compare with. The usual distance takes the features of a network trained on millions of photographs; this one
takes a small one trained on the subject itself, so its values compare with each other on one subject and one network
only. It grows as samples get fewer: compare equal numbers, and put the distance between two sets of real views beside
it, which is the floor.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_training.recordings import Views

Features = npt.NDArray[np.float32]
"""float32 of shape (images, features)."""

_FILTERS: Final = (16, 32, 48, 64)
_BATCH: Final = 32
_LEARNING_RATE: Final = 2e-3
_BLOCKS: Final = 12
_MOST_SHIFT: Final = 0.06
_MOST_TURN: Final = 0.12
_MOST_GAIN: Final = 0.15
_JITTERS: Final = 5
_LEAST_SAMPLES: Final = 2


def frechet(features_a: Features, features_b: Features) -> float:
    """Returns the Frechet distance between the Gaussians of two sets of features, at least 0.

    Args:
        features_a: Of one set of images, at least two.
        features_b: Of the other, with as many features.

    Raises:
        ValueError: There are too few images, or other numbers of features.
    """
    a, b = (np.asarray(features, np.float64) for features in (features_a, features_b))
    if min(len(a), len(b)) < _LEAST_SAMPLES or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"features of shapes {a.shape} and {b.shape} have no distance")
    covariance_a, covariance_b = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # root @ B @ root has the eigenvalues of A @ B, and is symmetric: its root has a real, stable trace.
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_b @ root), 0)).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return max(0.0, float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * mixed))


def features_of(network: keras.Model, views: Views) -> Features:
    """Returns the features of views, uint8 RGB of shape (n, height, width, 3), by a network that was trained here."""
    return np.concatenate(
        [
            network(views[start : start + 128].astype(np.float32) / 255, training=False).numpy()
            for start in range(0, len(views), 128)
        ]
    )


def train_features(views: Views, seed: int, *, steps: int = 250) -> keras.Model:
    """Trains a network that sees what tells the subject's views apart, without labels.

    Every view is shifted, turned, brightened and blurred a little, at random. The network has to say by how much, and
    which twelfth of the recording the view is from: for that it has to see where the subject's parts are, and how
    sharp they are. Half a minute at 128 x 128 on two cores.

    Args:
        views: Training views in time order, uint8 RGB of shape (n, size, size, 3), at least twelve.
        seed: Seed of all randomness.
        steps: Training steps of 32 views.

    Returns:
        Views, float32 of 0 to 1, to features, float32 of shape (n, 64).

    Raises:
        ValueError: There are too few views.
    """
    if len(views) < _BLOCKS:
        raise ValueError(f"{len(views)} views are too few to learn features from; {_BLOCKS} are the least")
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    network = _build(views.shape[1:])
    blocks = keras.layers.Dense(_BLOCKS)(network.output)
    jitters = keras.layers.Dense(_JITTERS)(network.output)
    learner = keras.Model(network.input, [blocks, jitters])
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps))
    optimizer.build(learner.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(batch: tf.Tensor, block: tf.Tensor, jitter: tf.Tensor) -> None:
        images = _jittered(tf.cast(batch, tf.float32) / 255, jitter)
        with tf.GradientTape() as tape:
            logits, guesses = learner(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(block, logits))
            loss += tf.reduce_mean(tf.square(guesses - jitter)) * _JITTERS
        variables = learner.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        rows = rng.integers(0, len(views), _BATCH)
        jitter = rng.uniform(-1, 1, (_BATCH, _JITTERS)).astype(np.float32)
        step(tf.constant(views[rows]), tf.constant(rows * _BLOCKS // len(views)), tf.constant(jitter))
    return network


def train_classifier(views: Views, labels: npt.NDArray[np.int64], seed: int, *, epochs: int = 12) -> keras.Model:
    """Trains a network that tells classes apart.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        labels: The class of each, 0 or more.
        seed: Seed of all randomness.
        epochs: How often each view is seen.

    Returns:
        Views, float32 of 0 to 1, to features, float32 of shape (n, 64), and to the classes' logits: two outputs.
    """
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    network = _build(views.shape[1:])
    logits = keras.layers.Dense(int(labels.max()) + 1)(keras.layers.Dropout(0.3)(network.output))
    classifier = keras.Model(network.input, [network.output, logits])
    steps = epochs * (len(views) // _BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps))
    optimizer.build(classifier.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(batch: tf.Tensor, wanted: tf.Tensor, jitter: tf.Tensor) -> None:
        images = _jittered(tf.cast(batch, tf.float32) / 255, jitter)
        with tf.GradientTape() as tape:
            _, guesses = classifier(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, guesses))
        variables = classifier.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        rows = rng.integers(0, len(views), _BATCH)
        jitter = rng.uniform(-1, 1, (_BATCH, _JITTERS)).astype(np.float32)
        jitter[:, -1] = -1  # unblurred
        step(tf.constant(views[rows]), tf.constant(labels[rows]), tf.constant(jitter))
    return classifier


def _build(shape: tuple[int, ...]) -> keras.Model:
    """Returns an untrained network from views of a shape to 64 features."""
    inputs = keras.Input(shape, name="view")
    x: Any = inputs
    for filters in _FILTERS:
        x = keras.layers.Conv2D(filters, 3, 2, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    # What is where matters: no pooling over all places.
    x = keras.layers.Flatten()(x if x.shape[1] <= 4 else keras.layers.AveragePooling2D(x.shape[1] // 4)(x))  # noqa: PLR2004
    x = keras.layers.Dense(64, activation="relu")(x)
    return keras.Model(inputs, x, name="features")


def _jittered(images: tf.Tensor, jitter: tf.Tensor) -> tf.Tensor:
    """Returns images shifted, turned, brightened and blurred.

    Args:
        images: float32 of shape (n, height, width, channels), 0 to 1.
        jitter: float32 of shape (n, 5), -1 to 1: shift to the right and down, turn, gain, blur (-1 is none).
    """
    height, width, channels = images.shape[1:]
    turn, zero = _MOST_TURN * jitter[:, 2], tf.zeros_like(jitter[:, 0])
    cosine, sine = tf.cos(turn), tf.sin(turn)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    right = middle_x - cosine * middle_x + sine * middle_y - _MOST_SHIFT * width * jitter[:, 0]
    down = middle_y - sine * middle_x - cosine * middle_y - _MOST_SHIFT * height * jitter[:, 1]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([cosine, -sine, right, sine, cosine, down, zero, zero], 1),
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
    line = tf.constant([1, 4, 6, 4, 1], tf.float32) / 16
    kernel = tf.tile((line[:, tf.newaxis] * line)[:, :, tf.newaxis, tf.newaxis], (1, 1, channels, 1))
    blurred = tf.nn.depthwise_conv2d(moved, kernel, [1, 1, 1, 1], "SAME")
    share = ((jitter[:, 4] + 1) / 2)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    gain = 1 + _MOST_GAIN * jitter[:, 3][:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.clip_by_value((moved + share * (blurred - moved)) * gain, 0.0, 1.0)
