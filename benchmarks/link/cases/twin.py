"""What is said about the twin: cases 22-25, 27, 28 and 30."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from link.bench import MAY_BLOCK_S, Bench, Driver, arrivals
from link.cases.registry import case
from link.device import DeviceProcess, DeviceSettings
from link.observer import Observer, eventually
from link.verdict import NotRunnableError
from link.workload import (
    AVAIL,
    DISCOVERY,
    EVENT,
    NAMESPACE,
    REPORT,
    Arrivals,
    stream_header,
)
from twin_edge.bundle import Bundle, Manifest, seal
from twin_edge.sync import TwinUpdate, TwinView


@contextlib.contextmanager
def follow(bench: Bench, port: int, device: str) -> Iterator[list[TwinUpdate]]:
    """Collects the updates of a twin while the block runs."""
    updates: list[TwinUpdate] = []
    cache = bench.folder / f"cache-{device}"
    with TwinView(f"mqtt://127.0.0.1:{port}", f"{NAMESPACE}/{device}", cache, max_queued=10_000) as view:
        collector = threading.Thread(target=lambda: updates.extend(view), daemon=True)
        collector.start()
        eventually(lambda: view.bundle is not None, 10)
        yield updates
        time.sleep(0.5)


def revisions(observer: Observer) -> list[int]:
    """Returns the `rev` of every report, in the order in which they came, without the retained ones."""
    reports = [json.loads(heard.payload) for heard in observer.on(REPORT) if not heard.retained]
    return [int(report["value"]["twin"]["properties"]["rev"]) for report in reports]


def device_settings(bench: Bench, port: int, name: str = "device", **fields: object) -> DeviceSettings:
    """Returns what a device process of a case is to do; see `DeviceSettings`."""
    folder = bench.folder / name
    folder.mkdir(exist_ok=True)
    bundle = bench.folder / f"{name}.twin"
    if not bundle.exists():
        bundle.write_bytes(bench.bundle.data)
    return DeviceSettings(bench.name, port, str(folder), str(bundle), **fields)  # type: ignore[arg-type]


@case(
    22, "clean stop, SIGTERM, power cut", expect="offline with reason, everything flushed in time; the will otherwise"
)
def endings(bench: Bench) -> None:
    """Fifty events right before the stop; SIGTERM of a process; kill -9 of one."""
    broker = bench.broker()
    observer = bench.observer(broker)
    client = bench.online(broker.port, device="cam-01")
    driver = Driver(client, rate=0)
    for _ in range(50):
        driver.event()
    began = time.monotonic()
    client.stop()
    took = time.monotonic() - began
    came = arrivals(driver, observer, 2)
    bench.verdict.check(f"stop took {took:.1f} s, {came.text}", took < 2 and not came.lost)
    _check_offline(bench, observer, "stop", with_reason=True)
    for how in ("SIGTERM", "kill -9"):
        heard = len(observer.on(AVAIL))
        with DeviceProcess(device_settings(bench, broker.port)) as device:
            device.wait_ready()
            eventually(functools.partial(_is_online, observer, heard), 15)
            if how == "SIGTERM":
                bench.verdict.check("exit code 0", device.terminate() == 0)
            else:
                device.kill()
        _check_offline(bench, observer, how, with_reason=how == "SIGTERM")


def _is_online(observer: Observer, since: int) -> bool:
    return any(b'"online"' in one.payload for one in observer.on(AVAIL)[since:])


def _check_offline(bench: Bench, observer: Observer, how: str, *, with_reason: bool) -> None:
    # With MQTT 5 the broker waits for some seconds before it publishes the will.
    offline = eventually(lambda: b'"offline"' in observer.latest(AVAIL), 20)
    value = json.loads(observer.latest(AVAIL))["value"]
    reason = value.get("reason") or ""
    bench.verdict.check(f"{how}: {value['status']}, reason {reason!r}", offline and bool(reason) == with_reason)


@case(23, "Home Assistant restarts, discovery cleared", expect="announced again once, jittered; no ghosts")
def home_assistant(bench: Bench) -> None:
    """Home Assistant's birth message, then its discovery topic cleared and another birth message."""
    broker = bench.broker()
    observer = bench.observer(broker)
    bench.online(broker.port, homeassistant=True)
    eventually(lambda: observer.last(DISCOVERY) is not None, 6)
    if observer.last(DISCOVERY) is None:
        raise NotRunnableError("the client does not announce itself to Home Assistant")
    birth = _birth(broker.port)
    for what in ("birth", "birth after clearing"):
        count = len([one for one in observer.on(DISCOVERY) if one.payload])
        if "clearing" in what:
            _birth(broker.port, clear=True)
        birth(b"online")
        time.sleep(8)
        again = len([one for one in observer.on(DISCOVERY) if one.payload]) - count
        bench.verdict.check(f"{what}: announced {again} times", again == 1)


