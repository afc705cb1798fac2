"""The two databases that lie on a disk and may be damaged or forged there: the spool and recordings."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from fuzzing.harness import Target
from fuzzing.mutate import Mutator, mutate_bytes
from twin_edge.bundle import Bundle
from twin_edge.recording import Recording, RecordingWriter
from twin_edge.sync import EngineConfig, StateReport, TwinId
from twin_edge.sync.engine.backlog import Backlog
from twin_edge.sync.engine.spool import FILE_NAME, Spool, SpoolChanges, StoredMessage
from twin_edge.sync.wire.events import Event, build_event, parse_event
from twin_edge.sync.wire.history import frame
from twin_edge.sync.wire.messages import build_state
from twin_edge.twin.codec import PacketReader

_MESSAGES: Final = 12
_EVERY: Final = 8
"""One event for so many packets."""


def database_targets(bundle: Bundle, twin: TwinId, packets: list[bytes]) -> list[Target]:
    """Returns the targets.

    Args:
        bundle: The bundle of the packets.
        twin: Whose they are.
        packets: Packets of its stream, in order.
    """
    spool, recording = _folder(), _folder()
    return [
        Target("spool file", _changed(_spool_of(spool, packets)), _read_spool(spool), 8, 3.0, 64 << 20),
        Target(
            "recording",
            _changed(_recording_of(recording / "sample.rec", bundle, twin, packets)),
            _read_recording(recording),
            3,
            10.0,
            128 << 20,
        ),
    ]


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="twin-edge-fuzz-"))


def _changed(sample: bytes) -> Mutator:
    """Returns a mutator that mostly changes the tables: most of the bytes are payload, which others look at."""
    head = 3 * 4096

    def mutate(rng: random.Random) -> bytes:
        if rng.randrange(2):
            return mutate_bytes([sample], rng)
        data = bytearray(sample)
        for _ in range(rng.randint(1, 12)):
            page = 4096 * rng.randrange(max(1, len(data) // 4096))
            data[rng.choice((rng.randrange(head), page + rng.randrange(64))) % len(data)] = rng.randrange(256)
        return bytes(data)

    return mutate


def _spool_of(folder: Path, packets: list[bytes]) -> bytes:
    spool = Spool(EngineConfig(folder, free_floor_bytes=0))
    kinds = ("critical", "state")
    messages = tuple(
        StoredMessage(number, kinds[number % 2], f"t/{number}", bytes(90), number % 3 == 0, b"c", 1.5, number % 4)
        for number in range(1, _MESSAGES)
    )
    parts = tuple((number // 4, number % 4, frame(data)) for number, data in enumerate(packets[:_MESSAGES]))
    spool.write(SpoolChanges(stored=messages, parts=parts))
    spool.write(SpoolChanges(removed=(1,), empties=True))
    spool.close()
    return (folder / FILE_NAME).read_bytes()


def _read_spool(folder: Path) -> Callable[[bytes], object]:
    config = EngineConfig(folder, free_floor_bytes=0)

    def read(data: bytes) -> None:
        for old in folder.iterdir():
            old.unlink()
        (folder / FILE_NAME).write_bytes(data)
        spool = Spool(config)
        try:
            messages, parts = spool.load()
            backlog = Backlog(config)
            backlog.restore(messages, parts)
            backlog.stats()
            spool.write(SpoolChanges(tuple(messages[:1]), tuple(one.serial for one in messages), tuple(parts[:1])))
        finally:
            spool.close()

    return read


def _recording_of(path: Path, bundle: Bundle, twin: TwinId, packets: list[bytes]) -> bytes:
    reader = PacketReader(bundle.codec)
    with RecordingWriter(path) as writer:
        for number, data in enumerate(packets):
            packet = reader.read(data)
            writer.packet(twin, bundle, data, packet)
            if number % _EVERY == 0:
                report = StateReport(number + 1, packet.seq, packet.time_us, gap=0.5, properties={"level": 4.5})
                writer.report(twin, build_state(twin, packet.session, report))
                event = build_event(packet.session, number, Event("gap-high", packet.seq, packet.time_us, {"gap": 0.9}))
                writer.event(twin, event, parse_event(event))
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA journal_mode = DELETE")
    base.close()
    return path.read_bytes()


def _read_recording(folder: Path) -> Callable[[bytes], object]:
    path = folder / "changed.rec"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with Recording(path) as recording:
            for twin in recording.twins:
                recording.contents(twin)
                for update in recording.updates(twin):
                    assert update.state.dtype == np.int8, "states of another type"
                for _ in recording.reports(twin):
                    pass
                for _ in recording.events(twin):
                    pass

    return read
