"""A validation block that is unlike the others is named, and left out of what is fitted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin_converters.blocks import judged

STARTS = (0, 10, 20, 30, 40, 50, 60, 70)
NAMES = tuple(f"{number}0.0 s to {number}1.0 s" for number in range(8))


def errors(levels: list[float], seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).lognormal(0, 0.2, (len(levels), 10))
    return (np.array(levels)[:, np.newaxis] * noise).ravel()


def test_a_lost_block_is_left_out_and_told() -> None:
    blocks = judged(errors([90, 110, 80, 900, 100, 95, 120, 70]), STARTS, NAMES)
    assert [one.block for one in blocks.outliers] == [3]
    np.testing.assert_array_equal(np.flatnonzero(~blocks.kept()), np.arange(30, 40))
    (line,) = blocks.warnings()
    assert "30.0 s to 31.0 s" in line
    assert "cut it out of the recording" in line


def test_blocks_that_differ_as_blocks_do_are_all_kept() -> None:
    blocks = judged(errors([60, 150, 80, 170, 100, 70, 120, 90]), STARTS, NAMES)
    assert blocks.outliers == ()
    assert blocks.kept().all()
    assert blocks.warnings() == ()


@given(st.lists(st.floats(1e-3, 1e4), min_size=3, max_size=8))
def test_half_of_the_blocks_are_always_kept(levels: list[float]) -> None:
    blocks = judged(np.repeat(levels, 12), tuple(range(0, 12 * len(levels), 12)), tuple("b" * len(levels)))
    assert 2 * len(blocks.outliers) <= len(levels)
    assert blocks.kept().any()
    # What is left out is worse than all that is kept.
    kept = blocks.kept().reshape(-1, 12)[:, 0]
    assert not (~kept).any() or np.array(levels)[~kept].min() > np.array(levels)[kept].max()


def test_calibration_keeps_the_frames_that_it_needs() -> None:
    blocks = judged(np.repeat([10.0, 11.0, 900.0], 8), (0, 8, 16), ("a", "b", "c"))
    assert blocks.outliers == ()
