"""Checks at the broker: what this device may do there, found out by doing it, and nobody notices.

What a check publishes says nothing to anybody:

- It is never retained, so that whatever late joiners find stays as it is.
- It is a repetition of what is retained on the topic, where that is harmless by the numbers in it (`up/state`,
  `up/key`, `up/codec`, `up/bundle/index`) or by being a picture; else it is empty, and subscribers ignore empty
  messages. `up/avail` is never repeated: it might have changed a moment ago.
- A will cannot be tried on `up/avail` without lying, so it is tried on `up/probe/will`, which nobody listens to.
- Home Assistant takes an empty discovery message for the end of the device; it gets text that is no JSON object,
  which it logs and ignores.
- No connection has the device's own client id, because the broker would end that of a device that runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.bundle.archive import MAX_BUNDLE_BYTES
from twin_edge.doctor.finding import Finding, Outcome, ok, skipped, warn
from twin_edge.doctor.machine import state_folder
from twin_edge.doctor.patient import Patient
from twin_edge.doctor.probe import NOT_AUTHORIZED, Probe
from twin_edge.errors import MessageError, SyncError
from twin_edge.runtime.brokers import broker_config
from twin_edge.sync import MqttVersion
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.sync.wire.blocks import BLOCK_BYTES, split
from twin_edge.sync.wire.messages import Request, build_request, parse_avail

UP_TOPICS: Final = (
    "avail", "birth", "codec", "key", "z", "state", "event", "hist", "bundle/index", "bundle/block/0", "preview", "res",
    "cfg/probe", "ota",
)  # fmt: skip
"""What a device writes below `up/`."""
_REPEATABLE: Final = frozenset({"codec", "key", "state", "bundle/index", "preview"})
_DISCOVERY_TEXT: Final = b'"twin-edge doctor: ignore this"'
_HEADER_BYTES: Final = 16
_LARGEST_INDEX_BYTES: Final = MAX_BUNDLE_BYTES // BLOCK_BYTES * 67 + 512
_FEW: Final = 4
_ECHO_S: Final = 2.0
_SECOND_S: Final = 0.3
_ACL: Final = "add it to the broker's rules: 'twin-edge provision' writes them"


def check_login(patient: Patient, name: str) -> Iterator[Finding]:
    """Logs in, with a client id of its own, and looks whether a second connection ends the first."""
    first = patient.log_in()
    with patient.connect("-second"):
        first.listen(_SECOND_S)
    patient.single = not first.connected
    broker = patient.broker
    how = (
        "a certificate" if broker.cert_file else "a password" if broker.password else "no secret: it is an open broker"
    )
    seen = f"taken with {how}"
    if patient.single:
        yield warn(
            name,
            f"{seen}; the broker gives it one connection only, so that this one ended that of the device",
            "nothing, if client ids are pinned on purpose; then stop the device before it is examined",
        )
    elif broker.cert_file is None and broker.password is None:
        yield warn(name, seen, "let the broker ask for certificates: 'twin-edge provision'")
    else:
        yield ok(name, seen)


def check_version(patient: Patient, name: str) -> Iterator[Finding]:
    """Tells the MQTT version that was agreed on."""
    if patient.probe.version is MqttVersion.V5:
        yield ok(name, "MQTT 5")
    elif patient.broker.protocol is MqttVersion.V311:
        yield ok(name, "MQTT 3.1.1, as told")
    else:
        yield warn(
            name,
            "MQTT 3.1.1 only: the broker does not say when it throws a message away",
            "upgrade it to one that speaks MQTT 5, such as mosquitto 2",
        )


def check_identity(patient: Patient, name: str) -> Iterator[Finding]:
    """Listens whether another device is this twin.

    Connecting with its client id would tell for sure, and end its connection; so we look at what it says.
    """
    probe, topics = patient.probe, patient.twin.topics
    probe.subscribe(topics.avail, topics.stream, topics.state)
    here = _runs_here(patient)
    probe.listen(patient.config.listen_s)
    live = [each for each in probe.heard if not each.retained and each.payload]
    kept = next((each for each in reversed(probe.heard) if each.topic == topics.avail), None)
    online = False
    if kept is not None:
        with contextlib.suppress(MessageError):
            online = parse_avail(patient.twin, kept.payload).online
    if here:
        yield ok(name, f"{patient.twin} runs on this machine" + (" and is heard" if live else ", and says nothing now"))
    elif live:
        raise SyncError(
            f"another device is {patient.twin}: {len(live)} messages of it in {patient.config.listen_s:g} s",
            fix="give this one another name with --twin, and a certificate of its own",
        )
    elif online:
        yield warn(
            name,
            f"the broker says that {patient.twin} is online; it is not this machine, and it says nothing",
            "look for another device of that name; it goes away with the next start of this one otherwise",
        )
    else:
        yield ok(name, f"nobody else is {patient.twin}, as far as can be heard")


def check_writes(patient: Patient, name: str) -> Iterator[Finding]:
    """Publishes on each topic below `up/`."""
    probe, root = patient.probe, patient.twin.topics.root
    probe.subscribe(f"{root}up/#")
    probe.listen(_ECHO_S / 4)
    results = {topic: _write(probe, f"{root}up/{topic}", _harmless(probe, root, topic)) for topic in UP_TOPICS}
    readable = Outcome.OK in results.values()
    for topic, outcome in results.items():
        check = f"{name} up/{topic}"
        if outcome is Outcome.OK:
            yield ok(check, "taken")
        elif outcome is Outcome.FAIL or readable:
            yield Finding(
                check,
                Outcome.FAIL,
                "the broker throws it away: this user may not write there",
                f"allow it to write {root}up/{topic}; 'twin-edge provision' writes the rules",
                SyncError.exit_code,
            )
        else:
            yield warn(
                check,
                "no echo: this user may not write it, or not read it back, and MQTT 3.1.1 does not tell",
                f"allow it readwrite on {root}up/#, or use a broker with MQTT 5",
            )


def check_isolation(patient: Patient, name: str) -> Iterator[Finding]:
    """Tries to write as another device, on a topic of a device that does not exist."""
    probe, twin = patient.probe, patient.twin
    topic = f"twin/v1/{twin.namespace}/{twin.device[:40]}-nobody-{secrets.token_hex(3)}/up/probe"
    probe.subscribe(topic)
    outcome = _write(probe, topic, secrets.token_hex(8).encode())
    if outcome is Outcome.OK:
        yield warn(
            name, "this user may write the topics of other devices", "give the broker rules: 'twin-edge provision'"
        )
    elif outcome is Outcome.FAIL:
        yield ok(name, "the broker refuses topics of other devices")
    else:
        yield ok(name, "no echo on topics of other devices (MQTT 3.1.1 tells no more)")


def check_discovery(patient: Patient, name: str) -> Iterator[Finding]:
    """Publishes on the topic of Home Assistant's discovery, what it ignores."""
    topic = f"homeassistant/device/{patient.twin.device}/config"
    probe = patient.probe
    probe.subscribe(topic)
    outcome = _write(probe, topic, _DISCOVERY_TEXT)
    if outcome is Outcome.OK:
        yield ok(name, f"{topic} is taken")
    elif outcome is Outcome.FAIL:
        yield warn(name, f"this user may not write {topic}: Home Assistant will not find the device", _ACL)
    else:
        yield skipped(name, "no echo; with MQTT 3.1.1 only a user that may read it back can tell")


