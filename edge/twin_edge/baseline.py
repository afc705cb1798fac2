"""The baseline that a twin has to beat: registered principal components, as many as its latent has values.

A linear twin costs no training. One that is worse than it may be deployed, but everybody is told.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """A twin beside its baseline."""

    worse: bool
    """Whether the twin is worse in PSNR or in SSIM; False where no baseline was measured."""
    text: str
    """The same for people: a clause without a period."""


def compare(psnr_db: float, ssim: float, baseline_psnr_db: float, baseline_ssim: float) -> Comparison:
    """Holds the quality of a twin against that of its baseline, on the same views.

    Args:
        psnr_db: Mean PSNR of the twin, dB.
        ssim: Mean SSIM of the twin, -1 to 1.
        baseline_psnr_db: Mean PSNR of the baseline, dB; 0 where it was not measured.
        baseline_ssim: Mean SSIM of the baseline, -1 to 1.
    """
    if not baseline_psnr_db:
        return Comparison(worse=False, text="the registered-PCA baseline was not measured")
    gain_db, gain = psnr_db - baseline_psnr_db, ssim - baseline_ssim
    figures = f"{gain_db:+.2f} dB, SSIM {gain:+.3f} against {baseline_psnr_db:.2f} dB, {baseline_ssim:.3f}"
    if gain_db >= 0 and gain >= 0:
        return Comparison(worse=False, text=f"at least as good as the registered-PCA baseline ({figures})")
    where = "in SSIM" if gain_db >= 0 else "in PSNR" if gain >= 0 else "in PSNR and SSIM"
    return Comparison(worse=True, text=f"WORSE than the registered-PCA baseline {where} ({figures})")
