"""The size of a day: a twin's recording beside H.264, both of the same frames.

    python benchmarks/recording.py [bundles/rig.twin] [--camera rig:seed=41] [--minutes 3] [--output FILE]

Minutes are measured and scaled to a day, which is an estimate: a day has nights. The twin is sent as devices do it by
default (packets of 250 ms, quality 1, a key every 10 s, a report a second) and recorded as `twin-edge record` does it,
committed every second of the camera's time. x264 gets the same views at several rates, with a key frame every 10 s, and
the camera's whole frames as a network camera would record them; its container is left out where it has views, and is
MP4 where it has frames. The bundle and the empty tables are in each recording once; they are counted apart, as the size
of a recording of the first second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from comparison.video import Setting, VideoCodec, decode, encode
from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, open_camera
from twin_edge.errors import CameraEndedError
from twin_edge.files import write_atomic
from twin_edge.images import Image
from twin_edge.quality import psnr
from twin_edge.recording import Recording, RecordingWriter
from twin_edge.runtime.reporting import OUT_OF_SYNC_GAP
from twin_edge.runtime.sending import SendingConfig, StateSender
from twin_edge.sync import StateReport, TwinId
from twin_edge.sync.wire.messages import build_state
from twin_edge.twin import Twin
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.packet import Packet

FPS = 30
DAY_S = 86_400
KEY_EVERY = 10 * FPS
TWIN = TwinId("org.twin-edge", "bench")
RATES = (23, 28, 33, 38)
FRAME_RATES = (23, 28)
LOOKED_AT = 10
"""Every so many pictures one is compared with its view."""
X264 = VideoCodec("x264", "libx264", "h264", {"preset": "medium", "g": str(KEY_EVERY)}, RATES, ())
RESULTS = Path(__file__).parent / "results" / "recording.json"


@dataclass(slots=True)
class Recorder:
    """Where packets go: into a recording, as they would come from the broker."""

    writer: RecordingWriter
    bundle: Bundle
    reader: PacketReader

    def publish(self, packet: Packet) -> bool:
        data = packet.encode()
        self.writer.packet(TWIN, self.bundle, data, self.reader.read(data))
        return True

    @property
    def stands_alone(self) -> bool:
        return False

    def take_resync(self) -> bool:
        return False


def film(camera_uri: str, count: int) -> Iterator[Frame]:
    """Goes through frames of a camera."""
    camera = open_camera(camera_uri)
    camera.open()
    try:
        for _ in range(count):
            yield camera.read(5.0)
    except CameraEndedError:
        return
    finally:
        camera.close()


def record(bundle: Bundle, camera_uri: str, count: int, path: Path) -> npt.NDArray[np.uint8]:
    """Records a twin; returns the views, uint8 RGB of shape (frames, height, width, 3)."""
    twin, views = Twin(bundle), []
    begin_us, state = time.time_ns() // 1000, None
    with RecordingWriter(path) as writer:
        recorder = Recorder(writer, bundle, PacketReader(bundle.codec))
        sender = StateSender(recorder, bundle, 1, SendingConfig())
        for seq, frame in enumerate(film(camera_uri, count)):
            view = twin.make_view(frame.image).copy()
            views.append(view)
            state = twin.encode(view, state).copy()
            time_us = begin_us + seq * 1_000_000 // FPS
            sender.put(state, seq, time_us, seq / FPS)
            if seq % FPS == FPS - 1:
                gap = twin.compare(view, twin.render(state), state).score
                report = StateReport(
                    time_us // 1000,
                    seq,
                    time_us,
                    gap,
                    in_sync=gap < OUT_OF_SYNC_GAP,
                    fps=FPS - gap,
                    p50_ms=9 + gap,
                    p95_ms=12 + gap,
                )
                writer.report(TWIN, build_state(TWIN, 1, report))
                writer.commit()
        sender.send_overdue(math.inf)
    return np.stack(views)


def mean_psnr(views: npt.NDArray[np.uint8], pictures: Iterable[Image]) -> float:
    """Returns the mean PSNR of every tenth picture, dB."""
    chosen = itertools.islice(zip(views, pictures, strict=True), 0, None, LOOKED_AT)
    return float(np.mean([psnr(view, picture) for view, picture in chosen]))


def code_views(views: npt.NDArray[np.uint8], rate: int) -> dict[str, Any]:
    """Returns what x264 makes of the views at a constant rate factor."""
    packets, extra = encode(X264, views, FPS, Setting(rate))
    size = len(extra) + sum(len(bytes(packet)) for packet in packets)
    psnr_db = mean_psnr(views, decode(X264, packets, extra, views.shape[1]))
    return {
        "method": f"x264 {views.shape[1]}x{views.shape[2]}, crf {rate}",
        "bytes": size,
        "psnr_db": round(psnr_db, 2),
    }


def code_frames(camera_uri: str, count: int, rate: int) -> dict[str, Any] | None:
    """Returns what x264 makes of the camera's frames; None without ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    frames = film(camera_uri, count)
    first = next(frames)
    height, width = first.image.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.mp4"
        command = [
            program, "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(FPS),
            "-i", "-", "-c:v", "libx264", "-preset", "medium", "-crf", str(rate), "-g", str(KEY_EVERY),
            "-pix_fmt", "yuv420p", str(path),
        ]  # fmt: skip
        running: Any = subprocess.Popen(command, stdin=subprocess.PIPE)
        running.stdin.write(first.image.tobytes())
        for frame in frames:
            running.stdin.write(frame.image.tobytes())
        running.stdin.close()
        running.wait()
        return {"method": f"x264 {width}x{height}, crf {rate}", "bytes": path.stat().st_size, "psnr_db": None}