def check_will(patient: Patient, name: str) -> Iterator[Finding]:
    """Breaks a connection off, and waits for its will on a topic that nobody listens to."""
    if patient.single:
        yield skipped(name, "takes two connections, and the broker gives this device one")
        return
    root, nonce = patient.twin.topics.root, secrets.token_hex(8).encode()
    topic = f"{root}up/probe/will"
    watcher = patient.probe
    watcher.subscribe(topic)
    with patient.connect("-will", will=Outbound(topic, nonce, qos=1)) as dying:
        dying.break_off()
    if watcher.find(lambda each: each.payload == nonce) is not None:
        yield ok(name, "published when a connection breaks off")
        return
    if _write(watcher, topic, nonce + b"-own") is not Outcome.OK:
        yield skipped(name, f"this user may not write and read {topic}, so that it cannot be tried")
        return
    raise SyncError(
        "a connection broke off, and its will was not published: subscribers will see a dead device as online",
        fix="allow wills in the broker's configuration; on 3.1.1 a will outside of the rules is dropped without a word",
    )


def check_down(patient: Patient, name: str) -> Iterator[Finding]:
    """Subscribes below `down/`, and lets somebody else write there."""
    probe, topics = patient.probe, patient.twin.topics
    reasons = probe.subscribe(f"{topics.root}down/#")
    if not reasons or reasons[0].is_failure:
        raise SyncError(
            f"the broker refused the subscription to {topics.root}down/#"
            + (f" ({str(reasons[0]).lower()})" if reasons else ""),
            fix=_ACL,
        )
    nonce = secrets.token_hex(8)
    if patient.config.peer is not None:
        # A ping is carried out by a device that runs: it answers on up/res, and nothing else happens.
        with patient.connect("-peer", broker=broker_config(patient.config.peer)) as peer:
            answer = peer.publish(topics.request, build_request(Request(nonce, "ping")))
        if answer is None or answer.is_failure:
            yield skipped(name, "the peer may not write down/req, so that it cannot be tried")
        elif probe.find(lambda each: nonce.encode() in each.payload) is None:
            raise SyncError(f"a request of the peer did not come through on {topics.request}", fix=_ACL)
        else:
            yield ok(name, "a request of the peer came through")
        return
    outcome = _write(probe, f"{topics.root}down/probe", nonce.encode())
    if outcome is Outcome.OK:
        yield warn(
            name,
            "subscribed, and messages come through; but everybody may send them",
            "give the broker rules: 'twin-edge provision'",
        )
    else:
        yield skipped(name, "subscribed; --peer with the settings of a subscriber tells whether messages come through")


