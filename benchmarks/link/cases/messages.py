"""What goes through the connection: cases 11-13, 17-19 and 26."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from link.bench import Bench, Driver, arrivals, check_never_blocked, seconds
from link.cases.registry import case
from link.clients import LinkClient, TwinEdgeClient
from link.observer import Observer, eventually
from link.tap import InflightTap
from link.verdict import NotRunnableError
from link.workload import ANSWER, EVENT, REQUEST, ROOT, Arrivals, event_payload

COMMAND = "down/set/x"
IDENTIFIERS = 65_535
"""Packet identifiers of MQTT."""


@case(11, "message larger than the broker takes", expect="set aside and reported; what is behind it flows")
def oversize(bench: Bench) -> None:
    """The broker takes 20,000 bytes; three small events, one of 50,000 bytes, three small ones. MQTT 5 and 3.1.1."""
    for version in ("5", "3.1.1"):
        _oversize(bench, version)


def _oversize(bench: Bench, version: str) -> None:
    # The blocks of the bundle would be too large as well.
    options = {"uploads_bundle": False} if bench.is_ours else {}
    broker = bench.broker("max_packet_size 20000")
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    client = bench.online(proxy.port, version=version, options=options, folder=bench.folder / f"v{version}")
    connects = len(proxy.attempts)
    driver = Driver(client, rate=0)
    for size in (0, 0, 0, 50_000, 0, 0, 0):
        driver.event(size)

    def came() -> Arrivals:
        return Arrivals.of({0, 1, 2, 4, 5, 6}, (heard.payload for heard in observer.on(EVENT)))

    eventually(lambda: not came().lost, 25)
    bench.verdict.check(f"MQTT {version}: {came().text}", not came().lost)
    eventually(lambda: client.fate(3) == "rejected", 5)
    bench.verdict.check(f"the large one is {client.fate(3) or 'unknown'}", client.fate(3) == "rejected")
    bench.verdict.check(f"{len(proxy.attempts) - connects} reconnects", len(proxy.attempts) - connects <= 5)
    client.stop()


@case(12, "hostile input", expect="refused and counted; the connection works on")
def hostile_input(bench: Bench) -> None:
    """Not UTF-8, JSON 100,000 deep, NaN, a number of 5000 digits, 10 MB.

    On the command topic, whose handler is `json.loads`, and as requests.
    """
    broker = bench.broker()
    observer = bench.observer(broker)
    heard: list[bytes] = []

    def handler(payload: bytes) -> None:
        heard.append(payload)
        json.loads(payload)

    client = bench.online(broker.port, on_command=handler)
    bad = [b"\xff\xfe\xfd", b"[" * 100_000, b'{"id":NaN,"op":NaN}', b'{"id":' + b"9" * 5000 + b"}", b"x" * 10_000_000]
    with Driver(client) as driver:
        time.sleep(0.75)
        for payload in bad:
            for topic in (COMMAND, REQUEST):
                observer.publish(topic, payload)
            time.sleep(0.3)
        _check_works_on(bench, client, observer)
        observer.publish(COMMAND, b'"good"')
        bench.verdict.check("the next good command is heard", eventually(lambda: heard[-1:] == [b'"good"'], 5))
    came = arrivals(driver, observer, 8)
    bench.verdict.check(came.text, not came.lost)
    check_never_blocked(bench.verdict, driver)


def _check_works_on(bench: Bench, client: LinkClient, observer: Observer) -> None:
    status = client.status()
    bench.verdict.check(f"says connected {status.connected}, thread alive {status.alive}", status.alive)
    observer.publish(REQUEST, b'{"id":"after","op":"ping"}')
    answered = eventually(lambda: any(b'"after"' in one.payload for one in observer.on(ANSWER)), 8)
    bench.verdict.check("a ping is answered" if answered else "a ping is not answered", answered)


@case(13, "handler raises", expect="counted; the connection works on")
def handler_raises(bench: Bench) -> None:
    """The application's handler raises KeyError at each command."""
    broker = bench.broker()
    observer = bench.observer(broker)
    calls: list[bytes] = []

    def handler(payload: bytes) -> None:
        calls.append(payload)
        raise KeyError("a defect of the application")

    client = bench.online(broker.port, on_command=handler)
    with Driver(client) as driver:
        time.sleep(0.75)
        for number in range(3):
            observer.publish(COMMAND, str(number).encode())
            time.sleep(0.3)
        _check_works_on(bench, client, observer)
        bench.verdict.check(f"{len(calls)} of 3 commands reached the handler", len(calls) == 3)
        told = any("handler" in text or "KeyError" in text for text in client.status().problems)
        bench.verdict.check("reported" if told else "not reported", told)
    came = arrivals(driver, observer, 8)
    bench.verdict.check(came.text, not came.lost)


