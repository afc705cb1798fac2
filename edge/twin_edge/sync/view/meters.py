"""What is counted of each twin that is followed: rates, latency, and how far reality was from it."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twin_edge.sync.wire.messages import HeardReport

_MEMORY_S: Final = 5.0
_REPORTS: Final = 600
_LATENCIES: Final = 128

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class GapStats:
    """How far reality was from a twin, by its reports."""

    last: float | None
    """The last one, 0-1; None when there was none."""
    mean: float | None
    """Mean of the last 600 reports that had one."""
    p95: float | None
    """Their 95th percentile."""
    reports: int
    """Reports that were heard."""
    out_of_sync_s: float
    """Seconds for which reality had left the twin, from the report that says so to the one that says otherwise, or
    until the device went offline."""


@dataclass(frozen=True, slots=True)
class TwinStats:
    """Counters of one twin since it was found."""

    states: int
    """States that came live."""
    historical: int
    """States that came late, after an outage."""
    missed: int
    """States that were lost on the way or refused, those included that came late after all."""
    dropped: int
    """States lost here, because they were not fetched in time."""
    duplicates: int
    """States that came twice or too late."""
    malformed: int
    """Messages that were refused."""
    lost_packets: int
    """Packets that could not be read because one before them had not come."""
    unknown_model: int
    """Packets of a bundle that we did not have yet."""
    resyncs: int
    """Requests sent to the device."""
    fps: float
    """States per second, over the last 5 s or so."""
    kbps: float
    """Rate of its packets with their headers, without those of MQTT and below, kbit/s, likewise."""
    latency_p50_ms: float | None
    """Median of the last 128 packets: from the capture of a packet's last state until it was decoded here,
    milliseconds; as right as the two clocks agree."""
    latency_p95_ms: float | None
    """95th percentile of them."""
    gap: GapStats
    """How far reality was from it."""


class Rate:
    """A rate that forgets: each amount weighs less the older it is.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = ("_at", "_clock", "_since", "_sum")

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._sum = 0.0
        self._at = self._since = clock()

    def add(self, amount: float, now: float) -> None:
        """Adds an amount at a monotonic time in seconds."""
        self._sum = self._sum * math.exp((self._at - now) / _MEMORY_S) + amount
        self._at = now

    def per_second(self) -> float:
        """Returns the rate, in the unit of the amounts per second."""
        now = self._clock()
        weight = _MEMORY_S * (1 - math.exp((self._since - now) / _MEMORY_S))
        return self._sum * math.exp((self._at - now) / _MEMORY_S) / weight if weight > 0 else 0.0


class Ring:
    """The newest numbers, in little memory.

    Args:
        capacity: How many are kept.
    """

    __slots__ = ("_capacity", "_count", "_values")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values = array("d")
        self._count = 0

    def add(self, value: float) -> None:
        """Adds a number."""
        if len(self._values) < self._capacity:
            self._values.append(value)
        else:
            self._values[self._count % self._capacity] = value
        self._count += 1

    def mean(self) -> float | None:
        """Returns the mean, None without a number."""
        values = self._values[:]
        return sum(values) / len(values) if values else None

    def quantile(self, share: float) -> float | None:
        """Returns the number that a share of them, 0-1, is not above; None without a number."""
        values = sorted(self._values)
        return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else None


class Meters:
    """Measures one twin; written by the network thread, read by any.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._states = Rate(clock)
        self._bytes = Rate(clock)
        self._latency = Ring(_LATENCIES)
        self._gaps = Ring(_REPORTS)
        self._last_gap: float | None = None
        self._reports = 0
        self._out_s = 0.0
        self._out_since: float | None = None

    def packet(self, states: int, size: int, latency_ms: float | None) -> None:
        """Takes a live packet: how many new states, its bytes, and the age of its last state where that counts."""
        now = self._clock()
        self._states.add(states, now)
        self._bytes.add(size, now)
        if latency_ms is not None:
            self._latency.add(latency_ms)

    def report(self, report: HeardReport) -> None:
        """Takes a state report."""
        self._reports += 1
        self._last_gap = report.gap
        if report.gap is not None:
            self._gaps.add(report.gap)
        self._judge(out=report.in_sync is False)

    def offline(self) -> None:
        """The device has gone: nothing is known about reality any more."""
        self._judge(out=False)

    def _judge(self, *, out: bool) -> None:
        now = self._clock()
        if self._out_since is not None:
            self._out_s += now - self._out_since
        self._out_since = now if out else None

    @property
    def fps(self) -> float:
        """States per second."""
        return self._states.per_second()

    @property
    def kbps(self) -> float:
        """Rate of the packets, kbit/s."""
        return 8e-3 * self._bytes.per_second()

    def latency_ms(self, share: float) -> float | None:
        """Returns a quantile of the latency, milliseconds; None without a packet."""
        return self._latency.quantile(share)

    def gap(self) -> GapStats:
        """Returns what is known about the gap."""
        since = self._out_since
        out_s = self._out_s + (0.0 if since is None else self._clock() - since)
        return GapStats(self._last_gap, self._gaps.mean(), self._gaps.quantile(0.95), self._reports, out_s)
