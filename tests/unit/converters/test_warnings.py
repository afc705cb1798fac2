"""What conversion leaves out of the warnings of training, because it measures that itself."""

from __future__ import annotations

from twin_converters import run
from twin_training.diagnosis import WORSE_THAN_BASELINE


def test_what_is_settled_here_is_what_training_calls_so() -> None:
    """Neither package imports the other: the word stands in both."""
    assert run._SETTLED_HERE == WORSE_THAN_BASELINE
