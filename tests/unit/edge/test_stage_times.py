from __future__ import annotations

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
