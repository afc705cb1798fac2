from __future__ import annotations

import numpy as np
import pytest

from twin_edge.runtime.reporting import GapSchedule, RecentGap, ReportSchedule, SyncJudge

FRAME_S = 1 / 30


def feed(judge: SyncJudge, gaps: list[float], start_s: float = 0.0) -> list[bool]:
    return [judge.judge(gap, start_s + i * FRAME_S) for i, gap in enumerate(gaps)]


def test_five_strange_frames_of_eight_are_out_of_sync():
    assert feed(SyncJudge(), [0.995] * 5) == [True] * 4 + [False]


def test_scattered_strange_frames_are_in_sync():
    assert all(feed(SyncJudge(), [0.995, 0.5] * 50))


def test_a_second_below_the_lower_threshold_brings_it_back():
    judge = SyncJudge()
    feed(judge, [0.999] * 38)
    back = feed(judge, [0.9] * 60, 38 * FRAME_S)
    assert not any(back[:22])
    assert all(back[23:])


def test_between_the_thresholds_nothing_comes_back():
    judge = SyncJudge()
    feed(judge, [0.999] * 8)
    assert not any(feed(judge, [0.97] * 300, 1.0))


@pytest.mark.parametrize("fps", [4, 5, 15, 30, 60])
def test_the_twentieth_of_normal_frames_that_is_high_does_not_keep_it_out(fps: int):
    """A second without any of them would be a matter of luck, and of frames per second."""
    judge = SyncJudge()
    for number in range(8):
        judge.judge(0.999, number / fps)
    gaps = np.random.default_rng(fps).uniform(0, 1, 10 * fps)
    times_s = (8 + np.arange(len(gaps))) / fps
    back_s = next(time_s for gap, time_s in zip(gaps, times_s, strict=True) if judge.judge(float(gap), time_s))
    assert back_s - times_s[0] < 2.5


@pytest.mark.parametrize("fps", [1, 5, 30])
def test_a_quarter_of_high_frames_does(fps: int):
    judge = SyncJudge()
    for number in range(8):
        judge.judge(0.999, number / fps)
    gaps = ([0.5] * 2 + [0.999]) * 50
    assert not any(judge.judge(gap, (8 + number) / fps) for number, gap in enumerate(gaps))


def test_what_is_found_in_a_file_does_not_depend_on_how_fast_it_is_read():
    """The frames' own time counts: nobody says here how long it took between them."""
    gaps = [0.5] * 10 + [0.999] * 10 + [0.5] * 40
    found = feed(SyncJudge(), gaps)
    assert found == [True] * 14 + [False] * 31 + [True] * 15
    # Ten frames a second are calm for as long, so for fewer frames.
    judge = SyncJudge()
    slow = [judge.judge(gap, number / 10) for number, gap in enumerate(gaps)]
    assert slow.count(False) == 13


def test_a_clock_that_is_set_back_starts_the_second_again():
    judge = SyncJudge()
    feed(judge, [0.999] * 8, 1000.0)
    assert not any(feed(judge, [0.5] * 15, 1000.5))
    back = feed(judge, [0.5] * 40, 10.0)
    assert not any(back[:29])
    assert back[-1]
    schedule = GapSchedule(100)
    schedule.measured(0.1, 1000.0, in_sync=True)
    assert not schedule.is_due(1000.1)
    assert schedule.is_due(10.0)


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


def measured_frames(schedule, gaps, fps):
    """Returns the numbers of the frames that a schedule measures, given what each would have shown."""
    numbers = []
    for number, gap in enumerate(gaps):
        if schedule.is_due(number / fps):
            numbers.append(number)
            schedule.measured(gap, number / fps, in_sync=True)
    return numbers


def test_every_nth_frame_is_measured_while_all_is_calm():
    assert measured_frames(GapSchedule(5), [0.5] * 16, 30) == [0, 5, 10, 15]
    assert measured_frames(GapSchedule(1), [0.5] * 4, 30) == [0, 1, 2, 3]


def test_a_slow_camera_is_measured_five_times_a_second():
    assert measured_frames(GapSchedule(100), [0.5] * 9, 8) == [0, 2, 4, 6, 8]
    assert measured_frames(GapSchedule(100), [0.5] * 4, 2) == [0, 1, 2, 3]


def test_something_strange_is_looked_at_closely_until_it_is_over():
    gaps = [0.5] * 6 + [0.999] * 6 + [0.5] * 12
    assert measured_frames(GapSchedule(5), gaps, 30) == [0, 5, 10, 11, 12, 17, 22]


def test_out_of_sync_every_frame_is_measured_and_a_new_start_measures_at_once():
    schedule = GapSchedule(5)
    assert schedule.is_due(0.0)
    schedule.measured(0.1, 0.0, in_sync=False)
    assert schedule.is_due(0.01)
    schedule.measured(0.1, 0.01, in_sync=True)
    assert not schedule.is_due(0.02)
    schedule.restart()
    assert schedule.is_due(0.03)


def test_seldom_measuring_delays_being_out_of_sync_by_no_more_than_a_fifth_of_a_second():
    def noticed_s(every):
        schedule, judge = GapSchedule(every), SyncJudge()
        for number in range(300):
            now_s = number / 30
            gap = 1.0 if number >= 62 else 0.5
            if schedule.is_due(now_s):
                schedule.measured(gap, now_s, in_sync=judge.judge(gap, now_s))
            if not judge.in_sync:
                return now_s
        return None

    assert noticed_s(100) - noticed_s(1) <= 0.2
    assert noticed_s(5) - noticed_s(1) <= 4 / 30 + 1e-9
