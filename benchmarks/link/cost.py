"""What the link costs at 30 states a second: processor, bytes on the wire, bytes on the disk.

The states are those of the rig through the bundle's encoder, made beforehand; what is measured is the link alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from link.broker import Broker
from link.capture import Capture
from link.clients import CLIENTS, LinkClient, Setup
from link.observer import eventually
from twin_edge.bundle import Bundle
from twin_edge.cameras import RigCamera
from twin_edge.files import write_atomic
from twin_edge.runtime.sending import SendingConfig, StateSender
from twin_edge.twin import Twin
from twin_edge.twin.packet import Codec, Packet

RATE: Final = 30
SEED: Final = 9101
"""Of the rig: neither training nor calibration has seen it."""
STATES_S: Final = 12.0
REPORTS_S: Final = 10.0
_INSIDE: Final = "TWIN_EDGE_BENCH_NETNS"
_HEADERS: Final = 52
"""IP and TCP headers of a segment with timestamps, bytes."""
_BYTES_RECEIVED, _SEGS, _BYTES_SENT = 128, 136, 200
"""Offsets in the kernel's `struct tcp_info`."""
_TCP_INFO_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Setting:
    """How states are sent."""

    name: str
    """For the table."""
    client: str
    """Which client."""
    sending: SendingConfig
    """Codec and batch."""


SETTINGS: Final = (
    Setting("raw, each state by itself", "twin-edge", SendingConfig(Codec.RAW, batch_ms=0)),
    Setting("raw, 3 states a packet", "twin-edge", SendingConfig(Codec.RAW, batch_ms=85)),
    Setting("codec 1, 250 ms", "twin-edge", SendingConfig(Codec.DELTA, batch_ms=250)),
    Setting("codec 1, 500 ms", "twin-edge", SendingConfig(Codec.DELTA, batch_ms=500)),
    Setting("bare paho: raw, each state by itself", "paho", SendingConfig(Codec.RAW, batch_ms=0)),
    Setting("bare paho: codec 1, 250 ms", "paho", SendingConfig(Codec.DELTA, batch_ms=250)),
)


