"""Who may connect, and as whom: cases 14-16, 20, 31 and 32."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from link.bench import Bench, Driver
from link.broker import Broker
from link.cases.registry import case
from link.certificates import Authority
from link.observer import eventually
from link.peer import Manners, Peer
from link.tap import InflightTap
from link.workload import AVAIL, DEVICE, ROOT

_TAKEN_OVER_S: Final = 10
SECRET: Final = "secret"  # noqa: S105 - see below
"""What the brokers here know as password; it opens nothing else."""


def _said(problems: tuple[str, ...], *words: str) -> str:
    """Returns the first problem that contains one of some words, empty when there is none."""
    return next((text for text in problems if any(word in text.lower() for word in words)), "")


@case(14, "ACL denies a topic", expect="the program is told which topic")
def acl_denies(bench: Bench) -> None:
    """Mosquitto lets the device write everything but `up/event`.

    Tried with the MQTT version that the client uses by itself, and with the other one.
    """
    acl = bench.folder / "acl"
    allowed = "\n".join(
        f"topic readwrite {ROOT}up/{name}"
        for name in ("avail", "codec", "key", "z", "state", "bundle/#", "birth", "cfg/#")
    )
    acl.write_text(f"user {DEVICE}\n{allowed}\ntopic read {ROOT}down/#\nuser observer\ntopic readwrite #\n")
    broker = bench.broker(f"acl_file {acl}", passwords={DEVICE: SECRET, "observer": SECRET})
    told, fates = _denied(bench, broker, "")
    bench.verdict.check(f"said {told[:120]!r}" if told else "not said", told)
    bench.verdict.check(f"the events are {fates}", fates == "rejected")
    other = "3.1.1" if bench.is_ours else "5"
    told, fates = _denied(bench, broker, other)
    noticed = f"said {told[:100]!r}" if told else "not noticed"
    bench.verdict.note(f"with MQTT {other}: {noticed}, the events are {fates}; 3.1.1 has no answer for it")


def _denied(bench: Bench, broker: Broker, version: str) -> tuple[str, str]:
    """Returns what a client says of an event that it may not publish, and what it thinks has become of it."""
    client = bench.online(broker.port, user=DEVICE, password=SECRET, version=version)
    before = len(client.status().problems)

    def told() -> str:
        return _said(client.status().problems[before:], "up/event")

    with Driver(client, rate=0, event_every_s=0.5) as driver:
        eventually(told, 6)
    fates = "/".join(sorted({client.fate(number) or "unknown" for number in range(driver.events)}))
    client.stop()
    return told(), fates


@case(15, "same identity twice", expect="one stops with a clear cause, no endless fight")
def twins_fight(bench: Bench) -> None:
    """Two devices with the same name, for 90 s at most, or until one has had enough."""
    tap = InflightTap()
    broker = bench.broker()
    proxy = bench.proxy(broker.port, tap)
    clients = [bench.client(proxy.port, folder=bench.folder / f"{session}", session=session) for session in (7, 8)]
    words = ("taken over", "taken_over", "identity", "same client", "another", "duplicate")
    began = time.monotonic()
    eventually(lambda: any(_said(client.status().problems, *words) for client in clients), 90)
    took = time.monotonic() - began
    time.sleep(10)
    late = [at for at in tap.connects if at > time.monotonic() - _TAKEN_OVER_S]
    bench.verdict.check(
        f"{len(late)} connects in the last 10 s, {len(tap.connects)} in {took + 10:.0f} s", len(late) <= 3
    )
    said = next((text for client in clients if (text := _said(client.status().problems, *words))), "")
    bench.verdict.check(f"{f'said {said[:120]!r}' if said else 'neither says why'}", said)
    bench.verdict.check("one is connected", any(client.status().connected for client in clients))


@case(16, "wrong password, bad certificates", expect="no tight loop, precise message, recovers when it is corrected")
def refused(bench: Bench) -> None:
    """A wrong password that is then made right.

    Certificates that are expired, of the future, of another authority, for another host.
    """
    broker = bench.broker(passwords={DEVICE: "other", "observer": "secret"})
    proxy = bench.proxy(broker.port)
    client = bench.client(proxy.port, user=DEVICE, password=SECRET)
    time.sleep(6)
    bench.verdict.check(f"password: {len(proxy.attempts)} attempts in 6 s", 1 <= len(proxy.attempts) <= 8)
    said = _said(client.status().problems, "not authori", "password", "user name")
    bench.verdict.check(f"said {said[:100]!r}" if said else "password: not said", said)
    broker.set_passwords({DEVICE: SECRET, "observer": SECRET})
    broker.send_signal(signal.SIGHUP)
    corrected_at = time.monotonic()
    authority = Authority(bench.folder / "authority")
    other = Authority(bench.folder / "other")
    cases = {
        "expired": (authority.certificate("expired", days=(-10, -1)), ("expired",)),
        "not yet valid": (authority.certificate("future", days=(1, 10)), ("not yet valid", "not valid yet")),
        "of another authority": (
            other.certificate("stranger"),
            ("self-signed", "self signed", "issuer", "unable to get", "no authority that is trusted"),
        ),
        "for another host": (
            authority.certificate("elsewhere", host="192.0.2.1"),
            ("mismatch", "not valid for", "doesn't match", "for another host"),
        ),
    }
    with ThreadPoolExecutor(len(cases)) as pool:
        for what, (files, words) in cases.items():
            pool.submit(_check_certificate, bench, what, files, authority.ca_file, words)
    back = eventually(lambda: client.status().connected, corrected_at + 65 - time.monotonic())
    took = time.monotonic() - corrected_at
    bench.verdict.check(
        f"connects within {took:.0f} s after the password was made right"
        if back
        else f"does not connect in {took:.0f} s after the password was made right",
        back,
    )
    good = bench.broker(listener=authority.certificate("good"))
    trusting = bench.client(good.port, ca_file=authority.ca_file)
    bench.verdict.check("connects with a good certificate", eventually(lambda: trusting.status().connected, 8))


def _check_certificate(bench: Bench, what: str, files: tuple[str, ...], ca_file: Path, words: tuple[str, ...]) -> None:
    broker = bench.broker(listener=files)
    proxy = bench.proxy(broker.port)
    client = bench.client(proxy.port, ca_file=ca_file)
    time.sleep(4)
    status = client.status()
    said = _said(status.problems, *words)
    bench.verdict.check(f"certificate {what}: {f'said {said[-90:]!r}' if said else 'cause not said'}", said)
    attempts = len(proxy.attempts)
    bench.verdict.check(f"{attempts} attempts in 4 s", 1 <= attempts <= 8 and not status.connected)
    client.stop()


@case(20, "will of the old session comes late", expect="availability ends as online")
def late_will(bench: Bench) -> None:
    """The network forgets a device, which starts again as the next session.

    Then the old session's will, and one of this session, are published, as a broker or a bridge does late.
    """
    broker = bench.broker()
    proxy = bench.proxy(broker.port)
    observer = bench.observer(broker)
    first = bench.online(proxy.port, folder=bench.folder / "first")
    proxy.orphan()
    old_will = None
    second = bench.online(proxy.port, session=first.setup.session + 1, folder=bench.folder / "second")
    time.sleep(1)
    after_takeover = observer.last(AVAIL)
    bench.verdict.check(
        "online after the takeover", after_takeover is not None and b'"online"' in after_takeover.payload
    )
    wills = [heard.payload for heard in observer.on(AVAIL) if b'"offline"' in heard.payload]
    old_will = wills[0] if wills else observer.latest(AVAIL).replace(b'"online"', b'"offline"')
    new_will = old_will.replace(str(first.setup.session).encode(), str(second.setup.session).encode())
    for name, will in (("this session's will", new_will), ("the old session's will", old_will)):
        observer.publish(AVAIL, will, retain=True)
        time.sleep(1.5)
        online = eventually(lambda: b'"online"' in observer.retained(0.5).get(AVAIL, b""), 8)
        bench.verdict.check(f"after {name}: {'online' if online else 'offline'}", online)
    bench.verdict.check("still connected", second.status().connected)


@case(31, "subscription refused, or granted with less", expect="detected and reported")
def subscription_refused(bench: Bench) -> None:
    """A broker that answers subscriptions with 0x80, then one that grants QoS 0."""
    for granted, what in ((0x80, "refused"), (0, "granted with QoS 0")):
        with Peer(Manners(granted=granted)) as peer:
            _subscribe(bench, peer.port, what)


def _subscribe(bench: Bench, port: int, what: str) -> None:
    client = bench.online(port)

    def told() -> str:
        return _said(client.status().problems, "subscription", "subscribe", "read")

    eventually(told, 4)
    bench.verdict.check(f"{what}: said {told()[:120]!r}" if told() else f"{what}: not said", told())
    bench.verdict.check("connected all the same", client.status().connected)
    client.stop()


@case(32, "broker ends connections with a reason; asks for keep alive 5 s", expect="backs off, says why, obeys")
def disconnected_with_reason(bench: Bench) -> None:
    """A broker that sends DISCONNECT 0x97 (quota exceeded), then 0x9D (server moved), right after CONNACK.

    Then one that asks for a keep alive of 5 s.
    """
    for code, words in ((0x97, ("quota",)), (0x9D, ("moved", "another server"))):
        with Peer(Manners(disconnect=code)) as peer:
            client = bench.client(peer.port, version="5")
            time.sleep(15)
            late = [at for at in peer.connects if at > time.monotonic() - 8]
            bench.verdict.check(
                f"0x{code:02X}: {len(peer.connects)} connects in 15 s, {len(late)} in the last 8",
                1 <= len(peer.connects) <= 10 and len(late) <= 4,
            )
            said = _said(client.status().problems, *words)
            bench.verdict.check(f"said {said[:100]!r}" if said else "reason not said", said)
            client.stop()
    with Peer(Manners(server_keep_alive_s=5)) as peer:
        client = bench.client(peer.port, version="5")
        time.sleep(12)
        bench.verdict.check(
            f"keep alive 5: {len(peer.pings)} pings in 12 s without traffic, connects {len(peer.connects)}",
            len(peer.pings) + len(peer.published) >= 2 and len(peer.connects) == 1,
        )
        client.stop()
