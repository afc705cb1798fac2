"""What preprocessing costs, and what it does to the view: ways to resize, and filters against noise.

    python benchmarks/denoise.py [BUNDLE] [--clip VIDEO]

Resizing: each way against an ideal low-pass (the lowest frequencies of the Fourier transform of the frame).
Denoising: the view of a noisy frame against the view of the same frame without noise, on the rig at 30 frames per
second and on a clip; with a bundle of the rig, also its rendering of that view, which is what a filter is for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from twin_edge.bundle import Bundle
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.files import write_atomic
from twin_edge.frame_cost import JPEG_QUALITY, single_threaded_opencv
from twin_edge.images import Image
from twin_edge.preprocess import Viewer, ViewSpec
from twin_edge.quality import psnr
from twin_edge.twin import Twin

SIDE = 128
SIZES = ((640, 480), (480, 360), (360, 288), (1280, 720), (1920, 1080))
FRAMES = 120
Resize = Callable[[Image], Image]


def crop(frame: Image) -> Image:
    """Returns the square in the middle."""
    rows, columns = frame.shape[:2]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    return frame[top : top + side, left : left + side]


def halve_then_linear(frame: Image) -> Image:
    """Halves, and goes the rest of the way by bilinear interpolation."""
    image = crop(frame)
    while len(image) >= 2 * SIDE:
        half = len(image) // 2
        image = cv2.resize(image[: 2 * half, : 2 * half], (half, half), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def linear_then_halve(frame: Image) -> Image:
    """Goes to twice the view by bilinear interpolation, and halves."""
    image = cv2.resize(crop(frame), (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def resized(interpolation: int) -> Resize:
    """Returns OpenCV's resize in one step."""
    return lambda frame: cv2.resize(crop(frame), (SIDE, SIDE), interpolation=interpolation)


def deployed() -> Resize:
    """Returns what devices do."""
    viewer = Viewer(ViewSpec(SIDE, SIDE))
    return lambda frame: viewer(frame)[..., ::-1]


def ideal(frame: Image) -> Image:
    """Resizes with a perfect low-pass."""
    image = crop(frame).astype(float)
    side = len(image)
    spectrum = np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1))
    # The middle of a large pixel is not that of a small one.
    turn = np.exp(2j * np.pi * (np.arange(side) - side // 2) / side * (side / SIDE - 1) / 2)
    start = side // 2 - SIDE // 2
    kept = (spectrum * turn[:, None, None] * turn[None, :, None])[start : start + SIDE, start : start + SIDE]
    small = np.fft.ifft2(np.fft.ifftshift(kept, axes=(0, 1)), axes=(0, 1)).real * (SIDE / side) ** 2
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def cpu_ms(function: Callable[[], Any], rounds: int = 200) -> float:
    """Returns the median CPU milliseconds of a call, warm."""
    times = []
    for _ in range(rounds):
        start = time.thread_time_ns()
        function()
        times.append(time.thread_time_ns() - start)
    return float(np.median(times)) / 1e6


def of_size(frames: list[Image], size: tuple[int, int]) -> list[Image]:
    """Brings frames to (width, height)."""
    return [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in frames]


def rig_frames(count: int, *, step: int = 1) -> list[Image]:
    """Draws a rig without nuisances, `step` thirtieths of a second apart."""
    rig = Rig(RigConfig(seed=9001, nuisance=0))
    frames = []
    for _ in range(count):
        rig.step(step)
        frames.append(rig.draw())
    return frames


def clip_frames(path: Path, count: int) -> list[Image]:
    """Reads the first frames of a video."""
    video = cv2.VideoCapture(str(path))
    read = (video.read() for _ in range(count))
    return [frame for good, frame in read if good]


def compare_resizing(sources: dict[str, list[Image]]) -> list[dict[str, Any]]:
    """Measures each way to resize on each size of frame."""
    rng = np.random.default_rng(1)
    rows = []
    for size in SIZES:
        noise = np.clip(rng.normal(128, 20, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
        zone = zone_plate(size)
        frames = {name: of_size(images, size) for name, images in sources.items()}
        first = frames["rig"][0]
        jpeg_ms = cpu_ms(lambda frame=first: cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)), 50)
        for name, resize in {
            "area": resized(cv2.INTER_AREA),
            "deployed": deployed(),
            "linear to twice, halve": linear_then_halve,
            "halve, linear": halve_then_linear,
            "linear": resized(cv2.INTER_LINEAR),
        }.items():
            row: dict[str, Any] = {"frame": f"{size[0]}x{size[1]}", "resize": name}
            row["cpu_ms"] = round(cpu_ms(lambda resize=resize, frame=first: resize(frame)), 3)
            row["jpeg_cpu_ms"] = round(jpeg_ms, 3)
            for source, images in frames.items():
                row[f"{source}_psnr_to_ideal_db"] = mean_psnr(map(resize, images), map(ideal, images))
            row["noise_left"] = round(float(resize(noise).std() / noise.std()), 3)
            error = resize(zone).astype(float) - ideal(zone)
            row["aliasing_rms"] = round(float(np.sqrt(np.mean(error * error))), 1)
            rows.append(row)
    return rows


class TemporalAverage:
    """A running average of the view wherever it moves no more than noise does."""

    def __init__(self, limit: int, weight: float) -> None:
        self.limit, self.weight = limit, weight
        self.average: np.ndarray[Any, np.dtype[np.float32]] | None = None

    def __call__(self, view: Image) -> Image:
        if self.average is None:
            self.average = view.astype(np.float32)
        before = cv2.convertScaleAbs(self.average)
        # One pixel alone is noise; its neighborhood tells whether something moved.
        moved = cv2.blur(cv2.absdiff(view, before), (3, 3))
        still = cv2.inRange(moved, (0, 0, 0), (self.limit,) * 3)
        cv2.accumulateWeighted(view, self.average, self.weight, mask=still)
        cv2.copyTo(view.astype(np.float32), cv2.bitwise_not(still), self.average)
        return cv2.convertScaleAbs(self.average)


def filters(sigma: float) -> dict[str, Callable[[Image], Image]]:
    """Returns fresh filters; the limit of the temporal one suits the noise, as one would set it."""
    limit = max(2, round(sigma))
    return {
        "none": lambda view: view,
        "gaussian": lambda view: cv2.GaussianBlur(view, (3, 3), 0.6),
        "median": lambda view: cv2.medianBlur(view, 3),
        "temporal": TemporalAverage(limit, 0.25),
    }


def noisy(frames: list[Image], sigma: float, dead: float) -> Iterator[Image]:
    """Gives frames with sensor noise of a standard deviation and a share of dead pixels, JPEG-compressed."""
    rng = np.random.default_rng(2)
    shape = frames[0].shape
    dead_at = rng.random(shape[:2]) < dead
    for frame in frames:
        image = np.clip(frame + rng.normal(0, sigma, shape), 0, 255).astype(np.uint8)
        image[dead_at] = 255
        data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 90))[1]
        yield cv2.imdecode(data, cv2.IMREAD_COLOR)


