"""Validation is several blocks spread over the recording, and no frame is both trained on and measured with."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from twin_training.splits import LEAST_FRAMES, Split, split

SHARES = st.sampled_from([(0.7, 0.1), (0.6667, 0.0833), (0.5, 0.1), (0.6, 0.2), (0.3, 0.3), (0.9, 0.05)])
FRAMES = st.integers(LEAST_FRAMES, 8000)


def rows(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [row for start, end in ranges for row in range(start, end)]


def held(parts: Split) -> int:
    return len(rows(parts.validation))


@given(FRAMES, SHARES, st.integers(0, 200))
def test_parts_are_apart_and_in_order(frames: int, shares: tuple[float, float], gap: int) -> None:
    parts = split(frames, *shares, gap)
    for ranges in (parts.train, parts.validation, (parts.test,)):
        assert all(0 <= start < end <= frames for start, end in ranges)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
    train, validation = rows(parts.train), rows(parts.validation)
    assert not set(train) & set(validation)
    assert max(*train, *validation) < parts.test[0]
    assert parts.test[1] == frames


@given(FRAMES, SHARES, st.integers(1, 200))
def test_gaps_are_on_both_sides_of_a_block_and_shrink_with_the_recording(
    frames: int, shares: tuple[float, float], gap: int
) -> None:
    parts = split(frames, *shares, gap)
    between = [
        min(abs(start - other_end) for other_end in (edge for one in parts.train for edge in one))
        for block in parts.validation
        for start in block[:1]
    ]
    # With much to hold out, there may be nothing to train on just before the last block.
    assert max(between[:-1]) - min(between) <= 1
    assert between[-1] >= between[0] - 1
    left_out = parts.test[0] - held(parts) - len(rows(parts.train))
    assert left_out <= 0.1 * parts.test[0] + frames / 20 + 1
    if frames >= 300 * gap:
        assert min(between) == gap


@given(FRAMES, SHARES, st.integers(0, 100))
def test_blocks_are_spread_and_as_large_as_asked_for(frames: int, shares: tuple[float, float], gap: int) -> None:
    parts = split(frames, *shares, gap)
    count = len(parts.validation)
    assert 3 <= count <= 8
    assert held(parts) >= max(20, round(frames * shares[1]))
    # One of them in each of as many equal parts of what is before the test.
    width = parts.test[0] / count
    for number, (start, end) in enumerate(parts.validation):
        # The last one moves towards training by the gap before the test.
        assert number * width - 1 - frames / 20 <= start < end <= (number + 1) * width + 1


def test_a_clip_of_four_seconds_leaves_enough_to_train_on() -> None:
    parts = split(120, 0.6667, 0.0833, 60)
    assert held(parts) == 24
    assert len(rows(parts.train)) >= 50
    assert parts.test == (90, 120)
