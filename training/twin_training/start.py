"""Where a training starts: everything that has a closed form.

For a moving subject: its pose in each view, the plate behind it, and what of each view it covers. For every subject:
an encoder, the states that it gives, and the mean and basis that a generator has to draw for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models import Quantization
from twin_edge.models.pose import Pose, PoseSpec
from twin_edge.twin.tracking import Cropper, Tracker
from twin_training import linear
from twin_training.manifold import COEFFICIENTS, PICTURE_SIDE, Perceptron, learn_manifold, standardized
from twin_training.recipe import ManifoldConfig, ModelConfig
from twin_training.recordings import Views
from twin_training.registration import register
from twin_training.scene import learn_plate, seen_parts, warp_to_canvas
from twin_training.targets import Canvases, Targets, WholeViews

LATENT_DEVIATION: Final = 0.25
"""Standard deviation of a latent value; the int8 range, -1 to 1, is four of them on either side."""

OUTPUT: Final = Quantization(1 / 127.5, 0)
"""Real values of the encoder's int8 outputs, as the converter makes them."""

POSE_SIZE: Final = 128
_STEPS: Final = (0.25, 0.25, 0.5 * np.pi / 180, 1 / 128)
_REACH: Final = (8.0, 8.0, 0.25, 0.15)
_NEAR: Final = np.array((1.5, 1.5, 0.03, 0.015))
_FAR: Final = np.array((5.0, 5.0, 0.10, 0.05))
_STILL: Final = np.array((0.15, 0.15, 0.003, 0.003))
_NEAR_SAMPLES: Final = 3
_STILL_SAMPLES: Final = 2
_MOST_VIEWS: Final = 2400
_POSE_DAMPINGS: Final = (1e-3, 1e-2, 1e-1)
_LATENT_DAMPING: Final = 0.5
"""Far more than predicts the coefficients best: what is drawn for a latent is found afterwards, and what is sure of the
picture makes a better latent than what predicts. Measured on the face (docs/adr/0006-linear-start.md)."""
_NOTHING: Final = 1e-6
"""A component whose coefficients deviate by less than this part of the strongest one's is none."""
_ROUNDS: Final = 2
_VIEWS_AT_ONCE: Final = 256

States = npt.NDArray[np.int8]
"""States of views, int8 of shape (n, state length)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is beside the latent of a moving subject."""

    pose: PoseSpec
    """How poses stand in states."""
    plate: Image
    """The background, uint8 RGB of shape (size, size, 3)."""


@dataclass(frozen=True, slots=True)
class Start:
    """What training starts from."""

    encoder: Perceptron
    """From a crop, uint8 / 255, flattened, to pose change and latent."""
    states: States
    """The states of the training views, as the device will have them."""
    crops: Views
    """What the encoder sees of each, uint8 RGB of shape (n, side, side, 3)."""
    targets: Targets
    """What to draw for each."""
    mean: linear.Floats
    """What to draw where all features are 0, -1 to 1, float32 of shape (size, size, channels)."""
    basis: linear.Floats
    """What one unit of each feature adds, float32 of shape (features, size, size, channels); none of it in a trainer,
    whose networks have it."""
    scene: Scene | None
    """What there is beside the latent; None for a fixed subject."""
    drawing: Perceptron | None = None
    """From the latent to the features that are drawn; None for a linear twin: the latent itself is drawn."""

    @property
    def latents(self) -> linear.Floats:
        """The latents of the training views, float32 of shape (n, latent)."""
        return OUTPUT.dequantize(self.states[:, 0 if self.scene is None else len(self.scene.pose.steps) :])

    @property
    def features(self) -> linear.Floats:
        """What the pictures of the training views are a linear map of, float32 of shape (n, features)."""
        return self.latents if self.drawing is None else self.drawing(self.latents)


def prepare(
    model: ModelConfig,
    views: Views,
    cuts: Sequence[int],
    seed: int,
    on_stage: Callable[[str], None] = lambda _stage: None,
    manifold: ManifoldConfig | None = None,
    empty: Image | None = None,
) -> Start:
    """Computes where training starts.

    Args:
        model: Sizes; with hidden values for the encoder, a fixed subject does not start linear.
        views: Training views in time order, uint8 RGB of shape (n, size, size, 3).
        cuts: Where something else begins.
        seed: Seed of the small shifts that the encoder learns from, and of a manifold's training.
        on_stage: Told what comes next.
        manifold: How to learn where a twin starts that does not start linear; by default as a recipe does.
        empty: The scene without a moving subject, uint8 RGB of shape (size, size, 3); None when it is not known.
    """
    if not model.moving:
        return _prepare_fixed(model, manifold or ManifoldConfig(), views, cuts, seed, on_stage)
    on_stage("registration")
    rng = np.random.default_rng(seed)
    starts = np.isin(np.arange(len(views)), cuts)
    poses = register(views, starts)
    spec = _pose_spec(model.size)
    for turn in range(_ROUNDS):
        on_stage(f"tracking, round {turn + 1}")
        encoder = _moving_encoder(model, views, poses, spec, rng)
        states = encode(encoder, views, cuts, spec, model)
        poses = [spec.dequantize(state[: len(spec.steps)]) for state in states]
    on_stage("plate and coverage")
    plate = learn_plate(views, poses, empty)
    targets = Canvases(views, poses, plate)
    on_stage("least squares")
    mean, basis = _drawing_basis(OUTPUT.dequantize(states[:, len(spec.steps) :]), targets)
    crops = _crops(model, views, poses)
    return Start(encoder, states, crops, targets, mean, basis, Scene(spec, plate))


