"""A view as a network with or without color takes it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.models import in_channels


def test_with_color_it_is_the_view_itself() -> None:
    view = np.zeros((4, 5, 3), np.uint8)
    assert in_channels(view, 3) is view


@given(st.integers(0, 255))
def test_gray_stays_what_it_is(level: int) -> None:
    gray = in_channels(np.full((4, 5, 3), level, np.uint8), 1)
    assert gray.shape == (4, 5, 1)
    assert (gray == level).all()


def test_green_is_brighter_than_blue() -> None:
    view = np.zeros((1, 2, 3), np.uint8)
    view[0, 0, 1] = view[0, 1, 2] = 200
    gray = in_channels(view, 1)[0, :, 0]
    assert gray[0] > 3 * gray[1] > 0
