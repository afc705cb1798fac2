"""Making recordings of real packets of a real bundle, as a view's tap gives them."""

from __future__ import annotations

from twin_edge.sync import StateReport, TwinId
from twin_edge.sync.wire.events import Event, build_event, parse_event
from twin_edge.sync.wire.messages import build_state
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.packet import Flags
from view_feed import packets_of

TWIN = TwinId("org.acme", "cam-01")
BEGIN_US = 1_700_000_000_000_000


def add(writer, bundle, count, *, twin=TWIN, historical=False, **options):
    """Adds states, ten a second, with a key every five seconds; returns what subscribers get, by seq."""
    options = {"keys": range(0, count, 50), "begin_us": BEGIN_US, **options}
    packets, decoded = packets_of(bundle, count, **options)
    reader = PacketReader(bundle.codec)
    for packet in packets:
        data = bytearray(packet.encode())
        if historical:
            data[1] |= Flags.HISTORICAL
        writer.packet(twin, bundle, bytes(data), reader.read(bytes(data)))
    return decoded


def report(writer, seq, gap, *, twin=TWIN, properties=None, begin_us=BEGIN_US):
    report = StateReport(
        1000 + seq,
        seq,
        begin_us + 100_000 * seq,
        gap,
        in_sync=gap < 0.9,
        properties=properties or {"level": 63.0 + seq},
    )
    writer.report(twin, build_state(twin, 1, report))


def event(writer, number, seq, kind="gap-high", *, twin=TWIN):
    data = build_event(1, number, Event(kind, seq, BEGIN_US + 100_000 * seq, {"gap": 0.99}))
    writer.event(twin, data, parse_event(data))
