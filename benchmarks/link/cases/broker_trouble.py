"""The broker is away, restarts, freezes: cases 1-3; and a hundred devices that come back at once: 29."""

from __future__ import annotations

import itertools
import signal
import socket
import time
from typing import Final

from link.bench import Bench, Driver, arrivals, check_never_blocked, peak_mb, seconds, wait_loss_seen
from link.broker import Broker
from link.cases.network import check_recovers
from link.cases.registry import case
from link.clients import CLIENTS, LinkClient
from link.observer import Observer, eventually
from link.rules import Listening
from link.workload import AVAIL, CODEC, DISCOVERY, KEY, REPORT, STREAM, stream_header

_LONGEST_WAIT_S: Final = 65.0
"""A wait between two attempts is drawn from up to a minute, and it may have begun just before the broker came."""


@case(1, "broker away at boot, name unknown, wrong port", expect="starts, tries again with jitter, nothing lost")
def away_at_boot(bench: Bench) -> None:
    """Two devices start while every connection is reset.

    After 17 s the broker is there. Then a name that nobody knows, and a port on which somebody listens who says
    nothing.
    """
    broker = bench.broker()
    observer = bench.observer(broker)
    proxies = [bench.proxy(broker.port) for _ in range(2)]
    clients = []
    for number, proxy in enumerate(proxies):
        proxy.listen(Listening.RESET)
        began = time.monotonic()
        clients.append(bench.client(proxy.port, device=f"cam-0{number + 1}"))
        bench.verdict.check(f"start took {time.monotonic() - began:.2f} s", time.monotonic() - began < 1)
    with Driver(clients[0]) as driver:
        time.sleep(17)
        waits = [[b - a for a, b in itertools.pairwise(proxy.attempts)] for proxy in proxies]
        for proxy in proxies:
            proxy.up()
        up_at = time.monotonic()
        eventually(lambda: clients[0].status().connected, _LONGEST_WAIT_S)
        bench.verdict.check(
            f"connected {seconds(time.monotonic() - up_at)} after the broker came", clients[0].status().connected
        )
        time.sleep(1)
    text = " and ".join("/".join(f"{wait:.1f}" for wait in one[:5]) or "none" for one in waits)
    apart = any(abs(a - b) > 0.1 for a, b in zip(*waits, strict=False))
    bench.verdict.check(f"waits of two devices between attempts: {text} s", apart)
    bench.verdict.check(f"{len(waits[0]) + 1} attempts in 17 s", len(waits[0]) <= 60)
    came = arrivals(driver, observer)
    bench.verdict.check(came.text, not came.lost)
    check_never_blocked(bench.verdict, driver)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for host, port in (("no-such-host.invalid", broker.port), ("127.0.0.1", silent.getsockname()[1])):
            _check_keeps_trying(bench, host, port)


def _check_keeps_trying(bench: Bench, host: str, port: int) -> None:
    client = bench.client(port, host=host, device="cam-03")
    with Driver(client) as driver:
        time.sleep(7)
        status = client.status()
        bench.verdict.check(
            f"{host}:{'silent port' if host == '127.0.0.1' else 'unknown name'}: alive {status.alive}",
            status.alive and not status.connected,
        )
    check_never_blocked(bench.verdict, driver)


@case(2, "broker restart without persistence", expect="everything retained is there again, nothing lost")
def restart_without_persistence(bench: Bench) -> None:
    """Kill -9, and a broker that knows nothing; the device gets to it when the observer is back."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    with Driver(client) as driver:
        time.sleep(2)
        before = observer.retained()
        bench.restart_broker(broker, proxy, observer, down_s=3)
        restarted_at = time.monotonic()
        wanted = [topic for topic in (AVAIL, CODEC, KEY, REPORT, DISCOVERY) if topic in before]
        eventually(lambda: set(wanted) <= {heard.topic for heard in observer.messages if heard.at > restarted_at}, 15)
        time.sleep(1)
        after = observer.retained()
    missing = [topic for topic in wanted if topic not in after]
    bench.verdict.check(
        f"retained again: {', '.join(topic for topic in wanted if topic in after)}"
        + (f"; missing: {', '.join(missing)}" if missing else ""),
        not missing and AVAIL in after,
    )
    bench.verdict.check("availability is online", b'"online"' in after.get(AVAIL, b""))
    came = arrivals(driver, observer)
    bench.verdict.check(came.text, not came.lost)
    check_never_blocked(bench.verdict, driver)


@case(3, "broker frozen (SIGSTOP)", expect="noticed within 15 s, memory bounded, no flood of stale states afterwards")
def frozen(bench: Bench) -> None:
    """Frozen for 5 s and for 25 s (60 s and 10 min with --full) while the device sends 30 states a second."""
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port)
    with Driver(client) as driver:
        for length_s in (5, 60, 600) if bench.full else (5, 25):
            _freeze(bench, broker, client, observer, length_s)
    came = arrivals(driver, observer)
    bench.verdict.check(came.text, not came.lost)
    check_never_blocked(bench.verdict, driver)
    if not bench.full:
        bench.verdict.note("25 s instead of 10 min")


def _freeze(bench: Bench, broker: Broker, client: LinkClient, observer: Observer, length_s: float) -> None:
    memory_mb = peak_mb()
    frozen_at = time.monotonic()
    broker.send_signal(signal.SIGSTOP)
    try:
        if length_s > 15:
            seen = wait_loss_seen(client, frozen_at, length_s)
            bench.verdict.check(f"loss noticed after {seconds(seen)}", seen <= 15)
        time.sleep(max(0.0, frozen_at + length_s - time.monotonic()))
    finally:
        broker.send_signal(signal.SIGCONT)
    grown_mb = peak_mb() - memory_mb
    thawed_at = time.monotonic()
    eventually(lambda: client.status().connected, 10)
    check_recovers(bench, observer)
    stale = 0
    for heard in observer.on(STREAM):
        header = stream_header(heard.payload)
        stale += header is not None and heard.at > thawed_at and heard.clock_us - header.time_us > 1_000_000
    bench.verdict.check(f"{length_s:.0f} s: {stale} states older than 1 s came afterwards", stale <= 300)
    bench.verdict.check(f"memory grew by {grown_mb:.1f} MB", grown_mb < 8)


@case(29, "100 devices reconnect together", expect="jitter spreads the connections")
def stampede(bench: Bench) -> None:
    """The broker goes away for 3 s and comes back; counted is how many of 100 devices connect at once."""
    broker = bench.broker("max_connections -1")
    proxy = bench.proxy(broker.port)
    count = 100
    options = {"uploads_bundle": False} if bench.is_ours else {}
    clients = [
        CLIENTS[bench.name](bench.setup(proxy.port, device=f"cam-{number:03}", options=options))
        for number in range(count)
    ]
    for client in clients:
        client.start()
    everybody = eventually(lambda: sum(client.status().connected for client in clients) == count, 30)
    bench.verdict.check(f"{sum(client.status().connected for client in clients)} connected", everybody)
    proxy.down()
    time.sleep(0.3)
    proxy.listen(Listening.RESET)
    time.sleep(2.7)
    proxy.up()
    up_at = time.monotonic()
    everybody = eventually(lambda: sum(client.status().connected for client in clients) == count, 30)
    took_s = time.monotonic() - up_at
    bench.verdict.check(f"{sum(client.status().connected for client in clients)} back after {took_s:.1f} s", everybody)
    came = sorted(at for at in proxy.attempts if at >= up_at)
    most = max((sum(at <= other < at + 0.25 for other in came) for at in came), default=0)
    bench.verdict.check(f"at most {most} connects in 0.25 s", most <= count / 2)