def measure_cost(bundle: Path, results: Path) -> None:
    """Measures every setting, prints it, and writes it to `cost` of the result file.

    Where the kernel allows it, all of it runs in a network namespace of its own, in which bytes are counted by a
    capture; elsewhere they come from the kernel's counters of the connection (TCP_INFO).
    """
    if _INSIDE not in os.environ and _may_unshare():
        environment = os.environ | {_INSIDE: "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "link", "cost", "--bundle", str(bundle)]
        inside = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        subprocess.run(inside, env=environment, check=True)
        return
    states = rig_states(Bundle.open(bundle), int(RATE * (STATES_S + REPORTS_S + 10)))
    figures = []
    for setting in SETTINGS:
        figures.append(_measure(setting, Bundle.open(bundle), states))
        print(json.dumps(figures[-1]))
    store(results, "cost", figures)


def store(results: Path, key: str, value: Any) -> None:
    """Writes one part of the result file and keeps the others."""
    known = json.loads(results.read_bytes()) if results.exists() else {}
    known[key] = value
    write_atomic(results, (json.dumps(known, indent=1, ensure_ascii=False) + "\n").encode())


def rig_states(bundle: Bundle, count: int) -> npt.NDArray[np.int8]:
    """Returns consecutive states of the rig, int8 of shape (count, state length)."""
    twin = Twin(bundle)
    states: list[npt.NDArray[np.int8]] = []
    with contextlib.closing(RigCamera(f"rig:seed={SEED}")) as camera:
        camera.open()
        while len(states) < count:
            states.append(twin.encode(twin.make_view(camera.read(1.0).image)).copy())
    return np.stack(states)


class _Sink:
    """Hands packets to a client, and keeps the processor time that this takes its caller."""

    def __init__(self, client: LinkClient) -> None:
        self._client = client
        self.caller_ns = 0

    def publish(self, packet: Packet) -> bool:
        began = time.thread_time_ns()
        self._client.stream(packet)
        self.caller_ns += time.thread_time_ns() - began
        return True

    @property
    def stands_alone(self) -> bool:
        link = getattr(self._client, "link", None)
        return link is not None and link.stands_alone

    def take_resync(self) -> bool:
        link = getattr(self._client, "link", None)
        return link is not None and link.take_resync()


def _measure(setting: Setting, bundle: Bundle, states: npt.NDArray[np.int8]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="twin-link-") as folder, Broker(Path(folder) / "broker") as broker:
        before = set(threading.enumerate())
        setup = Setup(broker.port, Path(folder), bundle)
        client = CLIENTS[setting.client](setup)
        client.start()
        try:
            eventually(lambda: client.status().connected, 10)
            time.sleep(2)
            eventually(lambda: not client.status().waiting, 10)
            time.sleep(2)
            sink = _Sink(client)
            sender = StateSender(sink, bundle, setup.session, setting.sending)
            threads = [thread for thread in threading.enumerate() if thread not in before]
            feed = _Feed(sender, states)
            feed.run(3, None)
            alone = _span(broker.port, threads, sink, lambda: feed.run(STATES_S, None))
            reporting = _span(broker.port, threads, sink, lambda: feed.run(REPORTS_S, client))
        finally:
            client.stop()
    return {
        "setting": setting.name,
        "states_s": round(alone["states"] / STATES_S, 2),
        "cpu_percent": alone["cpu_percent"],
        "cpu_percent_of_callers": alone["caller_percent"],
        "kbit_s_up": alone["kbit_s_up"],
        "kbit_s_down": alone["kbit_s_down"],
        "counted_by": "capture" if _INSIDE in os.environ else "TCP_INFO",
        "packets_s_up": alone["packets_s_up"],
        "payload_kbit_s": alone["payload_kbit_s"],
        "kbit_s_up_with_a_report_a_second": reporting["kbit_s_up"],
        "written_bytes": alone["written_bytes"] + reporting["written_bytes"],
    }


class _Feed:
    """Sends states at their rate."""

    def __init__(self, sender: StateSender, states: npt.NDArray[np.int8]) -> None:
        self._sender = sender
        self._states = states
        self._next = 0

    def run(self, seconds: float, reporter: LinkClient | None) -> dict[str, int]:
        count, payload = self._sender.states, self._sender.payload_bytes
        due = time.monotonic()
        for number in range(round(seconds * RATE)):
            state = self._states[self._next % len(self._states)]
            self._sender.put(state, self._next, time.time_ns() // 1000, time.monotonic())
            self._next += 1
            if reporter is not None and number % RATE == 0:
                reporter.report(self._next)
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
        return {"states": self._sender.states - count, "payload": self._sender.payload_bytes - payload}


def _span(port: int, threads: list[threading.Thread], sink: _Sink, run: Callable[[], dict[str, int]]) -> dict[str, Any]:
    """Runs something and returns what it cost."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(_connection(port))
        capture = stack.enter_context(Capture(port)) if _INSIDE in os.environ else None
        before = _counters(sock, capture, threads, sink)
        began = time.monotonic()
        sent = run()
        passed_s = time.monotonic() - began
        time.sleep(0.2)
        after = _counters(sock, capture, threads, sink)
    delta = {name: after[name] - before[name] for name in after}

    def kbit_s(count: float) -> float:
        return round(8e-3 * count / passed_s, 2)

    return {
        "states": sent["states"],
        "cpu_percent": round(100 * (delta["thread_ns"] + delta["caller_ns"]) / passed_s / 1e9, 2),
        "caller_percent": round(100 * delta["caller_ns"] / passed_s / 1e9, 2),
        "kbit_s_up": kbit_s(delta["up"]),
        "kbit_s_down": kbit_s(delta["down"]),
        "packets_s_up": round(delta["packets_up"] / passed_s, 1),
        "payload_kbit_s": kbit_s(sent["payload"]),
        "written_bytes": delta["written"],
    }


def _counters(
    sock: socket.socket, capture: Capture | None, threads: list[threading.Thread], sink: _Sink
) -> dict[str, int]:
    if capture is not None:
        wire = {"up": capture.up, "down": capture.down, "packets_up": capture.packets_up}
    else:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        (sent,), (received,) = (struct.unpack_from("<Q", info, at) for at in (_BYTES_SENT, _BYTES_RECEIVED))
        segments, segments_down = struct.unpack_from("<II", info, _SEGS)
        wire = {
            "up": sent + _HEADERS * segments,
            "down": received + _HEADERS * segments_down,
            "packets_up": segments,
        }
    return wire | {
        "thread_ns": sum(_thread_ns(thread) for thread in threads),
        "caller_ns": sink.caller_ns,
        "written": _written_bytes(),
    }


def _thread_ns(thread: threading.Thread) -> int:
    """Returns the processor time of a thread so far, nanoseconds."""
    try:
        return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])
    except OSError:
        return 0  # it has ended


def _written_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def _connection(port: int) -> socket.socket:
    """Returns a duplicate of the client's socket, found by its peer.

    Raises:
        RuntimeError: There is none.
    """
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # no socket, or none that is connected
            sock = socket.socket(fileno=os.dup(int(path.name)))
            if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                return sock
            sock.close()
    raise RuntimeError("the client has no connection to the broker")


def _may_unshare() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return (
        subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode
        == 0
    )