def pairs_of(count: int, cuts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Returns the rows of each view and of the one that follows it, int64 of shape (pairs, 2)."""
    first = np.setdiff1d(np.arange(count - 1), np.asarray(cuts, int) - 1)
    return np.stack([first, first + 1], axis=1)


def encode(encoder: Perceptron, views: Views, cuts: Sequence[int], spec: PoseSpec | None, model: ModelConfig) -> States:
    """Returns the states of views, as the device will have them, int8 of shape (n, state length)."""
    side, size = model.encoder_side, model.size

    def read(crop: Image) -> npt.NDArray[np.int8]:
        return OUTPUT.quantize(encoder(crop.reshape(1, -1).astype(np.float32) / 255)[0])

    if spec is None:
        return np.stack([read(_shrunk(view, side)) for view in views])
    track = Tracker(read, OUTPUT, spec, size, side)
    states: list[npt.NDArray[np.int8]] = []
    starts = frozenset(cuts)
    for index, view in enumerate(views):
        states.append(track(view, None if index == 0 or index in starts else states[-1]))
    return np.stack(states)


def _prepare_fixed(
    model: ModelConfig,
    manifold: ManifoldConfig,
    views: Views,
    cuts: Sequence[int],
    seed: int,
    on_stage: Callable[[str], None],
) -> Start:
    on_stage("principal components")
    crops, drawing = _crops(model, views, None), None
    if model.reading:
        coefficients = linear.principal_components(views, None, COEFFICIENTS, PICTURE_SIDE).coefficients
        on_stage(f"the manifold of the pictures, {manifold.steps} steps")
        pairs = pairs_of(len(views), cuts)
        inputs = crops.reshape(len(crops), -1).astype(np.float32) / 255
        learned = learn_manifold(model, manifold, inputs[pairs], coefficients[pairs], seed)
        learned = standardized(learned, crops, LATENT_DEVIATION)
        encoder, drawing = learned.reading, learned.drawing
    else:
        encoder = _fixed_encoder(model, views)
    states = encode(encoder, views, cuts, None, model)
    on_stage("least squares")
    latents, targets = OUTPUT.dequantize(states), WholeViews(views)
    mean, basis = _drawing_basis(latents if drawing is None else drawing(latents), targets)
    return Start(encoder, states, crops, targets, mean, basis, None, drawing)


def _drawing_basis(features: linear.Floats, targets: Targets) -> tuple[linear.Floats, linear.Floats]:
    """Returns what to draw where all features are 0, and what one unit of each adds: see `linear.drawing_basis`."""
    rows = linear.sampled_rows(len(features))
    return linear.drawing_basis(features[rows], targets.pictures(rows), targets.seen(rows))


def _crops(model: ModelConfig, views: Views, poses: list[Pose] | None) -> Views:
    if poses is None:
        return np.stack([_shrunk(view, model.encoder_side) for view in views])
    crop = Cropper(model.size, model.encoder_side)
    crops = np.empty((len(views), model.encoder_side, model.encoder_side, 3), np.uint8)
    for index, (view, pose) in enumerate(zip(views, poses, strict=True)):
        crop.look_at(view)
        crops[index] = crop(pose)
    return crops


def _fixed_encoder(model: ModelConfig, views: Views) -> Perceptron:
    sample = _evenly(views)
    components = linear.principal_components(sample, None, model.latent, model.encoder_side)
    crops = np.stack([_shrunk(view, model.encoder_side).reshape(-1) for view in sample]).astype(np.float32) / 255
    reader = linear.block_reader(components, crops, model.encoder_block, model.encoder_entries)
    return Perceptron((reader, _latent_map(components, reader, model, reader(crops))))


def _moving_encoder(
    model: ModelConfig, views: Views, poses: list[Pose], spec: PoseSpec, rng: np.random.Generator
) -> Perceptron:
    """Returns the encoder that says how far a crop is off, and the latent of one that is not."""
    rows = np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_VIEWS)).round().astype(int))
    poses = [poses[row] for row in rows]
    components = linear.components_with_holes(*_small_canvases(model, views, rows, poses), model.latent)
    reader = _moving_reader(components, model, views, rows, poses)
    crop = Cropper(model.size, model.encoder_side)
    scale = np.array((model.size / POSE_SIZE, model.size / POSE_SIZE, 1, 1))

    def read(pose: Pose) -> linear.Floats:
        crops = crop(pose).reshape(1, -1).astype(np.float32) / 255
        return np.clip(reader(crops)[0], 0, linear.READER_RANGE)

    # Between what int8 sees, where every entry is as large as any other, and the picture, where some are far larger.
    gain = np.tile(np.sqrt(linear.reader_gain(reader)), (model.encoder_side // model.encoder_block) ** 2)
    off = np.empty((len(rows), _NEAR_SAMPLES + 1, len(gain)), np.float32)
    near = np.empty((len(rows), _STILL_SAMPLES, len(gain)), np.float32)
    changes = np.empty((len(rows), _NEAR_SAMPLES + 1, 4), np.float32)
    for number, (row, pose) in enumerate(zip(rows, poses, strict=True)):
        crop.look_at(views[row])
        for turn in range(_NEAR_SAMPLES + 1):
            change = rng.normal(size=4) * _NEAR if turn < _NEAR_SAMPLES else rng.uniform(-1, 1, 4) * _FAR
            off[number, turn] = read(pose.then(Pose(*(change * scale)).inverse()))
            changes[number, turn] = change * scale / spec.reach
        for turn in range(_STILL_SAMPLES):
            near[number, turn] = read(pose.then(Pose(*(rng.normal(size=4) * _STILL * scale))))
    off /= gain
    change = linear.ridge(off.reshape(-1, len(gain)), changes.reshape(-1, 4), np.ones(4, np.float32), _POSE_DAMPINGS)
    del off
    typical = near.mean((0, 1))
    near /= gain
    latent = _whitened(near.reshape(-1, len(gain)), np.repeat(components.coefficients, _STILL_SAMPLES, axis=0))
    weights = np.concatenate([change.weights, latent.weights], axis=1) / gain[:, np.newaxis]
    exact = linear.LinearMap(weights, np.concatenate([change.bias, latent.bias]))
    return Perceptron((reader, exact.with_weights(linear.snapped(weights), typical[np.newaxis])))


def _small_canvases(
    model: ModelConfig, views: Views, rows: npt.NDArray[np.int64], poses: list[Pose]
) -> tuple[linear.Floats, npt.NDArray[np.bool_]]:
    """Returns what some of the views show under the canvas, as small as an encoder sees it, and where they do not."""
    pixels, holes = [], []
    for first in range(0, len(rows), _VIEWS_AT_ONCE):
        part = slice(first, first + _VIEWS_AT_ONCE)
        pixels.append(linear.reduced(warp_to_canvas(views[rows[part]], poses[part]), model.encoder_side))
        holes.append(linear.reduced_holes(seen_parts(model.size, poses[part]), model.encoder_side))
    return np.concatenate(pixels), np.concatenate(holes)


def _moving_reader(
    components: linear.Components, model: ModelConfig, views: Views, rows: npt.NDArray[np.int64], poses: list[Pose]
) -> linear.BlockMap:
    crops = _crops(model, views[rows], poses).reshape(len(rows), -1).astype(np.float32) / 255
    return linear.block_reader(components, crops, model.encoder_block, model.encoder_entries)


def _whitened(outputs: linear.Floats, coefficients: linear.Floats) -> linear.LinearMap:
    """Returns the map from a reader's outputs to coefficients, each scaled to the deviation of a latent value.

    Regression on crops that are a little off learns to leave out what small errors of the pose look like: packets then
    need not carry it.
    """
    deviations = coefficients.std(0)
    targets = coefficients / (deviations + 1e-6)
    found = linear.ridge(outputs, targets, np.square(deviations), (_LATENT_DAMPING,))
    gain = LATENT_DEVIATION / (found(outputs).std(0) + 1e-6)
    gain[deviations <= deviations.max() * _NOTHING] = 0  # Fewer components than asked for: these say nothing.
    return linear.LinearMap(found.weights * gain, found.bias * gain)


def _latent_map(
    components: linear.Components, reader: linear.BlockMap, model: ModelConfig, outputs: linear.Floats
) -> linear.LinearMap:
    """Returns the map that projects onto components, each coefficient scaled to the deviation of a latent value."""
    weights = linear.component_reader(components, reader, model.encoder_block)
    read = outputs @ weights
    deviations = read.std(0)
    gain = np.where(deviations > deviations.max() * _NOTHING, LATENT_DEVIATION / (deviations + 1e-9), 0)
    weights = linear.snapped(np.asarray(weights * gain, np.float32))
    return linear.LinearMap(weights, -(outputs @ weights).mean(0))


def _pose_spec(size: int) -> PoseSpec:
    ratio = size / POSE_SIZE
    return PoseSpec(
        (_STEPS[0] * ratio, _STEPS[1] * ratio, _STEPS[2], _STEPS[3]),
        (_REACH[0] * ratio, _REACH[1] * ratio, _REACH[2], _REACH[3]),
    )


def _evenly(views: Views) -> Views:
    return views[np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_VIEWS)).round().astype(int))]


def _shrunk(view: Image, side: int) -> Image:
    return view if view.shape[0] == side else np.asarray(cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA))
