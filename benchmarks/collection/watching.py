"""A twin watched as its device and its subscribers have it: followed, measured, coded, rendered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from collection.faults import FAULTS, LIGHTS, Place, Scene, Views, plant
from comparison.states import States, Stream
from comparison.twin_points import render_all
from twin_edge.bundle import Bundle
from twin_edge.images import Image
from twin_edge.quality import psnr, ssim
from twin_edge.runtime.reporting import OUT_OF_SYNC_GAP, SyncJudge
from twin_edge.runtime.sending import DEFAULT_QUALITY
from twin_edge.twin import Twin

BEFORE_S: Final = 1.0
"""What is normal before a fault is planted."""
FOUND_AFTER_S: Final = 1.0
FAULT_S: Final = 4.0
CALM_AFTER_S: Final = 5.0
LIGHT_S: Final = 8.0
EPISODES: Final = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """What a device made of consecutive views."""

    states: States
    """int8 of shape (n, state length)."""
    gaps: npt.NDArray[np.float64]
    """Gap of each frame, 0-1, float64 of shape (n,)."""
    in_sync: npt.NDArray[np.bool_]
    """Whether the device said that it is in sync, bool of shape (n,)."""

    @property
    def strange(self) -> npt.NDArray[np.bool_]:
        """Which frames raise something: their gap is 0.99 or more, or the device is out of sync."""
        return (self.gaps >= OUT_OF_SYNC_GAP) | ~self.in_sync


def watch(bundle: Bundle, views: Views, fps: float) -> Watched:
    """Follows consecutive views as a device does that has just started and renders each of them.

    Args:
        bundle: The twin.
        views: The views, at least one.
        fps: Views per second, the time by which the device judges.
    """
    twin, judge, following = Twin(bundle), SyncJudge(), False
    states: list[npt.NDArray[np.int8]] = []
    gaps, in_sync = np.empty(len(views)), np.empty(len(views), np.bool_)
    for number, view in enumerate(views):
        state = twin.encode(view, states[-1] if following else None).copy()
        states.append(state)
        gaps[number] = twin.compare(view, twin.render(state), state).score
        following = judge.judge(float(gaps[number]), number / fps)
        in_sync[number] = following
    return Watched(np.stack(states), gaps, in_sync)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What a subscriber sees of some sequences at the default level and batch."""

    psnr_db: npt.NDArray[np.float64]
    """PSNR of each frame, dB, over all sequences."""
    ssim: npt.NDArray[np.float64]
    """SSIM of each frame, over all sequences."""
    bytes_per_frame: float
    """Payload of the packets."""
    decoded: tuple[States, ...]
    """The states that arrive, of each sequence."""


def subscribe(bundle: Bundle, views: Sequence[Views], states: Sequence[States], fps: float, batch: int) -> Subscribed:
    """Sends states through the codec, and renders what arrives.

    Args:
        bundle: The twin.
        views: Sequences of views.
        states: Their states.
        fps: Views per second.
        batch: States of a packet.
    """
    twin, codec = Twin(bundle, encodes=False), bundle.codec
    coded = Stream(codec, batch, fps).code(states, min(DEFAULT_QUALITY, len(codec.levels) - 1))
    seen: Iterator[Image] = (view for part in views for view in part)
    pairs = zip(seen, render_all(twin, coded.decoded), strict=True)
    values = np.array([(psnr(view, picture), ssim(view, picture)) for view, picture in pairs])
    return Subscribed(values[:, 0], values[:, 1], sum(coded.payloads) / len(values), coded.decoded)


def raised(bundle: Bundle, name: str, sequences: Sequence[Views], fps: float, scene: Scene) -> float | None:
    """Returns the share of frames in which something is raised, some time after a fault was planted.

    Args:
        bundle: The twin.
        name: One of `FAULTS`, which count after 1 s, or of `LIGHTS`, which count after 5 s.
        sequences: Normal views; those that are too short are gone through back and forth.
        fps: Views per second.
        scene: Of the subject.

    Returns:
        None where the fault was not visible in any frame.
    """
    length_s, after_s = (LIGHT_S, CALM_AFTER_S) if name in LIGHTS else (FAULT_S, FOUND_AFTER_S)
    before, after, length = (round(seconds * fps) for seconds in (BEFORE_S, after_s, length_s))
    raising, counted = 0, 0
    for views, place in episodes(sequences, scene.places, before + length):
        planted = plant(name, views[before:], place, scene)
        watched = watch(bundle, np.concatenate([views[:before], planted.views]), fps)
        counts = planted.visible.copy()
        counts[:after] = False
        raising += int(watched.strange[before:][counts].sum())
        counted += int(counts.sum())
    return round(raising / counted, 4) if counted else None


def episodes(sequences: Sequence[Views], places: Sequence[Place], length: int) -> Iterator[tuple[Views, Place]]:
    """Yields stretches of normal views, spread over all that there are, each with a place for a fault.

    Args:
        sequences: Normal views.
        places: Places that take turns.
        length: Views of a stretch, at least 1.
    """
    for number in range(EPISODES):
        share = number / EPISODES
        views = sequences[int(share * len(sequences))]
        inside = share * len(sequences) % 1.0
        start = round(inside * max(0, len(views) - length))
        yield views[back_and_forth(start, length, len(views))], places[number % len(places)]


def back_and_forth(start: int, length: int, available: int) -> npt.NDArray[np.int64]:
    """Returns row numbers from a start on that turn round at both ends, int64 of shape (length,)."""
    if available == 1:
        return np.zeros(length, np.int64)
    turn = 2 * (available - 1)
    rows = (start + np.arange(length)) % turn
    return np.where(rows < available, rows, turn - rows).astype(np.int64)


PLANTED: Final = (*FAULTS, *LIGHTS)
"""Everything that is planted, in the order of the table."""
