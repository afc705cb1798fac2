"""What is kept while there is no broker: cases 8-10."""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from pathlib import Path

from link.bench import Bench, Driver, arrivals, check_never_blocked, peak_mb
from link.cases.registry import case
from link.cases.twin import device_settings, revisions
from link.device import DeviceProcess
from link.observer import Observer, eventually
from link.verdict import NotRunnableError
from link.workload import EVENT, HISTORY, Arrivals
from twin_edge.sync.wire.history import parse_history
from twin_edge.twin.packet import Flags, PacketHeader

CAP_BYTES = 8_000_000
DAY_STATES = 24 * 3600 * 30
"""States of a day."""


@case(
    8, "24 h without broker at 30 states/s, cap 8 MB", expect="cap held, drops counted, history flagged and throttled"
)
def day_offline(bench: Bench) -> None:
    """A day's states as fast as they go (a twentieth of them and of the cap, without --full); then the broker comes."""
    states = DAY_STATES if bench.full else DAY_STATES // 20
    cap = CAP_BYTES if bench.full else CAP_BYTES // 20
    options = {"spool_bytes": cap} if bench.is_ours else {}
    broker = bench.broker("max_queued_messages 0")
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port, options=options)
    proxy.down()
    eventually(lambda: not client.status().connected, 20)
    memory_mb, maker, most_disk = peak_mb(), client.setup.states, 0
    driver = Driver(client, rate=30, event_every_s=0.5)
    began = time.monotonic()
    for seq in range(states):
        packet = maker.packet(seq, Flags.KEY if seq % 300 == 0 else Flags.NONE)
        driver.pace.call(functools.partial(client.stream, packet))
        if seq % 2000 == 0:
            most_disk = max(most_disk, folder_bytes(client.setup.folder))
            driver.event()
            time.sleep(0.02)
    took = time.monotonic() - began
    grown_mb = peak_mb() - memory_mb
    driver.states = states
    bench.verdict.check(f"{states} states in {took:.0f} s; memory grew by {grown_mb:.1f} MB", grown_mb < 40)
    bench.verdict.check(
        f"at most {most_disk / 1e6:.2f} MB on the disk, cap {cap / 1e6:.2f} MB", most_disk <= 1.15 * cap
    )
    up_at = time.monotonic()
    proxy.up()
    with driver:
        eventually(lambda: client.status().connected, 40)
        time.sleep(20)
    came = arrivals(driver, observer, 10)
    bench.verdict.check(came.text, not came.lost)
    headers = historical(observer)
    span = (headers[-1].seq - headers[0].seq) / states if headers else 0.0
    flagged = sum(bool(header.flags & Flags.HISTORICAL) for header in headers)
    bench.verdict.check(
        f"{len(headers)} states of history in 20 s, {flagged} flagged, spanning {100 * span:.0f} % of the outage",
        len(headers) > 100 and flagged == len(headers),
    )
    live = [heard for heard in observer.on("up/z") if heard.at > up_at + 5]
    bench.verdict.check(f"{len(live)} live states meanwhile", len(live) > 300)
    check_never_blocked(bench.verdict, driver)
    if not bench.full:
        bench.verdict.note("1.2 h of states and a twentieth of the cap")


