"""Registered principal components: with the twin's own codec, and with differences coded one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np

from comparison.clips import Clip
from comparison.points import Measured, Point, pareto
from comparison.quality import mean_quality
from comparison.states import Coded, States, Stream
from comparison.wire import packet_wire_bytes
from twin_converters.codec_tables import Recorded, fit, sensitivity
from twin_edge.images import Image
from twin_edge.twin.codec import CodecTables
from twin_training.baseline import Projection, RegisteredPca, registered_pca

COMPONENTS: Final = (8, 16, 32, 64)
_FINE: Final = 0.01
"""The int8 states are made this much finer than the components deserve; the codec's levels are coarser."""
_MOST_FITTED: Final = 900
_DELTA_COMPONENTS: Final = (8, 16, 24, 32, 48, 64)
_DELTA_LOSSES: Final = (0.03, 0.1, 0.2, 0.4, 0.7, 1.2, 2.0, 4.0)
_PROBED: Final = 24


def pca_points(
    clip: Clip, batch: int, advance: Callable[[], None] = lambda: None, *, most_measured: int | None = None
) -> list[Measured]:
    """Returns the best points of registered principal components.

    Args:
        clip: What to learn from and to measure on.
        batch: States of a packet.
        advance: Called when a number of components is done, `len(COMPONENTS)` times.
        most_measured: Most test views whose renderings are compared, evenly spaced, all when None; bytes are those of
            all of them.
    """
    pca = RegisteredPca(clip.train, COMPONENTS[-1], registered=not clip.fixed)
    known, test = ([pca.project(views) for views in part] for part in (clip.live, clip.test))
    measured = []
    for components in COMPONENTS:
        measured += _points(clip, pca, known, test, components, batch, most_measured)
        advance()
    return pareto(measured)


def delta_points(clip: Clip, batch: int) -> list[Measured]:
    """Returns the best points of registered principal components whose differences are coded one by one.

    An arithmetic coder with static tables from the training part; neither packets nor keys cost it anything.

    Args:
        clip: What to learn from and to measure on.
        batch: States of a packet, for what goes around the payload on the wire.
    """
    baseline = registered_pca(
        clip.train,
        clip.test,
        _DELTA_COMPONENTS,
        losses=_DELTA_LOSSES,
        registered=not clip.fixed,
        most_measured=clip.frames,
    )
    settings = itertools.product(_DELTA_COMPONENTS, _DELTA_LOSSES)
    around = packet_wire_bytes([0]) / batch
    return pareto(
        Measured(
            Point(
                clip.name,
                "registered-pca-delta",
                round(one.coded_bytes, 3),
                round(one.coded_bytes + around, 3),
                round(one.psnr_db, 3),
                round(one.ssim, 4),
            ),
            f"{components} components, coarseness {loss:g}",
        )
        for one, (components, loss) in zip(baseline, settings, strict=True)
    )


def _points(
    clip: Clip,
    pca: RegisteredPca,
    known: list[Projection],
    test: list[Projection],
    components: int,
    batch: int,
    most_measured: int | None,
) -> list[Measured]:
    step = pca.step(components, _FINE)

    def render(state: States) -> Image:
        return pca.render(state, step)

    tables = _fit(pca, render, [one.states(components, step) for one in known], components)
    stream = Stream(tables, batch, clip.fps)
    states = [one.states(components, step) for one in test]
    views = [view for part in clip.test for view in part]
    rows = np.linspace(0, len(views) - 1, min(most_measured or len(views), len(views))).round().astype(int)
    measured = []
    for level in range(len(tables.levels)):
        coded: Coded = stream.code(states, level)
        sent = np.concatenate(coded.decoded)
        psnr_db, similarity = mean_quality((views[row] for row in rows), (render(sent[row]) for row in rows))
        payload, wire = sum(coded.payloads) / clip.frames, packet_wire_bytes(coded.payloads) / clip.frames
        point = Point(clip.name, "registered-pca", round(payload, 3), round(wire, 3), psnr_db, similarity)
        measured.append(Measured(point, f"{components} components, quality {level}"))
    return measured


def _fit(
    pca: RegisteredPca, render: Callable[[States], Image], sequences: list[States], components: int
) -> CodecTables:
    """Fits tables to whole sequences from the end of the training part."""
    chosen: list[Recorded] = []
    left = _MOST_FITTED
    for states in reversed(sequences):
        if left > 1:
            chosen.insert(0, Recorded(states[-left:]))
            left -= len(states)
    every = np.concatenate([one.states for one in chosen])
    samples = every[np.linspace(0, len(every) - 1, min(_PROBED, len(every))).round().astype(int)]
    return fit(chosen, sensitivity(render, samples), pca.unexplained(components))
