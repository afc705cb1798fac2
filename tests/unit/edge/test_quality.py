"""PSNR and SSIM against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from twin_edge.quality import psnr, ssim


def picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def test_equal_images() -> None:
    assert psnr(picture(), picture()) == 100
    assert ssim(picture(), picture()) == pytest.approx(1)


def test_psnr_of_a_known_error() -> None:
    dark = np.zeros((16, 16, 3), np.uint8)
    assert psnr(dark, dark + np.uint8(255)) == pytest.approx(0)
    assert psnr(dark, dark + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def test_ssim_falls_with_noise_and_is_near_zero_for_another_image() -> None:
    image = picture()
    noise = np.random.default_rng(2).normal(0, 1, image.shape)
    values = [ssim(image, np.clip(image + noise * s, 0, 255).astype(np.uint8)) for s in (5, 20, 60)]
    assert values == sorted(values, reverse=True)
    assert abs(ssim(image, picture(9))) < 0.1


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    a, b = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-4)