@case(17, "broker's Receive Maximum is 1, then 10", expect="never exceeded, with 500 events waiting")
def receive_maximum(bench: Bench) -> None:
    """500 events while the broker is away, then it comes; the proxy counts what is in flight. MQTT 5."""
    for limit in (1, 10):
        _receive_maximum(bench, limit)


def _receive_maximum(bench: Bench, limit: int) -> None:
    tap = InflightTap()
    broker = bench.broker(f"max_inflight_messages {limit}")
    proxy = bench.proxy(broker.port, tap)
    observer = bench.observer(broker)
    client = bench.online(proxy.port, version="5", folder=bench.folder / f"r{limit}")
    proxy.down()
    eventually(lambda: not client.status().connected, 20)
    driver = Driver(client, rate=0)
    for _ in range(500):
        driver.event()
    tap.most = 0
    proxy.up()
    came = arrivals(driver, observer, 40)
    bench.verdict.check(f"Receive Maximum {limit}: {tap.most} in flight", tap.most <= limit)
    bench.verdict.check(came.text, not came.lost)
    client.stop()


@case(18, "topic alias over a restart", expect="no endless loop of protocol errors")
def topic_alias(bench: Bench) -> None:
    """MQTT 5, broker with Topic Alias Maximum 10.

    Restarted while messages wait. paho is used with an alias, as MQTT 5 allows it; twin-edge uses them for
    QoS 0 only, anew on each connection.
    """
    if bench.name == "aiomqtt":
        raise NotRunnableError("the adapter does not use aliases; aiomqtt hands them to paho, see there")
    tap = InflightTap()
    broker = bench.broker()
    proxy = bench.proxy(broker.port, tap)
    observer = bench.observer(broker)
    if bench.is_ours:
        client = bench.online(proxy.port, version="5")
        with Driver(client, event_every_s=0.1) as driver:
            time.sleep(1)
            bench.restart_broker(broker, proxy, observer)
            # However long the back-off: what is counted begins with a connection.
            bench.verdict.check("connects again", eventually(lambda: client.status().connected, 30))
            time.sleep(2)
            count = len(tap.connects)
            time.sleep(4)
        came = arrivals(driver, observer)
        bench.verdict.check(came.text, not came.lost)
    else:
        count = _alias_with_paho(bench, proxy.port, lambda: bench.restart_broker(broker, proxy, observer), tap)
        came = Arrivals.of(range(20), (heard.payload for heard in observer.on(EVENT)))
        bench.verdict.check(came.text, not came.lost)
    bench.verdict.check(
        f"{len(tap.connects) - count} reconnects in 4 s long after the restart", len(tap.connects) == count
    )
    bench.verdict.note(f"{tap.aliases} messages had an alias only")


def _alias_with_paho(bench: Bench, port: int, restart: Callable[[], None], tap: InflightTap) -> int:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="cam-01", protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    bench.stack.callback(client.loop_stop)
    eventually(client.is_connected, 5)
    alias = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    alias.TopicAlias = 1
    client.publish(ROOT + EVENT, event_payload(0), 1, properties=alias)
    time.sleep(0.5)
    # While the connection is down, the next messages wait with the alias alone.
    thread = threading.Thread(target=restart)
    thread.start()
    eventually(lambda: not client.is_connected(), 10)
    for number in range(1, 20):
        client.publish("", event_payload(number), 1, properties=alias)
    thread.join()
    time.sleep(3)
    count = len(tap.connects)
    time.sleep(4)
    return count


