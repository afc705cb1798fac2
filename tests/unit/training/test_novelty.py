"""A block that shows what nothing else does is trained on; the last one never, and enough of them stay."""

from __future__ import annotations

import numpy as np
import pytest

from twin_training.novelty import novel_blocks
from twin_training.splits import split, without

FRAMES = 900


def recording(strange: tuple[int, ...]) -> tuple[np.ndarray, object]:
    """Returns views of a square that goes to and fro, elsewhere in the strange blocks, and their split."""
    parts = split(FRAMES, 0.72, 0.1, 4)
    views = np.full((FRAMES, 32, 32, 3), 90, np.uint8)
    views += np.random.default_rng(1).integers(0, 6, views.shape, np.uint8)
    for row in range(FRAMES):
        place = 8 + int(5 * np.sin(row / 3))
        views[row, 6:12, place : place + 5] = 200
    for number in strange:
        start, end = parts.validation[number]
        views[start:end, 20:28, 3 + 3 * number : 10 + 3 * number] = 220
    return views, parts


def test_nothing_is_novel_where_all_blocks_are_alike():
    assert novel_blocks(*recording(())) == ()


def test_what_only_one_block_shows_is_found():
    assert novel_blocks(*recording((2,))) == (2,)


def test_the_last_block_stays_held_out():
    views, parts = recording(())
    start, end = parts.validation[-1]
    views[start:end, 20:28, 3:10] = 220
    assert novel_blocks(views, parts) == ()


def test_where_every_block_is_unlike_the_next_none_is_novel():
    """As of a person: the hard blocks are what is to come."""
    views, parts = recording(())
    for number, (start, end) in enumerate(parts.validation):
        size = 1 + number * number
        views[start:end, 16:31, 1 : 1 + min(size, 30)] = 215
    assert novel_blocks(views, parts) == ()


def test_half_of_the_blocks_stay():
    views, parts = recording((0, 1, 2))
    count = len(parts.validation)
    found = novel_blocks(views, parts)
    assert 1 <= len(found) <= count // 2


@pytest.mark.parametrize("blocks", [(0,), (2,), (0, 1), (1, 3)])
def test_given_blocks_are_trained_on_and_nothing_else_changes(blocks):
    parts = split(FRAMES, 0.72, 0.1, 4)
    more = without(parts, blocks)
    assert more.test == parts.test
    assert more.validation == tuple(one for number, one in enumerate(parts.validation) if number not in blocks)
    trained = {row for start, end in more.train for row in range(start, end)}
    assert {row for start, end in parts.train for row in range(start, end)} <= trained
    for number in blocks:
        assert set(range(*parts.validation[number])) <= trained
    for start, end in more.validation:
        assert not trained & set(range(start - 3, end + 3))
    assert all(a[1] <= b[0] for a, b in zip(more.train, more.train[1:], strict=False))
