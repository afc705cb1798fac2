"""The gap is a place among normal frames, rises with what is not normal, and does not rise with the light."""

from __future__ import annotations

import numpy as np
import pytest

from twin_edge.twin.calibration import calibrate, tail_quantiles
from twin_edge.twin.gap import NORMAL_SHARE, GapMeter, Norm
from twin_edge.twin.residual import ResidualMeter, grid_of

SIZE = 64


def drawing() -> np.ndarray:
    """Returns a rendering with coarse structure, uint8 of shape (SIZE, SIZE, 3)."""
    rng = np.random.default_rng(8)
    return np.kron(rng.integers(60, 180, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


RENDERING = drawing()


def views(count: int, seed: int) -> np.ndarray:
    """Returns noisy views of the rendering: noise of deviation 4, twice that in the left half."""
    deviation = np.where(np.arange(SIZE) < SIZE // 2, 8.0, 4.0)[None, None, :, None]
    noise = np.random.default_rng(seed).normal(0, 1, (count, SIZE, SIZE, 3)) * deviation
    return np.clip(RENDERING + noise, 0, 255).astype(np.uint8)


def residuals(seen: np.ndarray) -> np.ndarray:
    meter = ResidualMeter(SIZE, SIZE)
    return np.stack([meter(view, RENDERING) for view in seen])


def blocks(frames: int, count: int = 8) -> np.ndarray:
    return np.arange(frames) * count // frames


def meter_of(seen: np.ndarray, trained: np.ndarray | None = None) -> GapMeter:
    known = residuals(seen)
    others = known[:0] if trained is None else residuals(trained)
    return GapMeter(calibrate(known, blocks(len(known)), others, ResidualMeter(SIZE, SIZE)), SIZE, SIZE)


@pytest.fixture(scope="module")
def meter() -> GapMeter:
    return meter_of(views(400, 1))


def test_what_is_the_same_leaves_the_floor_only() -> None:
    measured = ResidualMeter(SIZE, SIZE)
    found = measured(RENDERING, RENDERING)
    fine, coarse, smooth = (found[part] for part in measured.parts)
    np.testing.assert_allclose(fine, 4**0.25, rtol=1e-5)
    np.testing.assert_allclose(coarse, 4**0.25, rtol=1e-5)
    np.testing.assert_allclose(smooth, 1, rtol=1e-5)
    assert found[-1] == pytest.approx(0, abs=1e-6)


def test_of_what_is_lit_alike_nothing_is_taken_for_light() -> None:
    """Where no light is found, both ways give the same; where there is one, it is a difference."""
    view = views(1, 12)[0]
    view[20:30, 20:24] = 255
    lit, unlit = ResidualMeter(SIZE, SIZE, lit=True), ResidualMeter(SIZE, SIZE)
    parts = lit.parts
    plain = np.square(view.astype(float) - RENDERING).sum(-1)
    fine = plain.reshape(lit.rows, SIZE // lit.rows, lit.columns, SIZE // lit.columns).mean((1, 3))
    np.testing.assert_allclose(lit(view, RENDERING)[parts[0]], (fine.ravel() + 4) ** 0.25, rtol=1e-4)
    np.testing.assert_allclose(lit(view, RENDERING)[parts[0]], unlit(view, RENDERING)[parts[0]], rtol=0.1)
    darker = (RENDERING * 0.9).astype(np.uint8)
    assert lit(darker, RENDERING)[parts[1]].mean() > 2 * unlit(darker, RENDERING)[parts[1]].mean()


def test_a_difference_stands_in_its_cell() -> None:
    view = RENDERING.copy()
    view[10:12, 20:22] += 40
    measured = ResidualMeter(SIZE, SIZE)
    fine = measured(view, RENDERING)[measured.parts[0]].reshape(measured.rows, measured.columns)
    assert np.unravel_index(fine.argmax(), fine.shape) == (5, 10)
    # All three colors by 40: the root of the summed squares is 69.
    assert fine.max() == pytest.approx((3 * 40**2 + 4) ** 0.25, rel=0.03)
    assert np.sort(fine.ravel())[-2] < 0.4 * fine.max()


def test_normal_frames_spread_over_the_whole_range(meter: GapMeter) -> None:
    scores = np.array([meter(view, RENDERING).score for view in views(600, 2)])
    assert 0.35 < scores.mean() < 0.65
    shares = []
    for seed in range(40, 45):
        other = meter_of(views(400, seed))
        shares.append(np.mean([other(view, RENDERING).score > 0.99 for view in views(300, seed + 10)]))
    assert 0.001 < np.mean(shares) < 0.03


def test_ranks_go_down_to_0(meter: GapMeter) -> None:
    assert min(meter(view, RENDERING).score for view in views(300, 61)) < 0.02


def test_a_kind_of_score_with_a_long_tail_does_not_hide_the_others() -> None:
    """Sharpness that is hardly ever off, and then far, set the limit of all: a disc on a face stayed below it."""
    seen = views(400, 31)
    for number in range(0, 400, 12):
        noise = seen[number].astype(float) - RENDERING
        seen[number] = np.clip(RENDERING + 1.6 * noise, 0, 255)
    meter = meter_of(seen)
    view = views(1, 33)[0]
    view[20:44, 50:52] = 20
    assert meter(view, RENDERING).score > 0.99


@pytest.mark.parametrize("gain", [0.9, 1.1, (0.92, 1.0, 1.08)])
def test_light_is_no_event(meter: GapMeter, gain: float | tuple[float, ...]) -> None:
    across = 1 + 0.05 * np.linspace(-1, 1, SIZE)[None, None, :, None]
    changed = np.clip(views(40, 9) * np.array(gain) * across + 3, 0, 255).astype(np.uint8)
    assert np.mean([meter(view, RENDERING).score > 0.99 for view in changed]) < 0.1


def test_a_thin_line_is_a_gap_where_the_mean_error_hardly_moves(meter: GapMeter) -> None:
    view = views(1, 3)[0]
    before = np.abs(view.astype(int) - RENDERING).mean()
    view[20:44, 50:52] = 20
    assert np.abs(view.astype(int) - RENDERING).mean() < 1.3 * before
    found = meter(view, RENDERING)
    assert found.score > 0.99
    loudest = np.unravel_index(found.cells.argmax(), found.cells.shape)
    assert 10 <= loudest[0] < 22
    assert 24 <= loudest[1] < 27


@pytest.mark.parametrize("sharpness", [0.3, 2.0])
def test_blur_and_grain_are_gaps(meter: GapMeter, sharpness: float) -> None:
    noise = views(1, 4)[0].astype(float) - RENDERING
    view = np.clip(RENDERING + sharpness * noise, 0, 255).astype(np.uint8)
    assert meter(view, RENDERING).score > 0.99


def test_it_goes_on_rising_beyond_the_strangest_normal_frame(meter: GapMeter) -> None:
    scores = []
    for strength in (0.2, 0.4, 0.6, 0.9):
        view = views(1, 4)[0].astype(float)
        view[20:50, 20:50] *= 1 - strength
        scores.append(meter(view.astype(np.uint8), RENDERING).score)
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert scores[-1] <= 1


def test_too_few_frames_are_refused() -> None:
    nothing = np.zeros((19, 1), np.float32)
    with pytest.raises(ValueError, match="20 are the least"):
        calibrate(nothing, np.zeros(19, int), nothing[:0], ResidualMeter(SIZE, SIZE))


def test_a_place_that_only_training_has_shown_is_not_strange() -> None:
    unseen, elsewhere = views(200, 5), views(120, 6)
    elsewhere[:, 8:24, 8:24:2] += 25  # the subject was here in training: a larger residual is normal
    alone, together = meter_of(unseen), meter_of(unseen, elsewhere)
    strange = [[meter(view, RENDERING).score > 0.99 for view in elsewhere[::4]] for meter in (alone, together)]
    assert np.mean(strange[0]) == 1
    assert np.mean(strange[1]) < 0.25


@pytest.mark.parametrize("seed", range(4))
def test_one_percent_is_one_percent_where_blocks_differ_and_tails_are_heavy(seed: int) -> None:
    """A score that drifts from block to block, with a heavy tail within each, and many frames to come."""
    rng = np.random.default_rng(seed)

    def block(frames: int) -> np.ndarray:
        return rng.normal(0, 0.5) + rng.exponential(1, frames)

    shares = []
    for _ in range(30):
        limit = np.interp(0.99, np.linspace(0, 0.995, 200), tail_quantiles([block(25) for _ in range(8)]))
        shares.append(np.mean(np.concatenate([block(25) for _ in range(200)]) > limit))
    assert 0.003 < np.mean(shares) < 0.03


def test_a_block_that_is_far_away_raises_the_ranks() -> None:
    rng = np.random.default_rng(3)
    alike = [rng.normal(0, 1, 25) for _ in range(8)]
    apart = [*alike[:-1], alike[-1] + 3]
    assert tail_quantiles(apart)[-1] > tail_quantiles(alike)[-1] + 1
    assert (np.diff(tail_quantiles(apart)) >= 0).all()


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(128, 128, (32, 32)), (28, 28, (14, 14)), (96, 50, (25, 32)), (17, 37, (1, 1))]
)
def test_grid_divides_the_view(height: int, width: int, grid: tuple[int, int]) -> None:
    assert grid_of(height, width) == grid
    view = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = ResidualMeter(height, width)(view, view[::-1].copy())
    assert np.isfinite(found).all()


def test_frames_that_are_as_hard_as_was_said_are_normal() -> None:
    seen, others = residuals(views(160, 1)), residuals(views(200, 2))
    maker = ResidualMeter(SIZE, SIZE)
    harder = maker.enlarged(residuals(views(60, 5)), 6.0)

    def strange(ahead: float) -> float:
        calibration = calibrate(seen, blocks(len(seen)), others, maker, ahead=ahead)
        limit = np.interp(0.99, np.linspace(0, NORMAL_SHARE, 200), calibration.quantiles)
        norm = Norm(
            *(
                np.asarray(getattr(calibration, name), np.float32)
                for name in ("mean", "deviation", "centers", "scales")
            ),
            maker.parts,
        )
        return float((norm.raw(norm.standardize(harder)).max(-1) > limit).mean())

    assert strange(1.0) == 1.0
    assert strange(6.0) <= 0.05


def test_residuals_are_enlarged_as_if_differences_were() -> None:
    rendering = drawing()
    apart = np.random.default_rng(3).normal(0, 5, rendering.shape)
    near, far = (np.clip(np.rint(rendering + times * apart), 0, 255).astype(np.uint8) for times in (1.0, 2.0))
    meter = ResidualMeter(SIZE, SIZE, lit=True)
    found, wanted = meter.enlarged(meter(near, rendering)[np.newaxis], 4.0)[0], meter(far, rendering)
    # Pixels are whole numbers, and so not quite twice as far away.
    assert np.abs(found[:-1] / wanted[:-1] - 1).mean() < 0.02
