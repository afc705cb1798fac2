"""Validation blocks that show what nothing of the training part does.

What a subject does once in a recording may fall into a block that is held out: then nothing learns it, and the block is
too unlike the others to say what is normal. It is worth more when it is trained on.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_training.splits import Split

_SIDE: Final = 64
_MOST_SAMPLES: Final = 600
_COMPONENTS: Final = 96
_NOVEL: Final = 2.5
"""A block is novel from this many times the usual error on."""
_MOST_Z: Final = 2.75
"""And from so many deviations of the logarithms on: where every block is unlike the next, as a person's are, the hard
ones are what is to come, and to calibrate without them would be to promise too much."""
_DEVIATIONS: Final = 1.4826
"""Standard deviations of a normal distribution to a median absolute deviation."""
_LEAST_KEPT: Final = 0.5
_LEAST_BLOCKS: Final = 3
_LEAST_FRAMES: Final = 40

Views = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]


def novel_blocks(views: Views, parts: Split) -> tuple[int, ...]:
    """Returns the numbers of the blocks that are novel, the most novel first.

    Principal components of the training part are to explain each block as well as the others: the median of a block's
    frames counts, so that a moment is none, and the robust z-score of its logarithm among the blocks. The last block
    stays held out whatever it shows: it is as far from training as the test is. So do half of the blocks, three of them
    and 40 frames at least.

    Args:
        views: The whole recording, uint8 RGB of shape (n, size, size, 3).
        parts: How it is split.
    """
    train = _small(views, np.concatenate([np.arange(start, end) for start, end in parts.train]))
    mean = train.mean(0)
    train -= mean
    basis = _components(train)
    errors = []
    for start, end in parts.validation:
        block = _small(views, np.arange(start, end)) - mean
        missed = np.square(block).sum(1) - np.square(block @ basis.T).sum(1)
        errors.append(float(np.median(missed)))
    usual = float(np.median(np.log(np.maximum(errors, 1e-6))))
    apart = np.log(np.maximum(errors, 1e-6)) - usual
    least = max(float(np.log(_NOVEL)), _MOST_Z * _DEVIATIONS * float(np.median(np.abs(apart))))
    order = [int(number) for number in np.argsort(errors)[::-1] if number < len(errors) - 1]
    found: list[int] = []
    frames = sum(end - start for start, end in parts.validation)
    for number in order:
        start, end = parts.validation[number]
        left = len(errors) - len(found) - 1
        frames -= end - start
        if apart[number] < least or left < max(_LEAST_BLOCKS, _LEAST_KEPT * len(errors)) or frames < _LEAST_FRAMES:
            break
        found.append(number)
    return tuple(found)


def _small(views: Views, rows: npt.NDArray[np.int64]) -> _Floats:
    """Returns at most 600 of some rows of the views, small and flat, float32 of shape (n, values)."""
    some = rows[:: max(1, -(-len(rows) // _MOST_SAMPLES))]
    small = [cv2.resize(views[row], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for row in some]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)


def _components(centered: _Floats) -> _Floats:
    """Returns the strongest principal components, of unit length, float32 of shape (count, values)."""
    _, vectors = np.linalg.eigh(centered @ centered.T)
    count = min(_COMPONENTS, len(centered) // 2)
    basis = vectors[:, ::-1][:, :count].T.astype(np.float32) @ centered
    return np.asarray(basis / (np.linalg.norm(basis, axis=1, keepdims=True) + 1e-9), np.float32)
