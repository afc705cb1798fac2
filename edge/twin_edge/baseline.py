"""The baseline that a twin has to beat: the best of what needs no network, at as many bytes a frame.

That is the mean image, which costs nothing, principal components of the views as they are, or principal components of
views that are registered first. Which of them is best depends on the subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MEAN: Final = "mean"
PCA: Final = "pca"
REGISTERED_PCA: Final = "registered-pca"
BASELINES: Final[Mapping[str, str]] = {
    MEAN: "the mean image",
    PCA: "plain PCA",
    REGISTERED_PCA: "registered PCA",
}
"""Every baseline by its name for programs, with its name for people."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A twin beside its baseline."""

    worse: bool
    """Whether the twin is worse in PSNR or in SSIM; False where no baseline was measured."""
    text: str
    """The same for people: a clause without a period."""


def compare(
    psnr_db: float,
    ssim: float,
    baseline_psnr_db: float,
    baseline_ssim: float,
    *,
    baseline: str = REGISTERED_PCA,
    rate_bytes: float | None = None,
) -> Comparison:
    """Holds the quality of a twin against that of its baseline, on the same views.

    Args:
        psnr_db: Mean PSNR of the twin, dB.
        ssim: Mean SSIM of the twin, -1 to 1.
        baseline_psnr_db: Mean PSNR of the baseline, dB; 0 where it was not measured.
        baseline_ssim: Mean SSIM of the baseline, -1 to 1.
        baseline: Which baseline, one of `BASELINES`.
        rate_bytes: Bytes a frame that both take; None where the bytes were not held equal.
    """
    if not baseline_psnr_db:
        return Comparison(worse=False, text="not held against a baseline: none was measured")
    name = f"the baseline, {BASELINES[baseline]}" + ("" if rate_bytes is None else f" at {rate_bytes:.1f} B a frame")
    gain_db, gain = psnr_db - baseline_psnr_db, ssim - baseline_ssim
    figures = f"{gain_db:+.2f} dB, SSIM {gain:+.3f} against {baseline_psnr_db:.2f} dB, {baseline_ssim:.3f}"
    if gain_db >= 0 and gain >= 0:
        return Comparison(worse=False, text=f"at least as good as {name} ({figures})")
    where = "in SSIM" if gain_db >= 0 else "in PSNR" if gain >= 0 else "in PSNR and SSIM"
    return Comparison(worse=True, text=f"WORSE than {name}, {where} ({figures})")
