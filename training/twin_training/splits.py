"""Where a recording is cut: training, several validation blocks spread over it, and the test at its end.

Light, position and mood drift over minutes, so a single block says little of what is normal: whatever is special about
that minute is taken for the subject. Several short blocks, each away from what is trained on, show how much one part of
the recording differs from another, which is what calibration has to know. The test stays the contiguous last part,
because that is what deployment is: the time after the recording.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

LEAST_FRAMES: Final = 100
"""Fewest frames of a recording that can be split."""
_LEAST_VALIDATION: Final = 40
_MOST_SHORT_SHARE: Final = 5
"""A short recording gives a fifth at most to reach that."""
_BLOCK_FRAMES: Final = 8
_LEAST_BLOCKS, _MOST_BLOCKS = 3, 8
_GAPS_SHARE: Final = 0.1
_TEST_GAP: Final = 20


@dataclass(frozen=True, slots=True)
class Split:
    """Frames of a recording, each range half-open: first row, row after the last one."""

    train: tuple[tuple[int, int], ...]
    """What is trained on, before and between the validation blocks."""
    validation: tuple[tuple[int, int], ...]
    """The validation blocks."""
    test: tuple[int, int]
    """The test: everything from there to the end."""


def split(frames: int, train_share: float, validation_share: float, gap: int) -> Split:
    """Splits a recording.

    The blocks are evenly spread over all that is before the test: one in the middle of each of as many equal parts, but
    the last one at the end, with nothing after it that is trained on. That one is as far from training as the test is.
    A short recording gets fewer of them, a larger share of validation and smaller gaps.

    Args:
        frames: How many frames there are, 100 or more.
        train_share: Share to train on, 0-1; the gaps are taken from it.
        validation_share: Share of all validation blocks together, 0-1.
        gap: Frames to leave out between what is trained on and what is not, 0 or more; less where a tenth of what is
            before the test would go into gaps.
    """
    head = round(frames * (train_share + validation_share))
    held = max(round(frames * validation_share), min(_LEAST_VALIDATION, frames // _MOST_SHORT_SHARE))
    count = min(_MOST_BLOCKS, max(_LEAST_BLOCKS, held // _BLOCK_FRAMES))
    between = min(gap, int(head * _GAPS_SHARE) // (2 * count - 1))
    before_test = min(gap, frames // _TEST_GAP)
    edges = [round(number * head / count) for number in range(count + 1)]
    sizes = [(number + 1) * held // count - number * held // count for number in range(count)]
    validation = []
    for first, after, size in zip(edges[:-1], edges[1:], sizes, strict=True):
        start = head - before_test - size if after == head else first + (after - first - size) // 2
        validation.append((start, start + size))
    starts = [0, *(end + between for _, end in validation[:-1])]
    ends = [start - between for start, _ in validation]
    train = tuple((start, end) for start, end in zip(starts, ends, strict=True) if end > start)
    return Split(train, tuple(validation), (head, frames))


def without(parts: Split, blocks: Collection[int]) -> Split:
    """Returns a split in which some validation blocks are trained on, with the gaps around them.

    Args:
        parts: The split.
        blocks: Numbers of the blocks; not the last one, which has no training after it.
    """
    train = list(parts.train)
    for number in blocks:
        start, end = parts.validation[number]
        before = [one for one in train if one[1] <= start]
        after = [one for one in train if one[0] >= end]
        joined = (before[-1][0] if before else start, after[0][1] if after else end)
        train = [*before[:-1], joined, *after[1:]]
    kept = tuple(block for number, block in enumerate(parts.validation) if number not in blocks)
    return Split(tuple(train), kept, parts.test)
