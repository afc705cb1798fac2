"""Measures a bundle on a recording as its subscribers and its owner meet it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from collection.baselines import best_at, mean_image_psnr_db, measure_baselines
from collection.faults import Scene, Views, look_at
from collection.films import Film
from collection.needle import NeedleReader, needle_errors, truth_of
from collection.recordings import COLLECTION, Recording
from collection.rows import Row
from collection.sources import Truth, read_truth, read_views, stranger_views
from collection.training import Folders, known_cost, require_bundle
from collection.watching import (
    BEFORE_S,
    FOUND_AFTER_S,
    PLANTED,
    Subscribed,
    Watched,
    raised,
    subscribe,
    watch,
)
from comparison.clips import Clip, load_clip
from comparison.wire import states_in_packet
from twin_edge.bundle import Bundle, Manifest
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.config import RunConfig
from twin_edge.runtime.reporting import OUT_OF_SYNC_GAP
from twin_edge.twin import Twin

HAND: Final = "hand"
_HAND_LEAVES_S: Final = 0.5
_NEEDLE_SEEDS: Final = range(7100, 7140)
_NEEDLE_FRAMES: Final = 90
_NEEDLE_STRIDE: Final = 3
_RIG_FPS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """A row, and what else was measured."""

    row: Row
    """The row."""
    notes: dict[str, Any]
    """Rate, batch, points of the baselines, needle, cost of conversion; ready for JSON."""


@dataclass(frozen=True, slots=True)
class _Material:
    """What one recording gives to measure on."""

    clip: Clip
    """The bundle's own training views, and the views to measure on, as normal sequences."""
    disturbed: tuple[Views, ...]
    """Stretches with a hand in them, each with a second of normal views before it."""
    pressures: npt.NDArray[np.float64] | None
    """True pressure of each view to measure on, nan where it is not known; None for what has no gauge."""


def measure(
    recording: Recording, folders: Folders, on_stage: Callable[[str], None] = lambda _stage: None
) -> Measurement:
    """Measures a recording with its bundle, or with that of the recording that it is a second one of.

    Args:
        recording: What to measure on.
        folders: Where recording, run and bundle are.
        on_stage: Told what is being done.

    Raises:
        TwinEdgeError: Recording, run or bundle is not there, or cannot be used.
    """
    bundle = Bundle.open(require_bundle(recording, folders))
    on_stage("reading")
    material = _material(recording, folders, bundle)
    clip = material.clip
    batch = states_in_packet(RunConfig().batch_ms, clip.fps)
    on_stage("following")
    watched = [watch(bundle, views, clip.fps) for views in clip.test]
    on_stage("rendering what subscribers see")
    seen = subscribe(bundle, clip.test, [one.states for one in watched], clip.fps, batch)
    on_stage("baselines")
    curves = measure_baselines(clip, batch)
    baseline = best_at(seen.bytes_per_frame, mean_image_psnr_db(clip), curves)
    scene = look_at(np.concatenate(clip.train), stranger_views(recording, folders.clips, bundle.manifest.view))
    gaps, in_sync = (np.concatenate([getattr(one, name) for one in watched]) for name in ("gaps", "in_sync"))
    quality, cost = bundle.manifest.quality, known_cost(recording, folders)
    row = Row(
        recording=recording.name,
        second_recording_of=recording.second_recording_of,
        frames=clip.frames,
        kind=kind_of(bundle.manifest),
        psnr_db=round(float(seen.psnr_db.mean()), 3),
        ssim=round(float(seen.ssim.mean()), 4),
        bytes_per_frame=round(seen.bytes_per_frame, 3),
        baseline=baseline.name,
        baseline_psnr_db=baseline.psnr_db,
        stated_psnr_db=stated_psnr_db(bundle.manifest),
        int8_loss_db=round(quality.float_psnr_db - quality.int8_psnr_db, 3),
        above_99_share=round(float((gaps >= OUT_OF_SYNC_GAP).mean()), 4),
        planted=_planted(bundle, material, scene, on_stage),
        in_sync_share=round(float(in_sync.mean()), 4),
        training_s=None if cost is None else cost.training_s,
        training_mb=None if cost is None else cost.training_mb,
    )
    on_stage("needle")
    notes: dict[str, Any] = {
        "fps": round(clip.fps, 3),
        "states_in_packet": batch,
        "worst_psnr_db": round(float(seen.psnr_db.min()), 3),
        "mean_image_psnr_db": mean_image_psnr_db(clip),
        "baselines": {name: [asdict(point) for point in points] for name, points in curves.items()},
        "bundle_bytes": len(bundle.data),
        "cost": None if cost is None else asdict(cost),
        "needle": _needle(recording, bundle, material, watched, seen),
    }
    return Measurement(row, notes)


def kind_of(manifest: Manifest) -> str:
    """Returns what kind of twin a bundle is: `parts`, `whole` (one subject that moves about) or `fixed`."""
    if getattr(manifest, "parts", None):
        return "parts"
    return "fixed" if manifest.pose is None else "whole"


def stated_psnr_db(manifest: Manifest) -> float:
    """Returns what a bundle says of its quality at the default level, dB; bundles that do not say: of their models."""
    return float(getattr(manifest.quality, "default_psnr_db", 0.0) or manifest.quality.int8_psnr_db)