def _birth(port: int, *, clear: bool = False) -> Callable[[bytes], None]:
    from paho.mqtt import publish

    def say(payload: bytes) -> None:
        publish.single("homeassistant/status", payload, hostname="127.0.0.1", port=port)

    if clear:
        publish.single(DISCOVERY, b"", 1, retain=True, hostname="127.0.0.1", port=port)
    return say


@case(24, "Eclipse Ditto refuses, or hears out of order", expect="reports carry an order that Ditto enforces")
def ditto(bench: Bench) -> None:
    """Looks at what Ditto would act on, without a Ditto.

    Each report must carry a condition on its own growing revision, which a broker's repetition or a late one does not
    pass. That is evaluated here over the reports, shuffled and repeated.
    """
    if not bench.is_ours:
        raise NotRunnableError("a bare client has no Ditto messages")
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    with Driver(client, rate=5, report_every_s=0.3):
        time.sleep(3)
        proxy.cut()
        time.sleep(4)
    reports = [json.loads(heard.payload) for heard in observer.on(REPORT) if not heard.retained]
    stored = -1
    for report in [*reports, *reports[::-1], *reports[::2]]:
        rev = report["value"]["twin"]["properties"]["rev"]
        condition = report["headers"]["condition"]
        bench.verdict.check("condition", condition.endswith(f"lt(features/twin/properties/rev,{rev}))")) if (
            f"rev,{rev})" not in condition
        ) else None
        stored = max(stored, rev)
    revs = [report["value"]["twin"]["properties"]["rev"] for report in reports]
    bench.verdict.check(f"{len(revs)} reports, revisions grow", len(revs) > 5 and revs == sorted(set(revs)))
    bench.verdict.check("after repetitions in reverse the newest one stands", stored == max(revs, default=-2))
    bench.verdict.note("refusals by Ditto itself (404, 403, 400, 413, 429) need a Ditto: not runnable here")


