from __future__ import annotations

import pytest

from twin_edge.runtime.reporting import RecentGap, ReportSchedule, SyncJudge

FRAME_S = 1 / 30


def feed(judge: SyncJudge, gaps: list[float], start_s: float = 0.0) -> list[bool]:
    return [judge.judge(gap, start_s + i * FRAME_S) for i, gap in enumerate(gaps)]


def test_five_strange_frames_of_eight_are_out_of_sync():
    assert feed(SyncJudge(), [0.995] * 5) == [True] * 4 + [False]


def test_scattered_strange_frames_are_in_sync():
    assert all(feed(SyncJudge(), [0.995, 0.5] * 50))


def test_a_second_below_the_lower_threshold_brings_it_back():
    judge = SyncJudge()
    feed(judge, [0.999] * 8)
    back = feed(judge, [0.9] * 40, 1.0)
    assert not any(back[:30])
    assert all(back[31:])


def test_between_the_thresholds_nothing_comes_back():
    judge = SyncJudge()
    feed(judge, [0.999] * 8)
    assert not any(feed(judge, [0.97] * 300, 1.0))


def test_one_high_frame_starts_the_second_again():
    judge = SyncJudge()
    feed(judge, [0.999] * 8)
    assert not any(feed(judge, ([0.5] * 29 + [0.96]) * 5, 1.0))


def test_recent_gap_is_the_median_of_a_second():
    recent = RecentGap()
    assert recent.median(0.0) is None
    for i in range(200):
        recent.add(0.9, i * 0.01)
    for i in range(100):
        recent.add(0.2, 2.0 + i * 0.01)
    assert recent.median(3.0) == pytest.approx(0.2)


def test_recent_gap_of_a_slow_camera_is_the_last_one():
    recent = RecentGap()
    recent.add(0.3, 0.0)
    assert recent.median(20.0) == pytest.approx(0.3)


def test_reports_come_once_a_second_at_most():
    schedule = ReportSchedule()
    due = [schedule.is_due(i * 0.1, gap=i % 2, in_sync=True, properties={}) for i in range(30)]
    assert sum(due) == 3
    assert due[0]


@pytest.mark.parametrize(
    ("before", "now", "due"),
    [
        ((0.5, True, {}), (0.55, True, {}), False),
        ((0.5, True, {}), (0.65, True, {}), True),
        ((0.95, True, {}), (0.98, True, {}), True),
        ((0.95, True, {}), (0.96, True, {}), False),
        ((0.99, True, {}), (0.99, False, {}), True),
        ((0.5, True, {}), (None, None, {}), True),
        ((0.5, True, {"light": "run"}), (0.5, True, {"light": "stop"}), True),
    ],
)
def test_what_counts_as_a_change(before, now, due):
    schedule = ReportSchedule()
    for at_s, (gap, in_sync, properties) in ((0.0, before), (2.0, now)):
        result = schedule.is_due(at_s, gap=gap, in_sync=in_sync, properties=properties)
    assert result is due


def test_heartbeat_after_a_minute_without_change():
    schedule = ReportSchedule()
    due = [s for s in range(130) if schedule.is_due(float(s), gap=0.5, in_sync=True, properties={})]
    assert due == [0, 60, 120]
