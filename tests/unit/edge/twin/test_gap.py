"""The gap is a place among normal frames, and rises with what is not normal."""

from __future__ import annotations

import numpy as np
import pytest

from twin_edge.twin.gap import COLUMNS, ROWS, GapMeter, calibrate, grid_of, residual_cells

SIZE = 64


def views(count: int, seed: int) -> np.ndarray:
    """Returns noisy grey views: noise of deviation 4, twice that in the left half."""
    deviation = np.where(np.arange(SIZE) < SIZE // 2, 8.0, 4.0)[None, None, :, None]
    noise = np.random.default_rng(seed).normal(0, 1, (count, SIZE, SIZE, 3)) * deviation
    return np.clip(128 + noise, 0, 255).astype(np.uint8)


RENDERING = np.full((SIZE, SIZE, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def meter() -> GapMeter:
    cells = np.stack([residual_cells(view, RENDERING, (COLUMNS, ROWS)) for view in views(400, 1)])
    return GapMeter(calibrate(cells, cells[:0]), SIZE, SIZE)


def test_cells_are_means_of_the_absolute_residual() -> None:
    view = RENDERING.copy()
    view[0:4, 4:8] += 8
    view[4:8, 0:4, 0] -= 12
    cells = residual_cells(view, RENDERING, (COLUMNS, ROWS)).reshape(ROWS, COLUMNS)
    assert cells[0, 1] == 8
    assert cells[1, 0] == 4
    assert cells.sum() == 12


def test_cells_of_a_grid_that_is_not_square() -> None:
    view = np.zeros((32, 64, 3), np.uint8)
    view[16:, 48:] = 30
    cells = residual_cells(view, np.zeros_like(view), (4, 2)).reshape(2, 4)
    assert cells[1, 3] == 30
    assert cells.sum() == 30


def test_normal_frames_spread_over_the_whole_range(meter: GapMeter) -> None:
    scores = np.array([meter(view, RENDERING).score for view in views(300, 2)])
    assert 0.35 < scores.mean() < 0.65
    assert (scores > 0.99).mean() < 0.05


def test_a_small_object_is_a_gap_where_the_mean_error_hardly_moves(meter: GapMeter) -> None:
    view = views(1, 3)[0]
    before = np.abs(view.astype(int) - 128).mean()
    view[40:52, 40:52] = 102
    assert np.abs(view.astype(int) - 128).mean() < 1.25 * before
    assert meter(view, RENDERING).score > 0.99


def test_it_goes_on_rising_beyond_the_strangest_normal_frame(meter: GapMeter) -> None:
    scores = []
    for level in (100, 80, 60, 20):
        view = views(1, 4)[0]
        view[20:50, 20:50] = level
        scores.append(meter(view, RENDERING).score)
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert scores[-1] <= 1


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="20 are the least"):
        calibrate(np.zeros((19, ROWS * COLUMNS), np.float32), np.zeros((0, ROWS * COLUMNS), np.float32))


def test_a_place_that_only_training_has_shown_is_not_strange() -> None:
    unseen = np.stack([residual_cells(view, RENDERING, (COLUMNS, ROWS)) for view in views(100, 5)])
    elsewhere = views(60, 6)
    elsewhere[:, 8:24, 8:24] += 12  # the subject was here in training: a larger residual is normal
    trained = np.stack([residual_cells(view, RENDERING, (COLUMNS, ROWS)) for view in elsewhere])
    alone = GapMeter(calibrate(unseen, trained[:0]), SIZE, SIZE)(elsewhere[0], RENDERING).score
    together = GapMeter(calibrate(unseen, trained), SIZE, SIZE)(elsewhere[0], RENDERING).score
    assert together < alone
    assert together < 0.99 < alone


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(128, 128, (16, 16)), (28, 28, (14, 14)), (96, 50, (10, 16)), (17, 37, (1, 1))]
)
def test_grid_divides_the_view(height: int, width: int, grid: tuple[int, int]) -> None:
    assert grid_of(height, width) == grid
