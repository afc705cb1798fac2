"""What a conversion comes to: measured quality on the test views, as a subscriber sees it too, and the gate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_converters.baselines import RatePoint, at_bytes
from twin_converters.blocks import Blocks
from twin_converters.codec_tables import Recorded
from twin_converters.diagnosis import Diagnosis
from twin_converters.levels import MOST_HELD, Held, code, fit_levels
from twin_converters.measure import Measured
from twin_converters.run import Gate, Run, Views
from twin_edge.baseline import BASELINES
from twin_edge.bundle import Quality
from twin_edge.errors import ConversionError
from twin_edge.quality import psnr, ssim
from twin_edge.runtime.sending import SendingConfig
from twin_edge.twin.codec import CodecTables

_MS: Final = 1000.0
_TOLERANCE: Final = 2
_PERFECT_DB: Final = 48.13
"""A mean squared error of one level: whatever is better is as good."""
_ROUNDED: Final = 1e-3
"""Times are whole microseconds: a state that is due just then is too late more often than not."""

Draw = Callable[[npt.NDArray[np.int8]], Views]
"""Renders states, int8 of shape (n, state length), on the runtime that levels are measured on."""


def fit_codec(run: Run, measured: Measured, blocks: Blocks, draw: Draw) -> CodecTables:
    """Returns the codec tables of a run.

    Args:
        run: What training left.
        measured: What the models gave on the runtime that levels are measured on.
        blocks: The validation blocks; outliers are not fitted to.
        draw: Renders states on that runtime.

    Raises:
        ConversionError: There are too few consecutive views.
    """
    live = [Recorded(part) for part in np.split(measured.live_states, run.live_cuts[1:])]
    paced = [Recorded(part, sparse=True) for part in np.split(measured.paced_states, run.paced_cuts[1:])]
    kept = blocks.kept()
    outliers = {outlier.block for outlier in blocks.outliers}
    usual = [one for number, one in enumerate(blocks.ranges()) if number not in outliers]
    most = max(1, MOST_HELD // len(usual))
    parts = [np.arange(start, min(end, start + most)) for start, end in usual]
    rows = np.concatenate(parts)
    starts = tuple(int(n) for n in np.cumsum([0, *(len(part) for part in parts[:-1])]))
    held = Held(run.validation[rows], measured.validation_states[rows], starts, _together(run), _interval_ms(run))
    sequences = [one for one in live + paced if len(one.states)]
    error = float(measured.validation_errors[kept].mean())
    return fit_levels(sequences, measured.importance, error, held, draw, places=run.latent_start, ahead=run.ahead_error)


def _together(run: Run) -> int:
    """Returns how many states a packet has by default at the rate of the test views."""
    # A packet is complete when the next state would come too late for it.
    return max(1, math.ceil(SendingConfig().batch_ms / _MS * run.fps - _ROUNDED))


def _interval_ms(run: Run) -> int:
    return round(_MS / run.fps)


@dataclass(frozen=True, slots=True)
class Seen:
    """The test views as a subscriber sees them by default."""

    renderings: Views
    """Of the test rows, through models, codec and renderer."""
    bytes: float
    """Payload bytes a frame."""


def as_seen(run: Run, codec: CodecTables, measured: Measured, rows: npt.NDArray[np.int64], draw: Draw) -> Seen:
    """Returns the test views as a subscriber sees them by default.

    Args:
        run: What training left.
        codec: Its codec tables.
        measured: What the models gave on the runtime that `draw` renders on.
        rows: Rows of the test views to render.
        draw: Renders states.
    """
    held = Held(run.test, measured.states, run.test_cuts, _together(run), _interval_ms(run))
    decoded, payload = code(codec, SendingConfig().quality, held)
    return Seen(draw(decoded[rows]), payload)


def measure_quality(run: Run, test: Views, float_renderings: Views, measured: list[Measured], seen: Seen) -> Quality:
    """Returns the measured quality; for int8 the worst of the runtimes."""
    results = [mean_quality(test, one.renderings) for one in measured]
    worst_psnr, worst_ssim = (min(values) for values in zip(*results, strict=True))
    apart, _ = runtimes_apart(measured)
    float_psnr, float_ssim = mean_quality(test, float_renderings)
    steps = 0 if run.pose else max(int(np.abs(measured[0].states.astype(np.int16) - o.states).max()) for o in measured)
    baseline = at_bytes(run.baselines, seen.bytes) or RatePoint("", 0.0, 0.0, 0.0)
    return Quality(
        len(test),
        float_psnr,
        float_ssim,
        worst_psnr,
        worst_ssim,
        apart,
        baseline.method,
        baseline.psnr_db,
        baseline.ssim,
        steps,
        *mean_quality(test, seen.renderings),
        round(seen.bytes, 3),
        round(run.fps, 3),
    )


def mean_quality(views: Views, renderings: Views) -> tuple[float, float]:
    """Returns mean PSNR (dB) and SSIM of renderings beside their views."""
    pairs = list(zip(views, renderings, strict=True))
    return (
        round(float(np.mean([psnr(a, b) for a, b in pairs])), 3),
        round(float(np.mean([ssim(a, b) for a, b in pairs])), 4),
    )


def check_gate(gate: Gate, quality: Quality, measured: list[Measured], diagnosis: Diagnosis | None = None) -> None:
    """Refuses what misses the recipe's gate.

    Args:
        gate: The gate.
        quality: What was measured.
        measured: What the models gave on each runtime.
        diagnosis: Where int8 loses, if that was looked for.

    Raises:
        ConversionError: It misses; says by what.
    """
    misses = []
    seen = min(quality.default_psnr_db, _PERFECT_DB)
    short = min(quality.baseline_psnr_db, _PERFECT_DB) - seen
    if quality.baseline and short > gate.max_baseline_loss_db:
        misses.append(
            f"at {quality.default_bytes:.1f} B a frame the twin, as a subscriber sees it, reaches "
            f"{quality.default_psnr_db:.2f} dB and the baseline, {BASELINES[quality.baseline]}, "
            f"{quality.baseline_psnr_db:.2f} dB; {gate.max_baseline_loss_db:g} dB less are allowed"
        )
    lost = min(quality.float_psnr_db, _PERFECT_DB) - min(quality.int8_psnr_db, _PERFECT_DB)
    if lost > gate.max_psnr_loss_db:
        culprit = f"; {diagnosis.culprit}" if diagnosis else ""
        misses.append(f"int8 loses {lost:.2f} dB, {gate.max_psnr_loss_db:g} dB are allowed{culprit}")
    apart, share = runtimes_apart(measured)
    if share > gate.max_share_apart:
        misses.append(
            f"the renderings of two runtimes differ by up to {apart}/255, and by more than {_TOLERANCE}/255 in "
            f"{100 * share:.2g} % of all values; {100 * gate.max_share_apart:.2g} % are allowed"
        )
    if misses:
        raise ConversionError(
            f"the quality gate failed: {'; '.join(misses)}",
            fix="train longer or on more of the subject, see docs/conversion.md",
        )


def runtimes_apart(measured: list[Measured]) -> tuple[int, float]:
    """Compares the renderings of the same states between runtimes.

    Returns:
        The most levels of 255 by which a value differs, and the share of values beyond the tolerance.
    """
    first = measured[0].shared_renderings.astype(np.int16)
    most, share = 0, 0.0
    for other in measured[1:]:
        levels = np.abs(first - other.shared_renderings)
        most, share = max(most, int(levels.max())), max(share, float((levels > _TOLERANCE).mean()))
    return most, share
