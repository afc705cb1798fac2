"""The twin's own points: views to states, through the codec, to renderings, with the models as deployed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from comparison.clips import Clip, Views
from comparison.points import Measured, Point
from comparison.quality import mean_quality
from comparison.states import KEY_EVERY_S, States, Stream
from comparison.wire import packet_wire_bytes, states_in_packet
from twin_edge.bundle import Bundle
from twin_edge.images import Image
from twin_edge.models import State
from twin_edge.twin import Twin
from twin_edge.twin.codec.coder import MAX_STATES


def twin_points(bundle_path: Path, clip: Clip, batch: int) -> list[Measured]:
    """Returns one point for each quality level of a bundle.

    Args:
        bundle_path: The bundle.
        clip: What to measure on.
        batch: States of a packet.

    Raises:
        BundleError: The bundle cannot be used.
    """
    bundle = Bundle.open(bundle_path)
    twin = Twin(bundle)
    stream = Stream(bundle.codec, batch, clip.fps)
    states = [encode_all(twin, views) for views in clip.test]
    measured = []
    for level in range(len(bundle.codec.levels)):
        coded = stream.code(states, level)
        psnr_db, similarity = mean_quality(
            (view for views in clip.test for view in views), render_all(twin, coded.decoded)
        )
        payload = sum(coded.payloads) / clip.frames
        wire = packet_wire_bytes(coded.payloads) / clip.frames
        point = Point(clip.name, "twin", round(payload, 3), round(wire, 3), psnr_db, similarity)
        measured.append(Measured(point, f"quality {level}"))
    return measured


def by_batch(bundle_path: Path, clip: Clip, batches_ms: tuple[int, ...]) -> list[dict[str, float | None]]:
    """Returns what gathering states for longer is worth, at every quality level of a bundle.

    The longest is also measured with one key for each sequence, as the video codecs have one intra frame: the others
    pay for subscribers that come late.

    Args:
        bundle_path: The bundle.
        clip: What to measure on.
        batches_ms: How long states are gathered, milliseconds.

    Raises:
        BundleError: The bundle cannot be used.
    """
    bundle = Bundle.open(bundle_path)
    twin = Twin(bundle)
    states = [encode_all(twin, views) for views in clip.test]
    rows: list[dict[str, float | None]] = []
    ways = [*((batch_ms, KEY_EVERY_S) for batch_ms in batches_ms), (max(batches_ms), None)]
    for level, (batch_ms, key_every_s) in itertools.product(range(len(bundle.codec.levels)), ways):
        batch = min(MAX_STATES, states_in_packet(batch_ms, clip.fps))
        coded = Stream(bundle.codec, batch, clip.fps, key_every_s).code(states, level)
        psnr_db, similarity = mean_quality(
            (view for views in clip.test for view in views), render_all(twin, coded.decoded)
        )
        rows.append(
            {
                "quality": level,
                "batch_ms": batch_ms,
                "states_in_packet": batch,
                "key_every_s": key_every_s,
                "bytes_per_frame": round(sum(coded.payloads) / clip.frames, 3),
                "wire_bytes_per_frame": round(packet_wire_bytes(coded.payloads) / clip.frames, 3),
                "psnr_db": psnr_db,
                "ssim": similarity,
            }
        )
    return rows


def encode_all(twin: Twin, views: Views) -> States:
    """Returns the states of consecutive views."""
    states: list[State] = []
    for view in views:
        states.append(twin.encode(view, states[-1] if states else None))
    return np.stack(states)


def render_all(twin: Twin, sequences: tuple[States, ...]) -> Iterator[Image]:
    """Renders states, one sequence after the other."""
    for states in sequences:
        for state in states:
            yield twin.render(state)
