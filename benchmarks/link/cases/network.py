"""The network between device and broker: cases 4-7 and 21."""

from __future__ import annotations

import time

from link.bench import (
    Bench,
    Driver,
    arrivals,
    check_never_blocked,
    lag_s,
    seconds,
    wait_loss_seen,
)
from link.cases.registry import case
from link.observer import Observer, eventually
from link.rules import Way
from link.workload import AVAIL, EVENT, STREAM, is_whole, made_at_us


@case(4, "cut in the middle of a PUBLISH", expect="no corrupt message accepted, no event lost")
def cut_mid_publish(bench: Bench) -> None:
    """Events 20 times a second; the proxy resets the connection after k bytes, k over a whole event."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    cuts = list(range(1, 400)) if bench.full else list(range(1, 300, 37))
    until = time.monotonic() + (3600 if bench.full else 45)
    done = 0
    with Driver(client, rate=10, event_every_s=0.05) as driver:
        for count in cuts:
            if not eventually(lambda: client.status().connected and proxy.connections, until - time.monotonic()):
                break
            time.sleep(0.2)
            proxy.rules[Way.UP].cut_after = count
            done += eventually(lambda: proxy.rules[Way.UP].cut_after is None, 5)
        time.sleep(1)
    came = arrivals(driver, observer, 20)
    length = bench.bundle.manifest.state.length
    corrupt = sum(not is_whole(heard.payload, length) for heard in observer.on(STREAM))
    bench.verdict.check(f"{done} of {len(cuts)} cuts done", done >= min(3, len(cuts)))
    bench.verdict.check(came.text, not came.lost)
    bench.verdict.check(f"{came.corrupt + corrupt} corrupt messages accepted", not came.corrupt and not corrupt)
    if not bench.full:
        bench.verdict.note("every 37th of 400 places to cut; all with --full")


@case(5, "acknowledgements lost", expect="sent again, nothing lost, duplicates can be told by their number")
def acknowledgements_lost(bench: Bench) -> None:
    """The proxy eats everything from the broker to the device for 5 s, then the connection breaks."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    with Driver(client, event_every_s=0.1) as driver:
        time.sleep(1)
        proxy.rules[Way.DOWN].dropped = True
        time.sleep(5)
        proxy.cut()
        proxy.rules[Way.DOWN].dropped = False
        time.sleep(2)
    came = arrivals(driver, observer, 20)
    bench.verdict.check(came.text, not came.lost)
    bench.verdict.check(f"{came.corrupt} without a number to tell repetitions by", not came.corrupt)
    check_never_blocked(bench.verdict, driver)


@case(6, "slow link: 8 kbit/s, 2 s round trip, 30 % loss", expect="states thinned out, events first, lag bounded")
def slow_link(bench: Bench) -> None:
    """Raw states at 30/s need 29 kbit/s; there are 8. An event every 2 s must come soon, the newest state too."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    proxy.slow(kbit_s=8, round_trip_s=2, loss=0.3 if bench.full else 0.0)
    length_s = 120.0 if bench.full else 35.0
    with Driver(client, event_every_s=2, report_every_s=5) as driver:
        time.sleep(length_s)
        lag = lag_s(observer, time.monotonic() - 8)
        events = observer.on(EVENT)
    waits = sorted((heard.clock_us - made_at_us(heard.payload)) / 1e6 for heard in events)
    expected = int(length_s / 2) - 5
    bench.verdict.check(f"{len(events)} of about {int(length_s / 2)} events came meanwhile", len(events) >= expected)
    worst = waits[-1] if waits else float("inf")
    bench.verdict.check(f"slowest event {seconds(worst)}", worst < 10)
    bench.verdict.check(f"newest state {seconds(lag)} old", lag < 10)
    bench.verdict.check(f"connected in the end: {client.status().connected}", client.status().connected)
    check_never_blocked(bench.verdict, driver)
    proxy.slow()
    came = arrivals(driver, observer, 15)
    bench.verdict.check(came.text, not came.lost)
    if not bench.full:
        bench.verdict.note("without loss; with 30 % of segments late by a timeout and a round trip with --full")


@case(7, "half-open after a NAT has forgotten it", expect="noticed within 15 s, newest state at most 1 s old after it")
def half_open(bench: Bench) -> None:
    """The proxy forgets the connection and tells neither end; new connections pass."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    with Driver(client) as driver:
        time.sleep(1)
        lost_at = time.monotonic()
        connects = len(proxy.attempts)
        proxy.orphan()
        seen = wait_loss_seen(client, lost_at, 25)
        bench.verdict.check(f"loss noticed after {seconds(seen)}", seen <= 15)
        check_recovers(bench, observer, proxy_has=lambda: len(proxy.attempts) > connects)
    came = arrivals(driver, observer, 10)
    bench.verdict.check(came.text, not came.lost)
    check_never_blocked(bench.verdict, driver)


def check_recovers(bench: Bench, observer: Observer, proxy_has: object = None) -> None:
    """The newest state must be young again within five seconds of a new connection."""
    if callable(proxy_has):
        eventually(proxy_has, 5)
    time.sleep(4)
    lag = lag_s(observer, time.monotonic() - 1.5)
    bench.verdict.check(f"newest state {seconds(lag)} old afterwards", lag <= 1)


@case(
    21, "link that breaks every 3 s", expect="availability not toggled more than needed, back-off grows, nothing lost"
)
def flapping(bench: Bench) -> None:
    """The connection is reset 3 s after it came up, ten times (100 with --full)."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    until = time.monotonic() + (300 if bench.full else 36)
    cuts, waits = 0, []
    with Driver(client, rate=10, event_every_s=0.2) as driver:
        while time.monotonic() < until:
            time.sleep(3)
            if proxy.connections:
                proxy.cut()
                cut_at = time.monotonic()
                cuts += 1
                eventually(lambda: proxy.connections, min(30.0, max(0.1, until - time.monotonic())))
                waits.append(time.monotonic() - cut_at)
    came = arrivals(driver, observer, 40)
    offline = sum(b'"offline"' in heard.payload for heard in observer.on(AVAIL) if not heard.retained)
    bench.verdict.check(f"{cuts} breaks, availability went offline {offline} times", offline <= cuts / 3)
    half = len(waits) // 2
    early, late = sum(waits[:half]) / max(1, half), sum(waits[half:]) / max(1, len(waits) - half)
    bench.verdict.check(
        f"mean wait for a new connection {early:.1f} s in the first half, {late:.1f} s in the second", late > early
    )
    bench.verdict.check(came.text, not came.lost)
    final = observer.last(AVAIL)
    bench.verdict.check("online in the end", final is not None and b'"online"' in final.payload)
    if not bench.full:
        bench.verdict.note("for 36 s instead of 5 min")
