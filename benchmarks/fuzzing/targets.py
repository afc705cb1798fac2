"""Every parser of bytes from outside, with samples of what it reads."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import string
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from fuzzing.databases import database_targets
from fuzzing.harness import Target
from fuzzing.mutate import bundle_of, bytes_of, json_of, mutate_bytes, png_of, text_of, words_of, zip_of
from twin_edge.bundle import Bundle, Manifest
from twin_edge.bundle.archive import CODEC, GENERATOR, GOLDEN, MANIFEST, PLATE, PREVIEW
from twin_edge.bundle.golden import Golden
from twin_edge.bundle.graph_reader import read_graph
from twin_edge.bundle.plate import read_plate
from twin_edge.config import load_run_config
from twin_edge.models import Quantization
from twin_edge.models.operators import read_operators
from twin_edge.provisioning import Site
from twin_edge.sync import BrokerAddress, StateReport, TwinId
from twin_edge.sync.device.requests import RequestGate, answer_to
from twin_edge.sync.mqtt.certificates import validity
from twin_edge.sync.mqtt.credentials import read_password
from twin_edge.sync.mqtt.transport import ClientStats, Inbound, Outbound
from twin_edge.sync.view.cache import BundleCache
from twin_edge.sync.view.finder import TwinFinder
from twin_edge.sync.view.following import Following
from twin_edge.sync.view.patterns import TwinPattern
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.wire.blocks import Assembler, BundleIndex, split
from twin_edge.sync.wire.ditto import parse_ditto
from twin_edge.sync.wire.events import Event, build_event, parse_event
from twin_edge.sync.wire.history import build_history, frame, parse_history
from twin_edge.sync.wire.messages import (
    Availability,
    Request,
    build_avail,
    build_codec,
    build_request,
    build_state,
    parse_avail,
    parse_codec,
    parse_request,
    parse_state,
)
from twin_edge.sync.wire.topics import twin_of
from twin_edge.twin.codec import CodecTables, PacketReader, PacketWriter
from twin_edge.twin.exact import ExactGenerator
from twin_edge.twin.packet import Codec, Flags, Packet

TWIN: Final = TwinId("org.acme", "cam-01")
_SESSION: Final = 17
_TEXT: Final = string.ascii_letters + string.digits + "/+#$@:[]%.-_\0 \n\x7fé"
_PRINTABLE: Final = string.printable
_STATES: Final = 200
_NEW_EVERY: Final = 100
_MOST_UPDATES: Final = 255 * 128
"""States of a packet, times the packets that may wait for their bundle."""
_CERTIFICATE: Final = bytes.fromhex(
    # Of P-256, valid from 2026 to 2028: made once, so that fuzzing needs no more than a device has.
    "3082011c3081c3a003020102020101300a06082a8648ce3d040302300c310a300806035504030c0178301e170d3236303130313030"
    "303030305a170d3238303130313030303030305a300c310a300806035504030c01783059301306072a8648ce3d020106082a8648ce"
    "3d03010703420004"
)


def all_targets(bundle: Bundle) -> list[Target]:
    """Returns every target.

    Args:
        bundle: Whose parts and messages are the samples.
    """
    return [
        *_packets(bundle),
        *_messages(bundle),
        *_blocks(bundle),
        *_bundles(bundle),
        *_texts(),
        *database_targets(bundle, TWIN, packets_of(bundle, Codec.DELTA)),
        *_parties(bundle),
    ]


def packets_of(bundle: Bundle, codec: Codec) -> list[bytes]:
    """Returns packets of states that wander, as a device sends them."""
    random_numbers = np.random.default_rng(1)
    tables = bundle.codec if codec is Codec.DELTA else None
    writer = PacketWriter(bundle.model_id, _SESSION, tables, batch_ms=250)
    state = np.zeros(bundle.manifest.state.length)
    packets: list[Packet] = []
    for seq in range(_STATES):
        state += random_numbers.normal(size=len(state)) * 4 - state * 0.02
        whole = np.clip(np.rint(state), -128, 127).astype(np.int8)
        packets += writer.put(whole, seq, 1_700_000_000_000_000 + 33_333 * seq, key=seq % 60 == 0)
    return [packet.encode() for packet in packets]


def _packets(bundle: Bundle) -> list[Target]:
    length = bundle.manifest.state.length
    raw = [*packets_of(bundle, Codec.RAW)]
    delta = packets_of(bundle, Codec.DELTA)
    reader = PacketReader(bundle.codec)

    def read_raw(data: bytes) -> None:
        packet = Packet.decode(data, state_length=length)
        assert packet.encode() == data, "what was read is not what came"
        packet.seqs()

    def read_alone(data: bytes) -> None:
        _check_states(PacketReader(bundle.codec).read(data), length)

    def read_chain(data: bytes) -> None:
        # The same reader for all: it has to come back after whatever came before.
        _check_states(reader.read(data), length)

    keys = [data for data in delta if data[1] & Flags.KEY]
    return [
        Target("packet, raw", bytes_of(raw), read_raw, 300),
        Target("packet, codec 1, key", bytes_of(keys), read_alone, 40),
        Target("packet, codec 1, chain", _mostly_whole(delta), read_chain, 80),
    ]


def _check_states(packet: Packet, length: int) -> None:
    assert packet.states.shape == (len(packet.offsets_ms), length), "states of another shape"
    packet.seqs()


def _mostly_whole(samples: list[bytes]) -> Callable[[random.Random], bytes]:
    """Returns a mutator that lets half of the samples as they are, so that chains get somewhere."""
    return lambda rng: rng.choice(samples) if rng.randrange(2) else mutate_bytes(samples, rng)


def _messages(bundle: Bundle) -> list[Target]:
    report = StateReport(
        2**40, 5, 1_700_000_000_000_000, gap=0.5, in_sync=True, properties={"level": 4.5, "run": True, "light": "red"}
    )
    avail = [
        build_avail(TWIN, Availability(status, 17, reason)) for status, reason in (("online", ""), ("offline", "x"))
    ]
    requests = [build_request(Request("a1", "resync", bundle=True)), build_request(Request("b2", "ping"))]
    gate = RequestGate(1e9)
    event = build_event(17, 1, Event("gap-high", 5, 1_700_000_000_000_000, {"gap": 0.99}))
    history = build_history(frame(data) for data in packets_of(bundle, Codec.DELTA)[:8])
    thing = f"{TWIN.namespace}/{TWIN.device}/things"
    headers = {"correlation-id": "q1-1"}
    desired = {"topic": f"{thing}/twin/events/modified", "headers": headers, "revision": 9}
    desired |= {"path": "/features/config/desiredProperties", "value": {"fps": 5, "run": True}}
    refused = {"topic": f"{thing}/twin/errors", "headers": headers, "path": "/", "status": 404}
    refused |= {"value": {"status": 404, "error": "things:thing.notfound"}}
    live = {"topic": f"{thing}/live/messages/ping", "headers": headers, "path": "/inbox/messages/ping", "value": {}}
    ditto = [json.dumps(each).encode() for each in (desired, refused, live)]

    def admit(data: bytes) -> None:
        topic, correlation = data[:40].decode("latin-1"), data[:300]
        message = Inbound(TWIN.topics.request, data, response_topic=topic, correlation=correlation)
        gate.admit(message)
        answer, _ = answer_to(message, TWIN.topics)
        assert not set(answer) & set("+#\0"), "an answer to a filter"
        assert answer == TWIN.topics.answer or not answer.startswith(("twin/", "$", "homeassistant/"))

    return [
        Target("up/avail", json_of(avail), lambda data: parse_avail(TWIN, data), 80),
        Target("up/state", json_of([build_state(TWIN, 17, report)]), lambda data: parse_state(TWIN, data), 100),
        Target("up/codec", json_of([build_codec(bundle, Codec.DELTA)]), parse_codec, 80),
        Target("down/req", json_of(requests), parse_request, 80),
        Target("up/event", json_of([event]), parse_event, 60),
        Target("up/hist", bytes_of([history]), parse_history, 60),
        Target("down/ditto", json_of(ditto), lambda data: parse_ditto(TWIN, data), 60),
        Target("down/req, admitted", json_of(requests), admit, 40),
    ]


def _blocks(bundle: Bundle) -> list[Target]:
    index, blocks = split(bundle)
    samples = blocks[:3]

    def assemble(data: bytes) -> None:
        assembler = Assembler(index)
        for number, block in enumerate(blocks):
            assembler.add(number, block if number else data)
        assembler.add(len(data), data)
        assembler.add(-1, data)
        assembler.bundle()

    def assemble_any(data: bytes) -> None:
        # What a forger does who may write the index as well: every digest is right.
        forged, parts = _split_bytes(data, index.digest)
        assembler = Assembler(forged)
        for number, part in enumerate(parts):
            assert assembler.add(number, part)
        assembler.bundle()

    return [
        Target("up/bundle/index", json_of([index.to_bytes()]), BundleIndex.from_bytes, 40),
        Target("up/bundle/block", bytes_of(samples), assemble, 6, 3.0, 64 << 20),
        Target("blocks with right digests", bundle_of([bundle.data], _MEMBERS), assemble_any, 4, 5.0, 128 << 20),
    ]


def _split_bytes(data: bytes, digest: str) -> tuple[BundleIndex, list[bytes]]:
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        digest = hashlib.sha256(archive.read(MANIFEST)).hexdigest()
    parts = [data[start : start + 32768] for start in range(0, len(data), 32768)] or [b""]
    names = tuple(hashlib.sha256(part).hexdigest() for part in parts)
    return BundleIndex(digest, hashlib.sha256(data).hexdigest(), len(data), 32768, names), parts


_NPZ: Final[dict[str, Any]] = {}
_MEMBERS: Final[dict[str, Any]] = {
    CODEC: json_of,
    GOLDEN: lambda samples: zip_of(samples, _NPZ),
    PLATE: png_of,
    PREVIEW: png_of,
    MANIFEST: json_of,
}


def _bundles(bundle: Bundle) -> list[Target]:
    members, view, state = bundle.members, bundle.manifest.view, bundle.manifest.state
    manifest = bundle.manifest.to_bytes()
    targets = [
        Target("bundle, file", bytes_of([bundle.data]), Bundle.from_bytes, 6, 5.0, 128 << 20),
        Target("bundle, sealed again", bundle_of([bundle.data], _MEMBERS), Bundle.from_bytes, 6, 5.0, 128 << 20),
        Target("manifest", json_of([manifest]), Manifest.from_bytes, 24),
        Target("codec tables", json_of([members[CODEC]]), _tables_of(state.length), 12),
        Target(
            "golden samples",
            zip_of([members[GOLDEN]], _NPZ),
            lambda data: Golden.from_bytes(data, view, state),
            8,
            3.0,
            64 << 20,
        ),
        Target(
            "operators of a model",
            bytes_of([data for name, data in sorted(members.items()) if name.endswith(".tflite")]),
            read_operators,
            20,
        ),
        Target(
            "model",
            words_of([data for name, data in sorted(members.items()) if name.endswith(".tflite")]),
            read_graph,
            20,
        ),
        Target("generator, drawn with", words_of([members[GENERATOR]]), _draws(bundle), 5, 5.0, 600 << 20),
    ]
    if PLATE in members:
        plate = png_of([members[PLATE]])
        targets.append(Target("plate", plate, lambda data: read_plate(data, view.height, view.width), 20))
    return targets


def _draws(bundle: Bundle) -> Callable[[bytes], object]:
    spec = bundle.manifest.state
    latent, state = Quantization(spec.scale, spec.zero_point), np.zeros(spec.latent, np.int8)

    def draw(data: bytes) -> None:
        generator = ExactGenerator(data, latent)
        if generator.input_shape == (1, spec.latent):
            generator(state)

    return draw


def _tables_of(length: int) -> Callable[[bytes], object]:
    return lambda data: CodecTables.from_bytes(data, state_length=length)


def _texts() -> list[Target]:
    topics = [TWIN.topics.stream, TWIN.topics.block(12), TWIN.topics.request, TWIN.topics.index]
    urls = ["mqtt://localhost", "mqtts://cam-01@broker.lan:8883", "wss://u@h:9001/live", "mqtt://[::1]:1999"]
    toml = 'twin = "org.acme/cam-01"\nbroker = "mqtts://h"\nfps = 10\nkbps = 2.5\nwait-for-broker = true\n'
    folder = Path(tempfile.mkdtemp(prefix="twin-edge-fuzz-"))

    def topic(data: bytes) -> None:
        text = _text(data)
        twin = twin_of(text)
        assert twin is None or text.startswith(twin.topics.root), "a topic of another twin"
        TWIN.topics.block_number(text)

    def in_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = folder / "file"

        def parse(data: bytes) -> object:
            path.write_bytes(data)
            path.chmod(0o600)
            return read(path)

        return parse

    site = Site(("broker.lan",), 8883, "127.0.0.1").to_bytes()
    secrets = ["hunter2\n", "pass word", "ü\r\n"]
    return [
        Target("topic", text_of(topics, _TEXT), topic, 120),
        Target("twin id", text_of([str(TWIN), "a.b-c/D_1"], _TEXT), lambda data: TwinId.parse(_text(data)), 30),
        Target(
            "broker URL",
            text_of(urls, _TEXT),
            lambda data: BrokerAddress.parse(_text(data)),
            40,
        ),
        Target("twin.toml", text_of([toml], _PRINTABLE), in_file(lambda path: load_run_config(path, {})), 16),
        Target("site.json", json_of([site]), Site.from_bytes, 16),
        Target("password file", text_of(secrets, _PRINTABLE), in_file(lambda path: read_password(path, {})), 8),
        Target("certificate", bytes_of([_CERTIFICATE + bytes(160)]), validity, 30),
    ]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


class _NoClient:
    """Takes what a subscriber sends, in place of the connection."""

    def publish(self, _message: Outbound) -> bool:
        return True

    def subscribe(self, _topics: list[tuple[str, int]]) -> None:
        pass

    def unsubscribe(self, _topics: list[str]) -> None:
        pass

    def stats(self) -> ClientStats:
        return ClientStats(True, "5", 1, 0, 0, 0, 0, 0, "")


class _Updates:
    """Takes what a subscriber makes of messages."""

    def __init__(self) -> None:
        self.count = 0

    def put_updates(self, _twin: TwinId, updates: list[TwinUpdate]) -> None:
        self.count += len(updates)

    def put_event(self, event: TwinEvent) -> None:
        pass


class _Subscribers:
    """A subscriber, and a new one every hundred messages: one that follows a forged session hears nothing any more."""

    def __init__(self, client: Any, cache: BundleCache, codec: bytes) -> None:
        self._client, self._cache, self._codec = client, cache, codec
        self._updates = _Updates()
        self._following: Following | None = None
        self._count = 0

    def hear(self, message: Inbound) -> int:
        """Gives it a message; returns how many updates came of it."""
        if self._following is None or self._count % _NEW_EVERY == 0:
            patterns = [TwinPattern.parse(str(TWIN))]
            self._following = Following(self._client, patterns, self._cache, self._updates, max_twins=4)
            self._following.heard(Inbound(TWIN.topics.codec, self._codec), 1.0)
        self._count += 1
        before = self._updates.count
        self._following.heard(message, 1.0)
        return self._updates.count - before


def _parties(bundle: Bundle) -> list[Target]:
    """Whole subscribers: whatever comes in, and in whatever order, nothing may come out but updates."""
    index, blocks = split(bundle)
    topics = TWIN.topics
    state = build_state(TWIN, 17, StateReport(5, 5, 1_700_000_000_000_000, gap=0.5))
    valid: list[tuple[str, bytes]] = [
        (topics.avail, build_avail(TWIN, Availability("online", 17))),
        (topics.codec, build_codec(bundle, Codec.DELTA)),
        (topics.state, state),
        (topics.index, index.to_bytes()),
        *((topics.block(number), block) for number, block in enumerate(blocks[:3])),
        *((topics.key, data) for data in packets_of(bundle, Codec.DELTA)[:1]),
        *((topics.stream, data) for data in packets_of(bundle, Codec.DELTA)[:8]),
        (topics.history, build_history(frame(data) for data in packets_of(bundle, Codec.DELTA)[:8])),
        (topics.event, build_event(17, 1, Event("gap-high", 5, 1_700_000_000_000_000, {"gap": 0.99}))),
    ]
    cache = BundleCache(Path(tempfile.mkdtemp(prefix="twin-edge-fuzz-")))
    cache.store(bundle)
    client: Any = _NoClient()
    subscribers = _Subscribers(client, cache, valid[1][1])
    finder = TwinFinder(client)

    def script(rng: random.Random) -> bytes:
        topic, payload = rng.choice(valid)
        if rng.randrange(3):
            is_json = payload.startswith(b"{")
            payload = (json_of if is_json else bytes_of)([payload])(rng)
        if not rng.randrange(10):
            topic = rng.choice(valid)[0]
        return json.dumps([topic, rng.randrange(2)]).encode() + b"\n" + payload

    def hear(data: bytes) -> None:
        head, payload = data.split(b"\n", maxsplit=1)
        topic, retained = json.loads(head)
        message = Inbound(topic, payload, retained=bool(retained))
        updates = subscribers.hear(message)
        finder.heard(message, 1.0)
        assert updates <= _MOST_UPDATES, "more updates than states could have come"

    return [Target("a whole subscriber", script, hear, 60, 5.0, 128 << 20)]
