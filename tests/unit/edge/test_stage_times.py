from __future__ import annotations

import math

import pytest

from twin_edge.stage_times import StageTimes


def test_nothing_before_the_first_frame():
    assert StageTimes(("a",)).spreads() == {}


def test_percentiles_of_the_newest_frames_only():
    times = StageTimes(("a", "b"), capacity=100)
    for i in range(250):
        times.next_row()[:] = (i, 1)
    spreads = times.spreads()
    assert spreads["a"].p50_ms == pytest.approx(199.5)
    assert spreads["a"].p95_ms == pytest.approx(244.05)
    assert spreads["b"].p50_ms == spreads["b"].p95_ms == 1
    assert times.spreads(newest=1)["a"].p50_ms == 249
    assert times.count == 250


def test_stages_that_a_frame_did_not_have_do_not_count():
    times = StageTimes(("always", "seldom", "never"))
    for number in range(10):
        times.next_row()[:] = (1, 7 if number % 5 == 0 else math.nan, math.nan)
    spreads = times.spreads()
    assert spreads["seldom"].p50_ms == spreads["seldom"].p95_ms == 7
    assert "never" not in spreads
