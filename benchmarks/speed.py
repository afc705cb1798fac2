"""Speed of a twin, stage by stage, beside what it replaces.

    python benchmarks/speed.py [NAME]

On every installed runtime, with 1 and 2 threads: the stages of a frame, the whole frame, and the article's kind of
generator of equal output size through the default converter; beside them JPEG (OpenCV, quality 80, one thread) and x264
(ultrafast, zero latency, one thread) of the same 640x480 frames. Everything is timed in turns with the JPEG. Writes
benchmarks/results/speed.json and speed_notes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from comparison.estimates import estimates
from comparison.timing import Speed, in_turns
from comparison.twin_stages import TwinStages
from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, RigCamera
from twin_edge.config import RunConfig
from twin_edge.errors import TwinEdgeError
from twin_edge.files import write_atomic
from twin_edge.frame_cost import JPEG_QUALITY, measure_costs, single_threaded_opencv
from twin_edge.models.engine import Model
from twin_edge.models.runtimes import Runtime, installed_runtimes, load_runtime

RESULTS = Path("benchmarks/results/speed.json")
NOTES = Path("benchmarks/results/speed_notes.json")
WIDTH, HEIGHT, FPS = 640, 480, 30
FRAMES = 16
WARM_UP = 20
THREADS = (1, 2)
TABLE_WIDTH = 110
JPEG = "JPEG q80, 640x480"
X264 = "x264 ultrafast, 640x480"


@dataclass(frozen=True)
class Article:
    """A generator of the article's kind, converted."""

    what: str
    """What it is."""
    content: bytes
    """The `.tflite` file."""
    mmac: float
    """Million multiply-accumulates."""


def take_frames() -> list[Frame]:
    """Takes frames of the rig, a tenth of a second apart, so that no stage sees the same one over and over."""
    camera = RigCamera("rig:fps=10")
    camera.open()
    frames = [camera.read(1.0) for _ in range(FRAMES)]
    camera.close()
    sized = [np.asarray(cv2.resize(frame.image, (WIDTH, HEIGHT)), np.uint8) for frame in frames]
    return [Frame(image, frame.time_us, frame.index) for image, frame in zip(sized, frames, strict=True)]


def article_generators() -> list[Article]:
    """Builds and converts the article's generators, in a process that has TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "comparison.dcgan", folder],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        entries = json.loads((Path(folder) / "dcgan.json").read_bytes())
        return [Article(entry["what"], (Path(folder) / entry["file"]).read_bytes(), entry["mmac"]) for entry in entries]


def jpeg_work(frames: list[Frame]) -> Callable[[int], object]:
    """Returns what encodes a frame as JPEG."""
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    return lambda number: cv2.imencode(".jpg", frames[number % FRAMES].image, options)


def x264_work(frames: list[Frame]) -> Callable[[int], object]:
    """Returns what encodes a frame with x264, its colors converted first, as a camera's stream would be."""
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate, context.thread_count = Fraction(1, FPS), Fraction(FPS), 1
    context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}

    def encode(number: int) -> None:
        planes = np.asarray(cv2.cvtColor(frames[number % FRAMES].image, cv2.COLOR_BGR2YUV_I420), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        context.encode(frame)

    return encode


def article_work(runtime: Runtime, threads: int, article: Article) -> Callable[[int], object]:
    """Returns what runs a generator of the article's kind."""
    model = Model(article.content, runtime, threads=threads)
    noise = np.random.default_rng(0).normal(size=(FRAMES, *model.input_shape))
    inputs = (
        [one.astype(np.float32) for one in noise]
        if model.input_dtype == np.float32
        else [model.input_quantization.quantize(one) for one in noise]
    )
    return lambda number: model.run(inputs[number % FRAMES])


def measure(bundle: Bundle, articles: list[Article], rounds: int) -> Iterator[Speed]:
    """Measures everything; the rows come as they are ready."""
    frames = take_frames()
    jpeg = jpeg_work(frames)

    def rows(runtime: str, threads: int, work: dict[str, Callable[[int], object]]) -> Iterator[Speed]:
        times = in_turns({JPEG: jpeg, **work}, rounds, WARM_UP)
        for what in work:
            middle, high = times[what]
            yield Speed(what, runtime, threads, round(middle, 3), round(high, 3), round(middle / times[JPEG][0], 3))

    middle, high = in_turns({JPEG: jpeg}, rounds, WARM_UP)[JPEG]
    yield Speed(JPEG, "opencv", 1, round(middle, 3), round(high, 3), 1.0)
    yield from rows("ffmpeg", 1, {X264: x264_work(frames)})
    for runtime in map(load_runtime, installed_runtimes()):
        for threads in THREADS:
            work = TwinStages(bundle, runtime, threads, frames).work
            yield from rows(str(runtime), threads, work)
            generators = {article.what: article_work(runtime, threads, article) for article in articles}
            yield from rows(str(runtime), threads, {"generator, twin, int8": work["render"], **generators})


def main() -> int:
    """Measures, prints and keeps the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="rig", metavar="NAME", help="run and bundle (rig)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (runs)")
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="folder of the bundles (bundles)")
    parser.add_argument("--rounds", type=int, default=150, help="rounds that count (150)")
    options = parser.parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH)
    try:
        bundle = Bundle.open(options.bundles / f"{options.name}.twin")
        macs = json.loads((options.runs / options.name / "metrics.json").read_bytes())["mmac"]
        console.print("converting the article's generators")
        articles = article_generators()
        every = RunConfig().gap_every
        table = Table("what", "runtime", "threads", "p50 ms", "p95 ms", "x JPEG", title="speed on this machine")
        speeds: list[Speed] = []
        with single_threaded_opencv(), console.status("measuring"):
            for speed in measure(bundle, articles, options.rounds):
                speeds.append(speed)
                console.print(f"  {speed.what}, {speed.runtime}, {speed.threads}: {speed.ms_p50:.2f} ms")
            runtimes = [load_runtime(name) for name in installed_runtimes()]
            costs = measure_costs(bundle, runtimes, take_frames(), rounds=options.rounds, gap_every=(1, every))
        speeds += estimates(macs["encoder"], macs["generator"], every)
    except TwinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}: train and convert first (make train convert)", file=sys.stderr)
        return 1
    for row in speeds:
        ratio = "" if row.ratio_to_jpeg is None else f"{row.ratio_to_jpeg:.2f}"
        table.add_row(row.what, row.runtime, str(row.threads), f"{row.ms_p50:.2f}", f"{row.ms_p95:.2f}", ratio)
    console.print(table)
    notes = {
        "name": options.name,
        "rounds": options.rounds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "mmac": {**macs, **{article.what: article.mmac for article in articles}},
        "costs": [cost.to_json() for cost in costs],
    }
    write_atomic(RESULTS, (json.dumps([asdict(speed) for speed in speeds], indent=1) + "\n").encode())
    write_atomic(NOTES, (json.dumps(notes, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
