"""What is kept while there is no broker: cases 8-10."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from link.bench import KEY_EVERY, MAY_BLOCK_S, Bench, Driver, arrivals, check_never_blocked, peak_mb
from link.cases.registry import case
from link.cases.twin import device_settings, revisions
from link.clients import TwinEdgeClient
from link.device import DeviceProcess
from link.observer import Observer, eventually
from link.verdict import NotRunnableError, Verdict
from link.workload import EVENT, HISTORY, STREAM, Arrivals
from twin_edge.sync.wire.history import parse_history
from twin_edge.twin.packet import Flags, PacketHeader

CAP_BYTES: Final = 8_000_000
STATE_US: Final = 33_333
"""Between two states."""
DAY_STATES: Final = 24 * 3600 * 30
"""States of a day."""
FILE_BYTES: Final = 100_000
"""What a file may have on the full disk."""


@case(
    8, "24 h without broker at 30 states/s, cap 8 MB", expect="cap held, drops counted, history flagged and throttled"
)
def day_offline(bench: Bench) -> None:
    """A day's states, as fast as they go but dated as they would be; then the broker comes.

    Without --full, a thirtieth of the states, a fifth of the cap, and a shorter back-off.
    """
    states, cap = (DAY_STATES, CAP_BYTES) if bench.full else (DAY_STATES // 30, CAP_BYTES // 5)
    options = {"engine": {"max_bytes": cap}, "broker": {"backoff_max_s": 5.0}} if bench.is_ours else {}
    broker = bench.broker("max_queued_messages 0")
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port, options=options)
    proxy.down()
    eventually(lambda: not client.status().connected, 20)
    memory_mb, maker, most_disk = peak_mb(), client.setup.states, 0
    driver = Driver(client, event_every_s=0.5)
    began = time.monotonic()
    began_us = time.time_ns() // 1000 - states * STATE_US
    for seq in range(states):
        flags = Flags.NONE if seq % KEY_EVERY else Flags.KEY
        packet = maker.packet(seq, flags, began_us + seq * STATE_US)
        driver.pace.call(functools.partial(client.stream, packet))
        if seq % 2000 == 0:
            most_disk = max(most_disk, folder_bytes(client.setup.folder))
            driver.event()
            time.sleep(0.02)
    time.sleep(1.5)
    most_disk = max(most_disk, folder_bytes(client.setup.folder))
    took, grown_mb = time.monotonic() - began, peak_mb() - memory_mb
    driver.states = states
    verdict = bench.verdict
    verdict.check(f"{states} states in {took:.0f} s; memory grew by {grown_mb:.1f} MB", grown_mb < 40)
    verdict.check(f"at most {most_disk / 1e6:.2f} MB on the disk, cap {cap / 1e6:.2f} MB", most_disk <= cap)
    if isinstance(client, TwinEdgeClient):
        kept = client.link.stats().engine
        counted = kept.history_states + kept.decimated + kept.dropped
        text = f"{kept.history_states} kept, {kept.decimated} thinned out, {kept.dropped} dropped"
        verdict.check(f"{text}: {counted} of {states}", counted == states)
    up_at = time.monotonic()
    proxy.up()
    with driver:
        eventually(lambda: client.status().connected, 12)
        time.sleep(15)
    came = arrivals(driver, observer, 10)
    verdict.check(came.text, not came.lost)
    headers = [header for header in historical(observer) if header.seq < states]
    span = (headers[-1].seq - headers[0].seq) / states if headers else 0.0
    flagged = sum(bool(header.flags & Flags.HISTORICAL) for header in headers)
    text = f"{len(headers)} packets of history in 15 s, {flagged} flagged, spanning {100 * span:.0f} % of the outage"
    verdict.check(text, len(headers) > 100 and flagged == len(headers))
    live = [heard for heard in observer.on(STREAM) if heard.at > up_at]
    verdict.check(f"{len(live)} live states meanwhile", len(live) > 200)
    check_never_blocked(verdict, driver)
    if not bench.full:
        verdict.note("48 min of states and a fifth of the cap")


def folder_bytes(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def historical(observer: Observer) -> list[PacketHeader]:
    """Returns the headers of the packets that came as history, by their numbers."""
    packets = [packet for heard in observer.on(HISTORY) for packet in parse_history(heard.payload)]
    return sorted((PacketHeader.decode(packet) for packet in packets), key=lambda header: (header.session, header.seq))


@case(9, "kill -9 while the spool is written", expect="what was said to be safe arrives; session +1; rev never falls")
def killed(bench: Bench) -> None:
    """Kills a device process while there is no broker, again and again.

    It makes 50 events a second and is killed at random, 8 times (100 with --full), and started again; then the broker
    comes.
    """
    times = 100 if bench.full else 8
    broker = bench.broker("max_queued_messages 0")
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    chance = random.Random(9)
    proxy.down()
    made: set[int] = set()
    safe: set[int] = set()
    sessions: list[int] = []
    first = 0
    for _ in range(times):
        with DeviceProcess(device_settings(bench, proxy.port, first_event=first)) as device:
            device.wait_ready()
            time.sleep(chance.uniform(0.3, 1.5))
            device.kill()
            made |= device.made
            safe |= device.safe
            sessions.append(device.session)
        first = max(made, default=0) + 100
    corrupt = [path.name for path in (bench.folder / "device").rglob("*.sqlite3") if not is_sound(path)]
    proxy.up()
    with DeviceProcess(device_settings(bench, proxy.port, first_event=first, events_per_s=2.0)) as device:
        device.wait_ready()
        sessions.append(device.session)

        def came(promised: set[int]) -> Arrivals:
            return Arrivals.of(promised, (heard.payload for heard in observer.on(EVENT)))

        # A client that promises nothing is measured by what it did not refuse.
        promised = safe if bench.is_ours else made
        eventually(lambda: not came(promised).lost and revisions(observer), 15)
        result = came(promised)
    promise = "said to be safe" if bench.is_ours else "taken by publish()"
    text = f"{times} kills, {len(made)} events made, {len(promised)} {promise}: {result.text}"
    bench.verdict.check(text, len(promised) > times and not result.lost)
    if bench.is_ours:
        bench.verdict.check(f"{len(corrupt)} corrupt databases", not corrupt)
        grow = sessions == list(range(sessions[0], sessions[0] + times + 1))
        bench.verdict.check("session grows by one at each start", grow)
        revs = revisions(observer)
        bench.verdict.check(f"revisions of {len(revs)} reports never fall", revs and revs == sorted(revs))


def is_sound(path: Path) -> bool:
    """Returns whether a file is a database that SQLite finds nothing wrong with."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        answer: tuple[str] = database.execute("PRAGMA integrity_check").fetchone()
        return answer == ("ok",)


