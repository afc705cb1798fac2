"""Simulated devices for the benchmarks of subscribers: real packets of a real bundle, many devices to a process.

    python benchmarks/simulated_devices.py BUNDLE STATES.npy URL --first 0 --count 250 --seconds 30 --batch-ms 250

What they send is made beforehand, for 20 different moments, so that the simulation takes next to nothing from the
machine while it runs: packets (a key every 10 s, which is retained as well), a report a second, codec and availability.
All of it goes through one connection of QoS 0. Requests are not answered. Prints JSON when all is made and announced,
and when it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twin_edge.bundle import Bundle
from twin_edge.recording.chunks import varint
from twin_edge.sync import Availability, StateReport, TwinId
from twin_edge.sync.wire.messages import build_avail, build_codec, build_state
from twin_edge.twin.codec import PacketWriter
from twin_edge.twin.packet import Codec, Flags

FPS = 10.0
KEY_EVERY_S = 10.0
NAMESPACE = "org.simulated"
QUALITY = 1
TRACKS = 20
"""Devices are at this many different moments."""
SLICE_S = 0.005
PUBLISH, RETAINED = 0x30, 0x01


@dataclass(slots=True)
class Script:
    """What is sent, in the order of time."""

    states: int
    packets: int
    payload_bytes: int
    due_s: list[float]
    messages: list[bytes]


def publish(topic: str, payload: bytes, *, retain: bool = False) -> bytes:
    """Returns an MQTT 3.1.1 publish of QoS 0."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + payload
    return bytes((PUBLISH | (RETAINED if retain else 0),)) + varint(len(body)) + body


@dataclass(frozen=True, slots=True)
class Track:
    """What the devices of a moment send: the same packets, which say nothing of whose they are."""

    phase_s: float
    packets: tuple[tuple[float, bytes, bool], ...]
    """When each is due, the packet, and whether it is a key."""


def make_tracks(
    bundle: Bundle, states: npt.NDArray[np.int8], options: argparse.Namespace, begin_us: int
) -> list[Track]:
    """Returns the packets of all moments from a time on, microseconds since the epoch."""
    tracks = []
    count = round(options.seconds * FPS)
    for number in range(TRACKS):
        writer = PacketWriter(bundle.model_id, 1, bundle.codec, batch_ms=options.batch_ms)
        writer.level = QUALITY
        phase_s = number / TRACKS / FPS
        timed = []
        for seq in range(count):
            due_s = phase_s + seq / FPS
            state = states[(37 * number + seq) % len(states)]
            key = seq % round(KEY_EVERY_S * FPS) == 0
            packets = writer.put(state, seq, begin_us + round(1e6 * due_s), key=key)
            if seq == count - 1:
                packets += writer.flush()
            timed += [(due_s, packet.encode(), Flags.KEY in packet.flags) for packet in packets]
        tracks.append(Track(phase_s, tuple(timed)))
    return tracks


def write_script(tracks: list[Track], options: argparse.Namespace, begin_us: int) -> Script:
    """Returns what all devices send from a time on, microseconds since the epoch."""
    script = Script(0, 0, 0, [], [])
    timed: list[tuple[float, bytes]] = []
    for number in range(options.first, options.first + options.count):
        twin = TwinId(NAMESPACE, f"cam-{number:04}")
        track = tracks[number % TRACKS]
        for due_s, data, key in track.packets:
            if key:
                timed.append((due_s, publish(twin.topics.key, data, retain=True)))
            timed.append((due_s, publish(twin.topics.stream, data)))
            script.payload_bytes += len(data)
        script.packets += len(track.packets)
        script.states += round(options.seconds * FPS)
        for second in range(round(options.seconds)):
            time_us = begin_us + round(1e6 * (track.phase_s + second))
            seq = round(second * FPS)
            report = StateReport(time_us, seq, time_us, 0.4, in_sync=True, properties={"level": 63.0})
            payload = build_state(twin, 1, report)
            timed.append((track.phase_s + second, publish(twin.topics.state, payload, retain=True)))
    timed.sort(key=lambda each: each[0])
    script.due_s = [due_s for due_s, _ in timed]
    script.messages = [message for _, message in timed]
    return script


def connect(url: str, name: str) -> socket.socket:
    """Connects to a broker on this machine, `mqtt://HOST:PORT`, with MQTT 3.1.1 and no keepalive."""
    host, port = url.removeprefix("mqtt://").split(":")
    connection = socket.create_connection((host, int(port)), 10)
    client_id = name.encode()
    body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(client_id)) + client_id
    connection.sendall(bytes((0x10, len(body))) + body)
    if connection.recv(4) != b"\x20\2\0\0":
        raise SystemExit("the broker refused a simulated device")
    return connection


def announce(bundle: Bundle, connection: socket.socket, options: argparse.Namespace) -> None:
    """Says of each device that it is there."""
    codec = build_codec(bundle, Codec.DELTA)
    for number in range(options.first, options.first + options.count):
        twin = TwinId(NAMESPACE, f"cam-{number:04}")
        online = build_avail(twin, Availability("online", 1))
        connection.sendall(
            publish(twin.topics.codec, codec, retain=True) + publish(twin.topics.avail, online, retain=True)
        )


def send(script: Script, connection: socket.socket, begin_us: int) -> float:
    """Sends everything when it is due; returns by how many seconds the latest was late."""
    at, late_s = 0, 0.0
    while at < len(script.messages):
        passed_s = time.time() - begin_us / 1e6
        end = at
        while end < len(script.due_s) and script.due_s[end] <= passed_s:
            end += 1
        if end > at:
            late_s = max(late_s, passed_s - script.due_s[at])
            connection.sendall(b"".join(script.messages[at:end]))
            at = end
        time.sleep(SLICE_S)
    return late_s


def main() -> int:
    """Runs the devices for a while."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("states", type=Path)
    parser.add_argument("url")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--batch-ms", type=float, default=250.0)
    parser.add_argument("--begin", type=float, required=True, help="When to begin, seconds since the epoch.")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    begin_us = round(1e6 * options.begin)
    tracks = make_tracks(bundle, np.load(options.states), options, begin_us)
    script = write_script(tracks, options, begin_us)
    connection = connect(options.url, f"simulated-{options.first}")
    announce(bundle, connection, options)
    print(json.dumps({"type": "ready", "left_s": options.begin - time.time()}), flush=True)
    before = os.times()
    late_s = send(script, connection, begin_us)
    after = os.times()
    time.sleep(1.0)
    connection.sendall(b"\xe0\0")
    connection.close()
    figures = {
        "type": "done",
        "states": script.states,
        "packets": script.packets,
        "bytes": script.payload_bytes,
        "late_s": round(late_s, 3),
        "cpu_s": round(after.user + after.system - before.user - before.system, 2),
    }
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