def folder_bytes(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
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

    A device process that makes 50 events a second is killed at random, 8 times (100 with --full) and started again;
    then the broker comes.
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
        with DeviceProcess(device_settings(bench, proxy.port, first_event=first, options={})) as device:
            device.wait_ready()
            time.sleep(chance.uniform(0.3, 1.5))
            device.kill()
            made |= device.made
            safe |= device.safe
            sessions.append(device.session)
        first = max(made, default=0) + 100
    corrupt = [path.name for path in (bench.folder / "device").rglob("*.sqlite*") if not is_sound(path)]
    proxy.up()
    with DeviceProcess(device_settings(bench, proxy.port, first_event=first, events_per_s=2.0)) as device:
        device.wait_ready()
        sessions.append(device.session)

        def came(promised: set[int]) -> Arrivals:
            return Arrivals.of(promised, (heard.payload for heard in observer.on(EVENT)))

        # A client that promises nothing is measured by what it did not refuse.
        promised = safe if bench.is_ours else made
        eventually(lambda: not came(promised).lost, 15)
        result = came(promised)
    bench.verdict.check(
        f"{times} kills, {len(made)} events made, {len(promised)} said to be safe: {result.text}"
        if bench.is_ours
        else f"{times} kills, {len(made)} events taken by publish(): {result.text}",
        len(promised) > times and not result.lost,
    )
    if bench.is_ours:
        bench.verdict.check(f"{len(corrupt)} corrupt databases", not corrupt)
        bench.verdict.check(
            "session grows by one at each start", sessions == list(range(sessions[0], sessions[0] + times + 1))
        )
        revs = revisions(observer)
        bench.verdict.check(f"revisions of {len(revs)} reports never fall", revs and revs == sorted(revs))


def is_sound(path: Path) -> bool:
    """Returns whether a file is a database that SQLite finds nothing wrong with; other files are sound."""
    if path.suffix != ".sqlite":
        return True
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        answer: tuple[str] = database.execute("PRAGMA integrity_check").fetchone()
        return answer == ("ok",)


@case(10, "disk full, not writable, spool deleted, spool corrupt", expect="keeps running, says so, sends what it can")
def bad_disk(bench: Bench) -> None:
    """Takes the disk away from a device process, in four ways.

    Files may have 100 kB only (RLIMIT_FSIZE); a file in place of the spool's folder; the spool deleted while it runs;
    random bytes in place of the database.
    """
    if not bench.is_ours:
        raise NotRunnableError("it keeps nothing on the disk; see case 9 for what that costs")
    for what in ("full", "unwritable", "deleted", "corrupt"):
        _check_bad_disk(bench, what)


def _check_bad_disk(bench: Bench, what: str) -> None:
    bench.folder.joinpath("device").rename(bench.folder / f"before-{what}") if (
        bench.folder / "device"
    ).exists() else None
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    settings = device_settings(
        bench, proxy.port, rate=30.0, events_per_s=20.0, largest_file=100_000 if what == "full" else 0
    )
    folder = Path(settings.folder)
    proxy.down()
    if what == "corrupt":
        with DeviceProcess(settings) as device:
            device.wait_ready()
            time.sleep(1.5)
        for path in folder.rglob("*.sqlite*"):
            path.write_bytes(random.Random(10).randbytes(max(8192, path.stat().st_size)))
    if what == "unwritable":
        folder.joinpath("spool.sqlite").mkdir(parents=True)
    with DeviceProcess(settings) as device:
        device.wait_ready()
        time.sleep(3)
        if what == "deleted":
            for path in folder.rglob("*.sqlite*"):
                path.unlink(missing_ok=True)
        time.sleep(5)
        offline = dict(device.stats)
        proxy.up()
        up_at = time.monotonic()
        eventually(lambda: [one for one in observer.on("up/z") if one.at > up_at], 20)
        time.sleep(5)
        stats, running = device.stats, device.running
        eventually(lambda: not Arrivals.of(device.made, (heard.payload for heard in observer.on(EVENT))).lost, 5)
        came = Arrivals.of(device.made, (heard.payload for heard in observer.on(EVENT)))
        complaints = device.complaints
    bench.verdict.check(
        f"{what}: runs {running}, {stats.get('states', 0)} states made", running and stats.get("states", 0) > 200
    )
    said = " ".join([*offline.get("problems", []), *stats.get("problems", [])])
    if what != "deleted":
        told = any(word in said.lower() for word in ("disk", "spool", "database"))
        bench.verdict.check(f"said {said[:100]!r}" if told else f"not said ({complaints[-100:]})", told)
    # What the disk has lost was in memory as well, but for what came over from an earlier process.
    bench.verdict.check(came.text, not came.lost)
    bench.verdict.check(f"slowest call {stats.get('slowest_ms')} ms", stats.get("slowest_ms", 1e9) < 250)