@case(19, "stale retained command, repeated command", expect="each applied once at most, the stale one not at all")
def stale_commands(bench: Bench) -> None:
    """A retained request lies on the broker before the device comes.

    Another request comes twice; then the device reconnects. Counted are the answers, and what our link says that it
    has carried out: it sends an answer again that the broker took right before the cut.
    """
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    observer.publish(REQUEST, b'{"id":"stale","op":"ping"}', retain=True)
    client = bench.online(proxy.port)
    for _ in range(2):
        observer.publish(REQUEST, b'{"id":"twice","op":"ping"}')
    time.sleep(0.5)
    proxy.cut()
    eventually(lambda: not client.status().connected, 3)
    eventually(lambda: client.status().connected, 12)
    time.sleep(1)
    observer.publish(REQUEST, b'{"id":"fresh","op":"ping"}')
    time.sleep(1.5)
    answers = [one.payload for one in observer.on(ANSWER)]
    counts = {name: sum(f'"{name}"'.encode() in answer for answer in answers) for name in ("stale", "twice", "fresh")}
    if isinstance(client, TwinEdgeClient):
        applied = client.link.stats().requests
        bench.verdict.check(f"{applied} of 2 commands applied; answers: {counts}", applied == 2)
        bench.verdict.check("answers", not counts["stale"] and counts["twice"] and counts["fresh"])
        return
    for name, times in (("stale", 0), ("twice", 1), ("fresh", 1)):
        bench.verdict.check(f"{name} command applied {counts[name]} times", counts[name] == times)


@case(26, "identifiers wrap at 65535, sequence at 2^32", expect="no stall, no identifier used again in flight")
def wraps(bench: Bench) -> None:
    """66,000 events as fast as they go, a thousand waiting at most (1,000,000 with --full)."""
    tap = InflightTap()
    broker = bench.broker("max_queued_messages 0", "set_tcp_nodelay true")
    proxy = bench.proxy(broker.port, tap)
    observer = bench.observer(broker, qos=0)
    client = bench.online(proxy.port)
    wanted = 1_000_000 if bench.full else 66_000
    driver = Driver(client, rate=0)
    began = moved_at = time.monotonic()
    last, longest = 0, 0.0
    while driver.events < wanted and time.monotonic() - began < (1800 if bench.full else 150):
        heard = observer.count
        now = time.monotonic()
        if heard != last:
            last, moved_at = heard, now
        longest = max(longest, now - moved_at)
        if longest > 10:
            break
        for _ in range(100 if driver.events - heard < 1000 else 0):
            driver.event()
        time.sleep(0.002)
    took = time.monotonic() - began
    if driver.events <= IDENTIFIERS and longest < 2:
        raise NotRunnableError(
            f"{driver.events} events in {took:.0f} s without a standstill: too slow to get to 65,536"
        )
    came = arrivals(driver, observer, 10)
    bench.verdict.check(f"{came.text} of {wanted} wanted in {took:.0f} s", not came.lost and driver.events >= wanted)
    bench.verdict.check(f"{tap.reused} identifiers used again in flight", not tap.reused)
    bench.verdict.check(f"longest standstill {seconds(longest)}", longest < 2)
    if bench.is_ours:
        _check_seq_wrap(bench, broker.port)


def _check_seq_wrap(bench: Bench, port: int) -> None:
    from link.cases.twin import follow

    client = bench.online(port, device="cam-02", session=9)
    maker = client.setup.states
    with follow(bench, port, "cam-02") as updates:
        for seq in range(2**32 - 30, 2**32 + 30):
            client.stream(maker.packet(seq))
            time.sleep(0.02)
        eventually(lambda: len(updates) >= 60, 5)
    seqs = [update.seq for update in updates]
    missed = sum(update.missed for update in updates)
    bench.verdict.check(f"seq wrap: {len(seqs)} of 60 states, {missed} missed", len(seqs) >= 59 and not missed)