def compare_denoising(source: str, frames: list[Image], twin: Twin | None = None) -> list[dict[str, Any]]:
    """Measures each filter on each noise, over frames that follow each other."""
    viewer = Viewer(ViewSpec(SIDE, SIDE))
    clean = [viewer(frame) for frame in frames]
    rows = []
    for (sigma, dead), name in itertools.product(((3, 0.0), (10, 0.0), (25, 0.0), (3, 0.002)), filters(1)):
        views = [viewer(frame) for frame in noisy(frames, sigma, dead)]
        apply = filters(sigma / 3)[name]
        done = [apply(view) for view in views]
        row: dict[str, Any] = {"subject": source, "noise_sigma": sigma, "dead_pixels": dead, "denoise": name}
        row["view_psnr_db"] = mean_psnr(iter(done), iter(clean))
        if twin is not None:
            renderings = (twin.render(twin.encode(view)) for view in done)
            row["rendering_psnr_db"] = mean_psnr(renderings, iter(clean))
        row["cpu_ms"] = round(cpu_ms(lambda apply=apply, view=views[0]: apply(view)), 3)
        rows.append(row)
    return rows


def zone_plate(size: tuple[int, int]) -> Image:
    """Draws rings that get finer towards the border, up to what (width, height) pixels can hold."""
    columns, rows = np.meshgrid(*(np.arange(side) - side / 2 for side in size))
    rings = 127.5 + 127 * np.cos(np.pi * (columns**2 + rows**2) / min(size))
    return np.repeat(rings.astype(np.uint8)[..., None], 3, axis=2)


def mean_psnr(images: Iterator[Image], truth: Iterator[Image]) -> float:
    """Returns the mean over pairs of images, dB."""
    return round(float(np.mean([psnr(image, true) for image, true in zip(images, truth, strict=True)])), 2)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints rows as a table."""
    table = Table(*(name.replace("_", " ") for name in rows[0]), title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


def main() -> int:
    """Prints the tables and writes them to benchmarks/results/preprocessing.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--clip", type=Path, default=Path("clips/franck.mp4"))
    options = parser.parse_args()
    sources = {"rig": rig_frames(6, step=30)}
    twin = Twin(Bundle.open(options.bundle)) if options.bundle else None
    with single_threaded_opencv():
        denoising = compare_denoising("rig", of_size(rig_frames(FRAMES), (640, 480)), twin)
        show("denoising, rig at 640x480", denoising)
        if options.clip.exists():
            clip = clip_frames(options.clip, FRAMES)
            sources["clip"] = clip[::20]
            denoising_clip = compare_denoising("clip", of_size(clip, (640, 480)))
            show("denoising, clip at 640x480", denoising_clip)
            denoising += denoising_clip
        resizing = compare_resizing(sources)
        show("resizing to 128x128", resizing)
    results = json.dumps({"resizing": resizing, "denoising": denoising}, indent=2) + "\n"
    write_atomic(Path("benchmarks/results/preprocessing.json"), results.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