@case(10, "disk full, not writable, spool deleted, spool corrupt", expect="keeps running, says so, sends what it can")
def bad_disk(bench: Bench) -> None:
    """Takes the disk away from a device process, in four ways.

    Files may have 100 kB only (RLIMIT_FSIZE); a folder in place of the spool; the spool deleted while it runs; random
    bytes in place of the database.
    """
    if not bench.is_ours:
        raise NotRunnableError("it keeps nothing on the disk; see case 9 for what that costs")
    kinds = ("full", "unwritable", "deleted", "corrupt")
    with ThreadPoolExecutor(len(kinds)) as pool:
        for verdict in pool.map(lambda what: _bad_disk(bench, what), kinds):
            bench.verdict.checks += verdict.checks


def _bad_disk(bench: Bench, what: str) -> Verdict:
    verdict = Verdict()
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    limit = FILE_BYTES if what == "full" else 0
    settings = device_settings(bench, proxy.port, what, rate=30.0, events_per_s=20.0, largest_file=limit)
    folder = Path(settings.folder)
    proxy.down()
    if what == "corrupt":
        with DeviceProcess(settings) as device:
            device.wait_ready()
            time.sleep(1.5)
        for path in folder.rglob("*.sqlite*"):
            path.write_bytes(random.Random(10).randbytes(max(8192, path.stat().st_size)))
    if what == "unwritable":
        folder.joinpath("spool.sqlite3").mkdir(parents=True)
    with DeviceProcess(settings) as device:
        device.wait_ready()
        time.sleep(3)
        if what == "deleted":
            for path in folder.rglob("*.sqlite*"):
                path.unlink(missing_ok=True)
        time.sleep(5)
        offline = dict(device.stats)
        proxy.up()
        eventually(lambda: observer.on(STREAM), 20)
        time.sleep(5)
        stats, running, events = device.stats, device.running, set(device.made)

        def came() -> Arrivals:
            return Arrivals.of(events, (heard.payload for heard in observer.on(EVENT)))

        eventually(lambda: not came().lost, 40)
        result = came()
    made = int(stats.get("states", 0))
    verdict.check(f"{what}: {'runs' if running else 'ended'}, {made} states made", running and made > 200)
    said = [*offline.get("problems", []), *stats.get("problems", [])]
    told = next((text for text in said if any(word in text for word in ("disk", "spool"))), "")
    if what != "deleted":  # an open file that is deleted goes on to work
        verdict.check(f"said {told[:120]!r}" if told else "not said", told)
    verdict.check(result.text, not result.lost)
    slowest_ms = float(stats.get("slowest_ms", "inf"))
    verdict.check(f"slowest call {slowest_ms} ms", slowest_ms < 1e3 * MAY_BLOCK_S)
    return verdict
