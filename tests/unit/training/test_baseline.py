"""Registered principal components: registration, quantization, rates."""

import cv2
import numpy as np
import pytest

from twin_training.baseline import RegisteredPca, at_bytes, registered_pca
from twin_training.order0 import coded_bytes, entropy_bytes

SIZE = 64


def moving_subject(count: int, *, seed: int = 0, moves: bool = True) -> np.ndarray:
    """A blob with two eyes that open and close, wandering over an even background."""
    rng = np.random.default_rng(seed)
    places = np.cumsum(rng.normal(0, 0.7, (count, 2)), axis=0)
    places = 5 * np.sin(places / 5) * moves
    views = np.full((count, SIZE, SIZE, 3), (60, 90, 140), np.uint8)
    for index, (view, (x, y)) in enumerate(zip(views, places, strict=True)):
        middle = np.array((SIZE / 2 + x, SIZE / 2 + y))
        cv2.ellipse(view, as_fixed(middle), (13 * 16, 17 * 16), 0, 0, 360, (210, 160, 130), -1, cv2.LINE_AA, 4)
        for side in (-5, 5):
            open_by = 1 + 2 * (1 + np.sin(index / 3 + side))
            place = as_fixed(middle + np.array((side, -4)))
            cv2.ellipse(view, place, (40, round(open_by * 16)), 0, 0, 360, (30, 30, 30), -1, cv2.LINE_AA, 4)
    return views


def as_fixed(place: np.ndarray) -> tuple[int, int]:
    return round(place[0] * 16), round(place[1] * 16)


def test_registration_finds_the_shift() -> None:
    train = moving_subject(120)
    pca = RegisteredPca([train], 4)
    still = moving_subject(1, moves=False)[0]
    shifted = cv2.warpAffine(
        still, np.array(((1, 0, 3.0), (0, 1, -2.0))), (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE
    )
    first, second = pca.poses(np.stack([still, shifted]))
    np.testing.assert_allclose(second - first, (3, -2, 0), atol=0.1)


def test_registration_is_worth_decibels_on_what_moves() -> None:
    train, test = moving_subject(160), moving_subject(60, seed=7)
    (with_pose,) = registered_pca([train], [test], (4,), losses=(0.05,))
    (without,) = registered_pca([train], [test], (4,), losses=(0.05,), registered=False)
    assert with_pose.psnr_db > without.psnr_db + 2
    assert with_pose.ssim > without.ssim


def test_more_components_are_better_and_dearer() -> None:
    train, test = moving_subject(160), moving_subject(60, seed=7)
    few, many = registered_pca([train], [test], (2, 8), losses=(0.05,))
    assert many.psnr_db > few.psnr_db
    assert many.coded_bytes > few.coded_bytes
    assert at_bytes((few, many), few.coded_bytes) == few
    assert at_bytes((few, many), 1e9) == many
    assert at_bytes((few, many), 0) is None


def test_coarser_steps_cost_quality_and_save_bytes() -> None:
    train, test = moving_subject(160), moving_subject(60, seed=7)
    fine, coarse = registered_pca([train], [test], (8,), losses=(0.02, 2.0))
    assert coarse.coded_bytes < fine.coded_bytes
    assert coarse.psnr_db < fine.psnr_db


def test_a_fixed_subject_pays_no_pose() -> None:
    train = moving_subject(80, moves=False)
    pca = RegisteredPca([train], 3, registered=False)
    projection = pca.project(train)
    step = pca.step(3, 0.1)
    states = projection.states(3, step)
    assert states.shape == (80, 3)
    assert np.abs(pca.render(states[5], step).astype(int) - train[5]).mean() < 3


@pytest.mark.parametrize("count", [2, 5])
def test_tiny_and_black_recordings_are_no_trouble(count: int) -> None:
    black = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    (point,) = registered_pca([black], [black], (8,), losses=(0.1,))
    assert point.psnr_db == 100


def test_sequences_are_not_joined() -> None:
    low, high = np.zeros((50, 1), np.int8), np.full((50, 1), 100, np.int8)
    assert entropy_bytes([low, high]) == 0
    assert entropy_bytes([np.concatenate([low, high])]) > 0


def test_entropy_of_known_differences() -> None:
    fair = np.cumsum(np.tile((0, 1, 0, -1), 200))[:, np.newaxis].astype(np.int8)
    # Half of the differences are 0, a quarter each is +1 and -1: 1.5 bits.
    assert entropy_bytes([fair]) == pytest.approx(1.5 / 8, rel=0.01)
    assert coded_bytes([fair], [fair]) == pytest.approx(1.5 / 8, rel=0.1)


def test_static_tables_take_what_training_has_not_shown() -> None:
    calm = np.zeros((200, 2), np.int8)
    wild = np.random.default_rng(0).integers(-128, 128, (200, 2)).astype(np.int8)
    assert coded_bytes([calm], [calm]) < 0.1
    assert 2 < coded_bytes([calm], [wild]) < 8
