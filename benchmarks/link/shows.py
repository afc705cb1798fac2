"""The long promises: a hundred kills of the device, fifty of the broker, a long outage, a soak.

Each leaves its figures below `shows` in the result file.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from link.bench import MAY_BLOCK_S, Bench, Driver
from link.cases.spool import folder_bytes, historical
from link.cases.twin import device_settings, revisions
from link.clients import LinkClient, TwinEdgeClient
from link.cost import store
from link.device import DeviceProcess
from link.observer import Observer, eventually
from link.verdict import Verdict
from link.workload import EVENT, NAMESPACE, STREAM, Arrivals, stream_header
from twin_edge.bundle import Bundle
from twin_edge.sync import TwinView
from twin_edge.twin.packet import Flags

CAP_BYTES: Final = 8_000_000
_WATCHED_S: Final = 10.0
"""How long the live view is watched after it had to be there again."""
_FEWEST_REPORTS: Final = 30
"""With fewer, it says nothing that their revisions never fell."""
QUICK: Final = {"backoff_max_s": 2.0}
"""Fifty restarts within minutes are no reason to wait for a minute."""


def run_shows(bundle: Path, results: Path, *, full: bool, minutes: float, only: Sequence[str] | None) -> None:
    """Runs the shows and writes what they found.

    Args:
        bundle: File of the bundle.
        results: The result file.
        full: The long form of the outage: ten minutes and 8 MB.
        minutes: Length of the soak.
        only: Names of those to run; all when None.
    """
    shows: dict[str, tuple[str, Callable[[Bench], None]]] = {
        "kills": ("100 kills of the device", kill_devices),
        "broker-kills": ("50 kills of the broker", kill_brokers),
        "outage": ("outage", outage),
        "soak": (f"soak of {minutes:g} min", lambda bench: soak(bench, minutes)),
    }
    known: dict[str, Any] = json.loads(results.read_bytes()).get("shows", {}) if results.exists() else {}
    for key, (name, run) in shows.items():
        if only is not None and key not in only:
            continue
        began = time.monotonic()
        verdict = Verdict()
        with tempfile.TemporaryDirectory(prefix="twin-link-") as folder:
            bench = Bench("twin-edge", Path(folder), Bundle.open(bundle), full, verdict)
            with bench.stack:
                run(bench)
        known[key] = {
            "name": name,
            "result": verdict.result,
            "evidence": verdict.evidence,
            "seconds": round(time.monotonic() - began, 1),
        }
        print(json.dumps(known[key], ensure_ascii=False))
        store(results, "shows", known)


def kill_devices(bench: Bench, times: int = 100) -> None:
    """Kills a device process at random while it publishes, with and without a broker; everything safe must arrive."""
    broker = bench.broker(persistent=True)
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    chance = random.Random(100)
    made: set[int] = set()
    safe: set[int] = set()
    sessions: list[int] = []
    for _ in range(times):
        (proxy.down if chance.random() < 0.5 else proxy.up)()
        first = max(made, default=0) + 100
        # The broker writes all it has to the disk with each message: with more events, reports never get their turn.
        settings = device_settings(bench, proxy.port, first_event=first, events_per_s=10.0, report_every_s=0.1)
        with DeviceProcess(settings) as device:
            device.wait_ready()
            time.sleep(chance.uniform(0.2, 4.0))
            if chance.random() < 0.3:
                proxy.cut()
                time.sleep(chance.uniform(0.0, 0.3))
            device.kill()
            made |= device.made
            safe |= device.safe
            sessions.append(device.session)
    proxy.up()
    with DeviceProcess(device_settings(bench, proxy.port, first_event=max(made) + 100, events_per_s=2.0)) as device:
        device.wait_ready()
        sessions.append(device.session)
        eventually(lambda: not arrived(safe, observer).lost, 120)
    result = arrived(safe, observer)
    verdict = bench.verdict
    text = f"{times} kills, {len(made)} events made, {len(safe)} said to be safe: {result.text}"
    verdict.check(text, len(safe) > times and not result.lost)
    verdict.check(f"{result.corrupt} corrupt", not result.corrupt)
    verdict.check("session grows by one at each start", sessions == list(range(sessions[0], sessions[0] + times + 1)))
    check_revisions(verdict, observer)


def kill_brokers(bench: Bench, times: int = 50) -> None:
    """Kills a broker with persistence at random while a device publishes; everything must arrive."""
    broker = bench.broker(persistent=True)
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    chance = random.Random(50)
    settings = device_settings(bench, proxy.port, rate=30.0, events_per_s=20.0, options={"broker": QUICK})
    with DeviceProcess(settings) as device:
        device.wait_ready()
        for _ in range(times):
            eventually(lambda: bool(proxy.connections), 20)
            time.sleep(chance.uniform(0.2, 1.5))
            bench.restart_broker(broker, proxy, observer, down_s=chance.uniform(0.0, 0.5))
        proxy.up()
        time.sleep(5)
        eventually(lambda: not arrived(device.made, observer).lost, 60)
        made, safe, stats = set(device.made), set(device.safe), dict(device.stats)
    result = arrived(made, observer)
    bench.verdict.check(
        f"{times} kills, {len(safe)} of {len(made)} events said to be safe; {result.text}", not result.lost
    )
    bench.verdict.check(f"{result.corrupt} corrupt", not result.corrupt)
    bench.verdict.check(f"slowest call {stats['slowest_ms']} ms", stats["slowest_ms"] < 1e3 * MAY_BLOCK_S)
    check_revisions(bench.verdict, observer)


def outage(bench: Bench) -> None:
    """The broker is away for a while at 30 states a second; then history comes, and the live view is young soon."""
    length_s, cap = (600.0, CAP_BYTES) if bench.full else (60.0, CAP_BYTES // 10)
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port, options={"engine": {"max_bytes": cap}})
    url, twin = f"mqtt://127.0.0.1:{broker.port}", f"{NAMESPACE}/{client.setup.device}"
    ages: list[tuple[float, float]] = []
    most = 0
    with Driver(client) as driver, TwinView(url, twin, bench.folder / "cache") as view:
        threading.Thread(target=_follow, args=(view, ages), daemon=True).start()
        time.sleep(3)
        first = driver.states
        proxy.down()
        down_at = time.monotonic()
        while time.monotonic() - down_at < length_s:
            time.sleep(0.5)
            most = max(most, folder_bytes(client.setup.folder))
        last = driver.states
        proxy.up()
        eventually(lambda: client.status().connected, 70)
        up_at = time.monotonic()
        eventually(lambda: _is_young(ages, up_at), 10)
        young_s = time.monotonic() - up_at
        time.sleep(max(0.0, up_at + 5 + _WATCHED_S - time.monotonic()))
        late = [age for at, age in ages if at > up_at + 5]
        eventually(lambda: not _backlog(client), length_s * 2)
        missing = arrived(set(range(driver.events)), observer)
    headers = [header for header in historical(observer) if first <= header.seq < last]
    flagged = sum(bool(header.flags & Flags.HISTORICAL) for header in headers)
    seqs = {header.seq + place for header in headers for place in range(header.count)}
    verdict = bench.verdict
    verdict.check(
        f"{length_s:.0f} s without broker, at most {most / 1e6:.2f} MB on the disk, cap {cap / 1e6:.1f} MB", most <= cap
    )
    text = f"{len(seqs)} of {last - first} states came as history, {flagged} of {len(headers)} packets flagged"
    verdict.check(text, len(seqs) >= 0.9 * (last - first) and flagged == len(headers))
    verdict.check(f"live view at most 1 s behind {young_s:.1f} s after the connection", young_s <= 5)
    verdict.check(f"and {max(late, default=1e9):.2f} s behind at most from 5 s on", max(late, default=1e9) <= 1)
    verdict.check(missing.text, len(missing.lost) <= 1)  # the last one may still be under way


def _is_young(ages: list[tuple[float, float]], since: float) -> bool:
    return any(at > since and age <= 1 for at, age in ages[-200:])


def _backlog(client: LinkClient) -> int:
    return client.link.stats().engine.history_packets if isinstance(client, TwinEdgeClient) else 0


def _follow(view: TwinView, ages: list[tuple[float, float]]) -> None:
    for update in view:
        if not update.historical:
            now = (time.monotonic(), time.time() - update.time_us / 1e6)
            ages.append(now)


def soak(bench: Bench, minutes: float) -> None:
    """30 states a second with a restart of the broker every 5 min, or 3 of them in a shorter soak."""
    every_s = min(300.0, 60 * minutes / 3.5)
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    settings = device_settings(bench, proxy.port, rate=30.0, events_per_s=2.0, report_every_s=1.0)
    written: list[int] = []
    until = time.monotonic() + 60 * minutes
    with DeviceProcess(settings) as device:
        device.wait_ready()
        restarts = 0
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(every_s / 2, left))
            before = device.stats.get("write_bytes", 0)
            time.sleep(max(0.0, min(every_s / 2, until - time.monotonic())))
            written.append(device.stats.get("write_bytes", 0) - before)
            if until - time.monotonic() > 5:
                bench.restart_broker(broker, proxy, observer)
                restarts += 1
        eventually(lambda: not arrived(device.made, observer).lost, 60)
        made, kept, stats = set(device.made), list(device.all_stats), dict(device.stats)
    result = arrived(made, observer)
    verdict = bench.verdict
    verdict.check(f"{minutes:g} min, {restarts} restarts: {result.text}", not result.lost)
    settled = kept[min(30, len(kept) // 4) :]
    third = max(1, len(settled) // 3)
    early = statistics.median(one["rss_kb"] for one in settled[:third]) / 1024
    late = statistics.median(one["rss_kb"] for one in settled[-third:]) / 1024
    verdict.check(f"memory {early:.1f} MB in the first third, {late:.1f} MB in the last", late - early < 2)
    # The spool's files are opened when the broker is away for the first time, and stay open.
    opened = [statistics.median(one["fds"] for one in part) for part in (settled[third : 2 * third], settled[-third:])]
    most = max(one["fds"] for one in settled)
    text = f"{opened[0]:.0f} descriptors in the second third, {opened[1]:.0f} in the last, {most} at most"
    verdict.check(text, opened[1] <= opened[0] and most <= opened[0] + 1)
    verdict.check(f"written to the disk while online, by span: {written} bytes", sum(written[:1]) == 0)
    lags = [
        (heard.clock_us - header.time_us) / 1e3
        for heard in observer.on(STREAM)
        if (header := stream_header(heard.payload)) is not None
    ]
    verdict.check(
        f"lag p99 {statistics.quantiles(lags, n=100)[98]:.0f} ms", statistics.quantiles(lags, n=100)[98] < 1000
    )
    verdict.check(f"slowest call {stats['slowest_ms']} ms", stats["slowest_ms"] < 1e3 * MAY_BLOCK_S)
    check_revisions(verdict, observer)


def arrived(numbers: set[int], observer: Observer) -> Arrivals:
    """Returns what came of some events."""
    return Arrivals.of(numbers, (heard.payload for heard in observer.on(EVENT)))


def check_revisions(verdict: Verdict, observer: Observer) -> None:
    """The revisions of the reports must never fall, in the order in which they came."""
    revs = revisions(observer)
    falls = sum(b < a for a, b in itertools.pairwise(revs))
    verdict.check(f"{len(revs)} reports, revisions fall {falls} times", len(revs) >= _FEWEST_REPORTS and not falls)
