"""What one subscriber process costs that follows many devices at 10 states/s each, and whether it loses any.

    python benchmarks/subscribers.py bundles/rig.twin [--devices 50,100,250,500,1000] [--seconds 20]

Simulated devices (`simulated_devices.py`) publish real packets of the bundle through a real mosquitto on loopback; one
process follows all of them with `TwinViews`, reads every update and renders none. Once as devices send by default
(states of 250 ms in one packet), once with a packet for each state. CPU and memory are those of the subscriber; CPU
seconds are its own, so they say more than latency on a machine that does other things meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from device import mosquitto
from rich.console import Console
from rich.table import Table
from simulated_devices import FPS, NAMESPACE

from twin_edge.bundle import Bundle
from twin_edge.cameras import RigCamera
from twin_edge.files import write_atomic
from twin_edge.sync import TwinViews
from twin_edge.twin import Twin

STATES = 600
WARM_UP_S = 3.0
MAKING_S, MAKING_S_PER_STATE = 40.0, 0.1e-3
"""Time for making all packets, generous."""
STARTING_S = 8.0
"""Time for the subscriber to be there."""
PROCESSES = 2
HERE = Path(__file__).parent
RESULTS = HERE / "results" / "subscribers.json"
PLOT = HERE.parent / "docs" / "benchmarks" / "subscribers.png"


def film_states(bundle: Bundle) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Returns states of a minute of the rig at 10 a second, to and fro, so that the end meets the beginning."""
    twin, camera = Twin(bundle), RigCamera(f"rig:fps={FPS:g},seed=5")
    camera.open()
    states = [twin.encode(twin.make_view(camera.read(1.0).image)).copy() for _ in range(STATES // 2)]
    camera.close()
    return np.stack(states + states[::-1])


def start_devices(bundle: Path, states: Path, url: str, count: int, seconds: float, batch_ms: float) -> list[Any]:
    """Starts processes with devices, and waits until all have announced themselves; they begin a little later."""
    running = []
    each = -(-count // PROCESSES)
    begin = time.time() + MAKING_S + MAKING_S_PER_STATE * count * seconds * FPS
    for first in range(0, count, each):
        command = [
            sys.executable, str(HERE / "simulated_devices.py"), str(bundle), str(states), url,
            "--first", str(first), "--count", str(min(each, count - first)), "--seconds", str(seconds),
            "--batch-ms", str(batch_ms), "--begin", str(begin),
        ]  # fmt: skip
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    outputs = [process.stdout for process in running if process.stdout is not None]
    left_s = min(json.loads(output.readline())["left_s"] for output in outputs)
    if left_s < STARTING_S:
        raise SystemExit(f"the machine is too busy: {left_s:.1f} s left when all packets were made")
    return running


def subscribe(url: str, cache: Path, count: int) -> dict[str, Any]:
    """Follows devices for a while in this process; returns what came and what it cost."""
    with TwinViews(url, f"{NAMESPACE}/*", cache, max_twins=2 * count) as view:
        deadline = time.monotonic() + 60
        while len(view.twins) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        print(json.dumps({"type": "ready", "twins": len(view.twins)}), flush=True)
        counts: Counter[str] = Counter()
        last: dict[str, int] = {}
        disorder = missed_after = 0
        updates = itertools.chain([view.next_update(600.0)], view.updates(timeout_s=5.0))
        began = settled = ended = time.monotonic()
        cpu = time.process_time()
        states = 0
        for update in updates:
            now = time.monotonic()
            if settled == began and now - began > WARM_UP_S:
                settled, cpu, states = now, time.process_time(), sum(counts.values())
            name = str(update.twin)
            disorder += update.seq <= last.get(name, -1)
            missed_after += update.missed
            last[name] = update.seq
            counts[name] += 1
            ended = now
        cpu = time.process_time() - cpu
        stats = view.stats()
        status = view.status()
        measured = sum(counts.values()) - states
        return {
            "type": "heard",
            "states": sum(counts.values()),
            "out_of_order": disorder,
            "missed": missed_after,
            "dropped": stats.dropped,
            "lost_packets": stats.lost_packets,
            "malformed": stats.malformed,
            "resyncs": stats.resyncs,
            "errors": stats.errors,
            "reconnects": stats.reconnects,
            "connected": stats.connected,
            "duplicates": stats.duplicates,
            "measured_s": ended - settled,
            "cpu_s": cpu,
            "cpu_ms_per_1000_states": 1e6 * cpu / max(1, measured),
            "latency_p50_ms": float(np.median([each.stats.latency_p50_ms or 0 for each in status])),
            "latency_p95_ms": float(np.median([each.stats.latency_p95_ms or 0 for each in status])),
            "rss_mb": most_memory_mb(),
        }


def most_memory_mb() -> float:
    """Returns the most memory that this process has had resident; `getrusage` would count its parent's before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measure(bundle: Path, states: Path, count: int, seconds: float, batch_ms: float) -> dict[str, Any]:
    """Returns the figures of one number of devices."""
    with mosquitto("max_queued_messages 100000\nmax_queued_bytes 0\n") as url, tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        write_atomic(cache / f"{Bundle.open(bundle).digest}.twin", bundle.read_bytes())
        devices = start_devices(bundle, states, url, count, seconds, batch_ms)
        command = [sys.executable, __file__, "--subscribe", url, str(cache), str(count)]
        subscriber: Any = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        found = json.loads(subscriber.stdout.readline())["twins"]
        sent = [json.loads(process.stdout.readline()) for process in devices]
        heard = json.loads(subscriber.stdout.readline())
        for process in (*devices, subscriber):
            process.wait(30)
    states_sent = sum(each["states"] for each in sent)
    cores = heard["cpu_s"] / heard["measured_s"]
    return {
        "devices": count,
        "batch_ms": batch_ms,
        "found": found,
        "states_sent": states_sent,
        "states_received": heard["states"],
        "lost": states_sent - heard["states"],
        "packets_per_s": round(sum(each["packets"] for each in sent) / seconds, 1),
        "states_per_s": round(states_sent / seconds, 1),
        "cores": round(cores, 3),
        "rss_mb": round(heard["rss_mb"], 1),
        "devices_cpu_s": round(sum(each["cpu_s"] for each in sent), 1),
        "devices_late_s": max(each["late_s"] for each in sent),
        **{
            name: round(heard[name], 2)
            for name in (
                "cpu_ms_per_1000_states", "latency_p50_ms", "latency_p95_ms", "out_of_order", "missed", "dropped",
                "lost_packets", "malformed", "resyncs", "errors",
            )
        },
    }  # fmt: skip


def plot(rows: list[dict[str, Any]]) -> None:
    """Draws CPU and memory over the number of devices."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for batch_ms, label in ((250.0, "states of 250 ms in a packet"), (0.0, "a packet for each state")):
        chosen = [row for row in rows if row["batch_ms"] == batch_ms]
        devices = [row["devices"] for row in chosen]
        left.plot(devices, [row["cores"] for row in chosen], "o-", label=label)
        right.plot(devices, [row["rss_mb"] for row in chosen], "o-", label=label)
        for row in chosen:
            if row["lost"]:
                left.annotate(f"{row['lost']} lost", (row["devices"], row["cores"]), fontsize=8)
    left.set(xlabel="devices at 10 states/s", ylabel="CPU of the subscriber, cores", ylim=(0, None))
    right.set(xlabel="devices at 10 states/s", ylabel="memory of the subscriber, MB", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=130)


def main() -> int:
    """Prints the table; writes benchmarks/results/subscribers.json and docs/benchmarks/subscribers.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/rig.twin"))
    parser.add_argument("--devices", default="50,100,250,500,1000")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--subscribe", nargs=3, metavar=("URL", "CACHE", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subscribe:
        url, cache, count = options.subscribe
        print(json.dumps(subscribe(url, Path(cache), int(count))), flush=True)
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder) / "states.npy"
        np.save(states, film_states(Bundle.open(options.bundle)))
        for batch_ms in (250.0, 0.0):
            for count in map(int, options.devices.split(",")):
                rows.append(measure(options.bundle, states, count, options.seconds, batch_ms))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    shown = (
        "devices", "batch_ms", "states_per_s", "packets_per_s", "lost", "cores", "cpu_ms_per_1000_states", "rss_mb",
        "latency_p95_ms",
    )  # fmt: skip
    table = Table(*(name.replace("_", " ") for name in shown), title="one subscriber process")
    for row in rows:
        table.add_row(*(str(row[name]) for name in shown))
    Console().print(table)
    load = os.getloadavg()[0]
    result = {"cpus": os.cpu_count(), "load_at_the_end": round(load, 1), "seconds": options.seconds, "rows": rows}
    write_atomic(RESULTS, (json.dumps(result, indent=2) + "\n").encode())
    plot(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