def _material(recording: Recording, folders: Folders, bundle: Bundle) -> _Material:
    name = recording.second_recording_of or recording.name
    first = recording if recording.name == name else next(one for one in COLLECTION if one.name == name)
    clip = load_clip(folders.run(name), first.subject(folders.clips))
    truth_path, spec = recording.truth(folders.clips), bundle.manifest.view
    truth = None if truth_path is None else read_truth(truth_path)
    if recording.second_recording_of is None:
        if truth is None:
            return _Material(clip, (), None)
        views = read_views(recording.subject(folders.clips), spec).views
        return _Material(clip, (), truth_of(np.concatenate(clip.test), views, truth.pressure_bar))
    fps = float(json.loads((folders.run(name) / "recipe.json").read_bytes())["data"]["fps"])
    filmed = read_views(recording.subject(folders.clips), spec, fps)
    clip = replace(clip, name=recording.name, fps=filmed.fps)
    if truth is None:
        return _Material(replace(clip, test=(filmed.views,)), (), None)
    truth = truth.every(-(-len(truth.faulty) // len(filmed.views)))
    normal, disturbed = apart(filmed.views, truth, round(BEFORE_S * filmed.fps))
    return _Material(replace(clip, test=normal), disturbed, truth.pressure_bar[~truth.faulty])


def apart(views: Views, truth: Truth, before: int) -> tuple[tuple[Views, ...], tuple[Views, ...]]:
    """Cuts a recording where a fault begins and ends.

    Args:
        views: The whole recording.
        truth: Of each view.
        before: How many of the normal views before a fault come with it.

    Returns:
        The normal sequences, and those with a fault.
    """
    edges = [0, *(np.flatnonzero(np.diff(truth.faulty)) + 1), len(views)]
    normal, disturbed = [], []
    for start, end in itertools.pairwise(edges):
        if truth.faulty[start]:
            disturbed.append(views[max(0, start - before) : end])
        else:
            normal.append(views[start:end])
    return tuple(normal), tuple(disturbed)


def _planted(
    bundle: Bundle, material: _Material, scene: Scene, on_stage: Callable[[str], None]
) -> dict[str, float | None]:
    clip, shares = material.clip, {}
    for name in PLANTED:
        on_stage(f"planting {name}")
        shares[name] = raised(bundle, name, clip.test, clip.fps, scene)
    if material.disturbed:
        begin, end = round((BEFORE_S + FOUND_AFTER_S) * clip.fps), round(_HAND_LEAVES_S * clip.fps)
        strange = [watch(bundle, views, clip.fps).strange[begin : len(views) - end] for views in material.disturbed]
        shares[HAND] = round(float(np.concatenate(strange).mean()), 4)
    return shares


def _needle(
    recording: Recording, bundle: Bundle, material: _Material, watched: list[Watched], seen: Subscribed
) -> dict[str, Any] | None:
    """Returns how far the needle is off in what subscribers see, and in the views themselves; None without a gauge."""
    if recording.name == "rig":
        return _needle_of_rig(bundle)
    if material.pressures is None or not isinstance(recording.source, Film):
        return None
    reader, twin = NeedleReader(bundle.manifest.view, recording.source), Twin(bundle, encodes=False)
    strange = np.concatenate([one.strange for one in watched])
    known = np.isfinite(material.pressures)
    if not known.any():
        return None
    truth, strange = material.pressures[known], strange[known]
    shown = np.array([reader.read(twin.render(state)) for state in np.concatenate(seen.decoded)[known]])
    viewed = np.array([reader.read(view) for view in np.concatenate(material.clip.test)[known]])
    return _both(shown, viewed, truth, strange)


def _needle_of_rig(bundle: Bundle) -> dict[str, Any]:
    """Looks at the gauge in what subscribers see of many unseen seeds, 9 s of each at 10 frames per second."""
    reader, spec = NeedleReader(bundle.manifest.view, Film(seed=0, seconds=1.0)), bundle.manifest.view
    twin, fps = Twin(bundle, encodes=False), _RIG_FPS / _NEEDLE_STRIDE
    batch = states_in_packet(RunConfig().batch_ms, fps)
    views = np.empty((_NEEDLE_FRAMES, spec.height, spec.width, 3), np.uint8)
    shown, viewed, truth, strange = [], [], [], []
    for seed in _NEEDLE_SEEDS:
        rig = Rig(RigConfig(seed=seed))
        for view in views:
            rig.step(_NEEDLE_STRIDE)
            twin.make_view(rig.draw(), view)
            truth.append(float(rig.truth()["pressure_bar"]))
        watched = watch(bundle, views, fps)
        strange.append(watched.strange)
        (decoded,) = subscribe(bundle, [views], [watched.states], fps, batch).decoded
        shown += [reader.read(twin.render(state)) for state in decoded]
        viewed += [reader.read(view) for view in views]
    return _both(np.array(shown), np.array(viewed), np.array(truth), np.concatenate(strange))


def _both(
    shown: npt.NDArray[np.float64],
    viewed: npt.NDArray[np.float64],
    truth: npt.NDArray[np.float64],
    strange: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    return {
        "renderings": asdict(needle_errors(shown, truth, strange)),
        "views": asdict(needle_errors(viewed, truth, strange)),
    }
