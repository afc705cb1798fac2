"""The Frechet distance is the known one on Gaussians, and sees what a worse rendering is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_training.frechet import features_of, frechet, train_classifier, train_features
from twin_training.recipe import load_recipe
from twin_training.recordings import Views, record

pytestmark = pytest.mark.training


def normal(seed: int, count: int = 20_000, size: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def test_of_shifted_and_widened_gaussians_it_is_the_closed_form() -> None:
    a = normal(1)
    assert frechet(a, a + np.float32(3)) == pytest.approx(4 * 9, rel=1e-4)
    # For covariances that commute: the squared distance of the deviations.
    assert frechet(a, normal(2) * np.float32(2.5)) == pytest.approx(4 * 1.5**2, rel=0.02)


def test_of_covariances_that_do_not_commute_it_is_the_matrix_root() -> None:
    rng = np.random.default_rng(3)
    a, b = (normal(seed, 500) @ rng.standard_normal((4, 4)).astype(np.float32) for seed in (4, 5))
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    trace = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + trace - 2 * np.sqrt(np.linalg.eigvals(product)).real.sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 20))
def test_it_is_symmetric_and_zero_for_the_same(seed: int, count: int, size: int) -> None:
    """Also of fewer images than features, where the covariances are singular."""
    a, b = normal(seed, count, size), normal(seed + 1, count, size)
    assert frechet(a, a) < 1e-5
    assert frechet(a, b) == pytest.approx(frechet(b, a), abs=1e-5)


def test_sets_that_have_no_distance() -> None:
    with pytest.raises(ValueError, match="no distance"):
        frechet(normal(1, 10, 3), normal(1, 10, 4))
    with pytest.raises(ValueError, match="no distance"):
        frechet(normal(1, 1), normal(1, 10))


@pytest.fixture(scope="module")
def views() -> Views:
    return record("rig", load_recipe("quick")).train


def test_features_of_a_subject_see_blur_and_missing_variety(views: Views) -> None:
    network = train_features(views, seed=1, steps=60)
    half, other = features_of(network, views[::2]), features_of(network, views[1::2])
    floor = frechet(half, other)
    blurred = np.stack([cv2.GaussianBlur(view, (5, 5), 1.2) for view in views[1::2]])
    alike = views[1:40:2].repeat(8, 0)
    assert frechet(half, features_of(network, blurred)) > 3 * floor
    assert frechet(half, features_of(network, alike)) > 3 * floor


def test_equal_seeds_give_equal_features(views: Views) -> None:
    first, second = (features_of(train_features(views, seed=2, steps=3), views[:4]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_too_few_views_for_features() -> None:
    with pytest.raises(ValueError, match="too few"):
        train_features(np.zeros((5, 64, 64, 3), np.uint8), seed=1)


def test_classifier_tells_classes_apart() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 256)
    views = rng.integers(0, 60, (256, 28, 28, 3), dtype=np.uint8)
    views[labels == 1, 8:20, 8:20] += 150
    classifier = train_classifier(views, labels, seed=1, epochs=4)
    features, logits = classifier(views[:64].astype(np.float32) / 255, training=False)
    assert features.shape == (64, 64)
    assert (logits.numpy().argmax(1) == labels[:64]).mean() > 0.95