def measure(bundle_path: Path, camera_uri: str, minutes: float) -> dict[str, Any]:
    """Returns all figures of a bundle."""
    bundle = Bundle.open(bundle_path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.twinrec"
        views = record(bundle, camera_uri, round(minutes * 60 * FPS), path)
        first = Path(folder) / "first.twinrec"
        record(bundle, camera_uri, FPS, first)
        once, size = first.stat().st_size, path.stat().st_size
        with Recording(path) as recording:
            contents = recording.contents(TWIN)
            updates = list(recording.updates(TWIN))
            if len(updates) != len(views):
                raise SystemExit(f"{len(updates)} states were recorded of {len(views)}")
            psnr_db = float(np.mean([psnr(views[n], updates[n].rendering) for n in range(0, len(views), LOOKED_AT)]))
            took = []
            for second in np.linspace(0, len(views) / FPS, 20):
                began = time.perf_counter()
                recording.state_at(TWIN, contents.begin_us + round(1e6 * second))
                took.append(time.perf_counter() - began)
    seconds = len(views) / FPS
    own = round((size - once) * len(views) / (len(views) - FPS))
    rows: list[dict[str, Any]] = [{"method": "recording", "bytes": own, "psnr_db": round(psnr_db, 2)}]
    rows += [code_views(views, rate) for rate in RATES]
    rows += [row for rate in FRAME_RATES if (row := code_frames(camera_uri, len(views), rate)) is not None]
    for row in rows:
        row["bytes_per_frame"] = round(row["bytes"] / len(views), 2)
        row["mb_per_day"] = round(row["bytes"] / seconds * DAY_S / 1e6, 1)
    return {
        "bundle": bundle_path.stem,
        "camera": camera_uri,
        "frames": len(views),
        "seconds": round(seconds, 1),
        "fps": FPS,
        "bundle_bytes": len(bundle.data),
        "bytes_once": once,
        "packet_bytes_per_state": round(contents.bytes / contents.states, 2),
        "report_bytes": round(contents.report_bytes / max(1, contents.reports), 1),
        "seek_median_ms": round(1e3 * float(np.median(took)), 1),
        "rows": rows,
    }


def main() -> int:
    """Prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/rig.twin"))
    parser.add_argument("--camera", default="rig:seed=41")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    figures = measure(options.bundle, options.camera, options.minutes)
    table = Table(
        "", "bytes a frame", "MB a day (estimate)", "PSNR, dB",
        title=f"{figures['bundle']}, {figures['seconds']:.0f} s at {FPS} frames/s, scaled",
    )  # fmt: skip
    for row in figures["rows"]:
        quality = "" if row["psnr_db"] is None else f"{row['psnr_db']:.2f}"
        table.add_row(row["method"], f"{row['bytes_per_frame']:.2f}", f"{row['mb_per_day']:.1f}", quality)
    Console().print(table)
    print(
        f"once, with the bundle: {figures['bytes_once'] / 1e6:.2f} MB; "
        f"packets {figures['packet_bytes_per_state']} bytes a state, a report {figures['report_bytes']} bytes; "
        f"a state of any time in {figures['seek_median_ms']} ms"
    )
    results = json.loads(options.output.read_bytes()) if options.output.exists() else {}
    results[figures["bundle"]] = figures
    write_atomic(options.output, (json.dumps(results, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
