"""Operating points of rate and distortion, and the file that they are kept in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from twin_edge.files import write_atomic

METHODS: Final = ("twin", "registered-pca", "registered-pca-delta", "hold-last", "jpeg", "x264", "x265", "vp9", "av1")
"""Every method, in the order of the tables."""
CONVENTIONAL: Final = ("hold-last", "jpeg", "x264", "x265", "vp9", "av1")
"""Those that know nothing of the subject."""


@dataclass(frozen=True, slots=True)
class Point:
    """One method at one setting on one clip."""

    clip: str
    """`face`, `rig`, or another run's name."""
    method: str
    """One of `METHODS`."""
    bytes_per_frame: float
    """Payload over all frames, held ones included, > 0."""
    wire_bytes_per_frame: float
    """The same with headers; see `comparison.wire`."""
    psnr_db: float
    """Mean PSNR over all frames, dB."""
    ssim: float
    """Mean SSIM over all frames, -1 to 1."""

    @classmethod
    def from_json(cls, tree: Any) -> Point:
        """Reads a point.

        Raises:
            ValueError: It has other keys, or values of other types or ranges, than a point has.
        """
        names = [item.name for item in fields(cls)]
        if not isinstance(tree, dict) or sorted(tree) != sorted(names):
            raise ValueError(f"a point must have exactly the keys {', '.join(names)}")
        if not isinstance(tree["clip"], str) or tree["method"] not in METHODS:
            raise ValueError(f"a point has the unknown method {tree['method']!r:.40}")
        numbers = [tree[name] for name in names[2:]]
        if not all(type(number) in {int, float} for number in numbers) or min(numbers[:2]) <= 0:
            raise ValueError("a point's figures must be numbers, its bytes above 0")
        return cls(**tree)


@dataclass(frozen=True, slots=True)
class Measured:
    """A point, and how it was come by."""

    point: Point
    """The point."""
    setting: str
    """The method's setting, for people."""


def pareto(measured: Iterable[Measured]) -> list[Measured]:
    """Returns those of one method that no other one of it beats in payload and PSNR at once, cheapest first."""
    best: list[Measured] = []
    for one in sorted(measured, key=lambda one: (one.point.bytes_per_frame, -one.point.psnr_db)):
        if not best or one.point.psnr_db > best[-1].point.psnr_db:
            best.append(one)
    return best


def best_within(points: Iterable[Point], most_bytes: float) -> Point | None:
    """Returns the point of the highest PSNR that takes at most so many payload bytes a frame, None when none does."""
    affordable = [point for point in points if point.bytes_per_frame <= most_bytes]
    return max(affordable, key=lambda point: point.psnr_db, default=None)


def at_bytes(points: Iterable[Point], payload: float) -> tuple[float, float] | None:
    """Returns PSNR in dB and SSIM of one method at a payload, between its points by the logarithm of their bytes.

    Args:
        points: Points of one method, none of which beats another.
        payload: Bytes a frame.

    Returns:
        None below the smallest point; the largest point's above it.
    """
    curve = sorted(points, key=lambda point: point.bytes_per_frame)
    if not curve or payload < curve[0].bytes_per_frame:
        return None
    bytes_ = np.log([point.bytes_per_frame for point in curve])
    psnr_db, ssim = ([getattr(point, name) for point in curve] for name in ("psnr_db", "ssim"))
    return float(np.interp(np.log(payload), bytes_, psnr_db)), float(np.interp(np.log(payload), bytes_, ssim))


def bytes_reaching(points: Iterable[Point], psnr_db: float) -> float | None:
    """Returns the payload at which one method has a PSNR, between its points as in `at_bytes`.

    Returns:
        None above the best point; the smallest point's payload below it.
    """
    curve = sorted(points, key=lambda point: point.psnr_db)
    if not curve or psnr_db > curve[-1].psnr_db:
        return None
    bytes_ = np.log([point.bytes_per_frame for point in curve])
    return float(np.exp(np.interp(psnr_db, [point.psnr_db for point in curve], bytes_)))


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Writes points as a JSON list.

    Raises:
        TwinEdgeError: The file cannot be written.
    """
    lines = ",\n".join(json.dumps(asdict(point)) for point in points)
    write_atomic(path, f"[\n{lines}\n]\n".encode())


def read_points(path: Path) -> list[Point]:
    """Reads points back.

    Raises:
        OSError: There is no such file.
        ValueError: It is not what `write_points` writes.
    """
    tree = json.loads(path.read_bytes())
    if not isinstance(tree, list):
        raise ValueError(f"{path} is not a list")  # noqa: TRY004 - a wrong file, not a wrong argument
    return [Point.from_json(entry) for entry in tree]
