import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.sync import HeardReport
from twin_edge.sync.view.meters import Meters, Rate, Ring


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def report(rev, gap, in_sync):
    return HeardReport(rev, rev, gap, in_sync, {})


def test_the_rate_is_right_from_the_beginning_and_forgets():
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second() == 0
    for _ in range(20):
        clock.now += 0.1
        rate.add(3, clock.now)
    assert rate.per_second() == pytest.approx(30, rel=0.05)
    for _ in range(300):
        clock.now += 0.1
        rate.add(1, clock.now)
    assert rate.per_second() == pytest.approx(10, rel=0.02)
    clock.now += 60
    assert rate.per_second() < 0.001


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.5, 0.95, 1.0]))
def test_quantiles_are_of_the_newest(values, share):
    ring = Ring(16)
    for value in values:
        ring.add(value)
    newest = values[-16:]
    assert ring.mean() == pytest.approx(sum(newest) / len(newest))
    assert ring.quantile(share) == np.quantile(newest, share, method="inverted_cdf")


def test_the_time_out_of_sync_goes_from_report_to_report():
    clock = Clock()
    meters = Meters(clock)
    assert meters.gap().mean is None
    meters.report(report(1, 0.5, in_sync=True))
    clock.now += 5
    meters.report(report(2, 1.0, in_sync=False))
    clock.now += 3
    assert meters.gap().out_of_sync_s == pytest.approx(3)
    meters.report(report(3, 0.995, in_sync=False))
    clock.now += 2
    meters.report(report(4, 0.5, in_sync=True))
    clock.now += 10
    gap = meters.gap()
    assert (gap.last, gap.reports, gap.p95) == (0.5, 4, 1.0)
    assert gap.mean == pytest.approx((0.5 + 1.0 + 0.995 + 0.5) / 4)
    assert gap.out_of_sync_s == pytest.approx(5)
    meters.report(report(5, None, in_sync=False))
    clock.now += 1
    meters.offline()
    clock.now += 100
    assert meters.gap().out_of_sync_s == pytest.approx(6)
    assert meters.gap().last is None


def test_packets_make_rates_and_latency():
    clock = Clock()
    meters = Meters(clock)
    assert meters.latency_ms(0.5) is None
    for n in range(40):
        clock.now += 0.25
        meters.packet(5, 100, None if n == 0 else float(n))
    assert meters.fps == pytest.approx(20, rel=0.05)
    assert meters.kbps == pytest.approx(3.2, rel=0.05)
    assert meters.latency_ms(0.5) == 20
