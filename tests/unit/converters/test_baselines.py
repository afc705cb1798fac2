"""Baselines are held against a twin at the twin's own bytes."""

from __future__ import annotations

import pytest

from twin_converters.baselines import RatePoint, at_bytes

POINTS = (
    RatePoint("mean", 0, 20.0, 0.6),
    RatePoint("pca", 2, 22.0, 0.7),
    RatePoint("pca", 6, 26.0, 0.8),
    RatePoint("pca", 8, 25.0, 0.9),
    RatePoint("registered-pca", 4, 25.0, 0.75),
    RatePoint("registered-pca", 12, 27.0, 0.85),
)


@pytest.mark.parametrize(
    ("rate", "method", "psnr", "ssim"),
    [(0, "mean", 20, 0.6), (1, "registered-pca", 21.25, 0.6375), (4, "registered-pca", 25, 0.75), (6, "pca", 26, 0.8),
     (12, "registered-pca", 27, 0.85), (99, "registered-pca", 27, 0.85)],
)  # fmt: skip
def test_the_best_of_them_between_its_points(rate: float, method: str, psnr: float, ssim: float) -> None:
    found = at_bytes(POINTS, rate)
    assert found is not None
    assert (found.method, found.bytes) == (method, rate)
    assert found.psnr_db == pytest.approx(psnr, abs=1e-3)
    assert found.ssim == pytest.approx(ssim, abs=1e-3)


def test_no_baseline_was_measured() -> None:
    assert at_bytes((), 3.0) is None


@pytest.mark.parametrize("change", [{"method": "magic"}, {"bytes": -1}, {"bytes": float("nan")}, {"psnr_db": "high"}])
def test_points_of_a_damaged_run(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"unknown baseline|could not convert"):
        RatePoint.from_json({"method": "pca", "bytes": 1.0, "psnr_db": 20.0, "ssim": 0.5, **change})