@case(25, "clock jumps by -1 day and +1 year", expect="order of revisions and states holds, nothing expires")
def clock_jumps(bench: Bench) -> None:
    """The wall clock of a device process jumps while it is connected, and again while the broker is away."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    jumps = ((4.0, -86_400.0), (8.0, 366 * 86_400.0), (12.0, -366 * 86_400.0))
    settings = device_settings(bench, proxy.port, rate=30.0, events_per_s=5.0, clock_jumps=jumps)
    with DeviceProcess(settings) as device:
        device.wait_ready()
        time.sleep(6)
        proxy.down()
        time.sleep(4)
        proxy.up()
        time.sleep(9)
        came = _wait_for_events(device, observer)
        stats = device.stats
    bench.verdict.check(came.text, not came.lost)
    seqs = [header.seq for heard in observer.on("up/z") if (header := stream_header(heard.payload)) is not None]
    bench.verdict.check(f"{len(seqs)} states, their numbers grow", len(seqs) > 200 and seqs == sorted(seqs))
    revs = revisions(observer)
    bench.verdict.check(f"{len(revs)} reports, revisions grow", len(revs) > 10 and revs == sorted(revs))
    bench.verdict.check(f"slowest call {stats.get('slowest_ms')} ms", stats.get("slowest_ms", 1e9) < 1e3 * MAY_BLOCK_S)
    bench.verdict.note("the clock of Python in the process jumps, not the machine's")


def _wait_for_events(device: DeviceProcess, observer: Observer) -> Arrivals:
    """Waits for the events that a device has made so far."""
    made = set(device.made)

    def came() -> Arrivals:
        return Arrivals.of(made, (heard.payload for heard in observer.on(EVENT)))

    eventually(lambda: not came().lost, 15)
    return came()


@case(27, "late joiner, lost key, other model", expect="decodes or asks; never renders with the wrong decoder")
def late_joiner(bench: Bench) -> None:
    """A subscriber without a cache joins in mid-stream; then the device comes back with another bundle."""
    if not bench.is_ours:
        raise NotRunnableError("packets, keys and bundles are not the client's business")
    broker = bench.broker()
    client = bench.online(broker.port)
    with Driver(client):
        time.sleep(1)
        began = time.monotonic()
        with follow(bench, broker.port, "cam-01") as updates:
            eventually(lambda: len(updates) > 30, 10)
            bench.verdict.check(
                f"{len(updates)} updates {time.monotonic() - began:.1f} s after joining", len(updates) > 30
            )
            client.stop()
            manifest = bench.bundle.manifest
            other = Bundle.from_bytes(seal(_renamed(manifest), bench.bundle.members))
            count = len(updates)
            second = bench.online(broker.port, bundle=other, session=client.setup.session + 1)
            with Driver(second):
                eventually(lambda: sum(u.bundle.digest == other.digest for u in updates) > 30, 15)
    new = [update for update in updates[count:] if update.session == client.setup.session + 1]
    wrong = sum(update.bundle.digest != other.digest for update in new)
    bench.verdict.check(
        f"{len(new)} updates of the other model, {wrong} with the wrong decoder", len(new) > 30 and not wrong
    )


def _renamed(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, name="other", files={})


@case(28, "OTA of a model goes wrong", expect="the old model serves on")
def ota(bench: Bench) -> None:
    """There is no OTA yet."""
    raise NotRunnableError("there is no OTA in this release" if bench.is_ours else "a bare client has no OTA")


@case(30, "soak with broker restarts", expect="memory and descriptors flat, lag bounded, no disk write while online")
def soak(bench: Bench) -> None:
    """36 s at 30 states/s with two restarts of the broker (an hour, every 10 min, with --full)."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    length_s, restarts = (3600.0, 6) if bench.full else (36.0, 2)
    settings = device_settings(bench, proxy.port, rate=30.0, events_per_s=2.0, report_every_s=1.0)
    with DeviceProcess(settings) as device:
        device.wait_ready()
        time.sleep(8)
        online_from = device.stats.get("write_bytes", 0)
        time.sleep(5)
        written = device.stats.get("write_bytes", 0) - online_from
        opened = []
        for _ in range(restarts):
            time.sleep(length_s / restarts - 8)
            bench.restart_broker(broker, proxy, observer)
            time.sleep(5)
            # The spool's files are opened when the broker is away for the first time, and stay open.
            opened.append(device.stats["fds"])
        came = _wait_for_events(device, observer)
        kept, stats = device.all_stats[8:], device.stats
    bench.verdict.check(came.text, not came.lost)
    growth_mb = (kept[-1]["rss_kb"] - kept[0]["rss_kb"]) / 1024
    bench.verdict.check(f"memory grew by {growth_mb:.1f} MB", growth_mb < 3)
    text = f"{opened[0]} descriptors after the first restart, {opened[-1]} after the last"
    bench.verdict.check(text, opened[-1] <= opened[0])
    bench.verdict.check(f"{written} bytes written to the disk in 5 s online", written <= 8192)
    lags = [
        (heard.clock_us - head.time_us) / 1e3
        for heard in observer.on("up/z")
        if (head := stream_header(heard.payload)) is not None
    ]
    p99 = statistics.quantiles(lags, n=100)[98] if len(lags) > 100 else float("inf")
    bench.verdict.check(f"lag p99 {p99:.0f} ms of {len(lags)} states", p99 < 1000)
    bench.verdict.check(f"slowest call {stats['slowest_ms']} ms", stats["slowest_ms"] < 1e3 * MAY_BLOCK_S)
    if not bench.full:
        bench.verdict.note("36 s instead of 24 h")