def check_receive_maximum(patient: Patient, name: str) -> Iterator[Finding]:
    """Looks how many messages the broker takes at once."""
    most = patient.probe.properties.get("ReceiveMaximum")
    if most is None:
        yield ok(name, "no limit told; 16 are sent at once")
    elif most < _FEW:
        yield warn(name, f"{most} at once: bundle and history will be slow", "raise it to 16 or more")
    else:
        yield ok(name, f"{most} at once")


def check_packet_size(patient: Patient, name: str) -> Iterator[Finding]:
    """Compares the broker's limit with our longest message, and sends one as long where nobody listens."""
    topics, bundle = patient.twin.topics, patient.bundle
    what = f"the bundle {bundle.manifest.name}" if bundle else "the largest bundle"
    if bundle is None:
        longest = _LARGEST_INDEX_BYTES
    else:
        index, blocks = split(bundle)
        longest = max(len(index.to_bytes()), *map(len, blocks))
    needed = longest + len(topics.block(99_999)) + _HEADER_BYTES
    told = patient.probe.properties.get("MaximumPacketSize")
    if told is not None and told < needed:
        yield _too_small(name, f"the broker takes {told} bytes, {what} needs {needed}", needed, sure=bundle is not None)
        return
    # A connection of its own: a broker with a limit that it does not tell ends it.
    with patient.connect("-size") as probe:
        answer = probe.publish(f"{topics.root}up/probe/size", bytes(longest))
        if answer is None:
            yield _too_small(name, f"the broker ends the connection at {needed} bytes", needed, sure=bundle is not None)
        elif answer.is_failure and answer.value != NOT_AUTHORIZED:
            yield warn(name, f"a message of {needed} bytes was refused ({str(answer).lower()})", "raise its limits")
        else:
            yield ok(name, f"{needed} bytes taken, as {what} needs")


def _too_small(check: str, seen: str, needed: int, *, sure: bool) -> Finding:
    fix = f"raise max_packet_size above {needed}; without, subscribers need a copy of the bundle"
    return Finding(check, Outcome.FAIL, seen, fix, SyncError.exit_code) if sure else warn(check, seen, fix)


def _harmless(probe: Probe, root: str, topic: str) -> bytes:
    """Returns a payload that says nothing new on a topic."""
    if topic not in _REPEATABLE:
        return b""
    # The latest: a live message may have followed the retained one.
    return next((each.payload for each in reversed(probe.heard) if each.topic == f"{root}up/{topic}"), b"")


def _write(probe: Probe, topic: str, payload: bytes) -> Outcome:
    """Publishes; returns OK when it was taken, FAIL when it was refused, SKIPPED when nobody can say."""
    before = sum(each.topic == topic for each in probe.heard)
    answer: ReasonCode | None = probe.publish(topic, payload)
    if answer is None or answer.is_failure:
        return Outcome.FAIL
    if probe.version is MqttVersion.V5:
        return Outcome.OK
    # MQTT 3.1.1 acknowledges what it throws away; but what comes back was taken.
    probe.find(lambda _each: sum(each.topic == topic for each in probe.heard) > before, _ECHO_S)
    return Outcome.OK if sum(each.topic == topic for each in probe.heard) > before else Outcome.SKIPPED


def _runs_here(patient: Patient) -> bool:
    """Returns whether a process of this machine has the lock on the twin's identity."""
    try:
        descriptor = os.open(state_folder(patient) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, and let go at once: a device that starts in this very moment is told to try again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
