"""Registered principal components: the linear twin that a trained one has to beat.

A pose (shift and rotation) is found by aligning each view with a template, the aligned training views give principal
components, and a state is pose plus coefficients, quantized, coded as differences with static tables. No network: what
a trained twin is better by is what its training is worth. Alignment: Evangelidis and Psarakis, "Parametric image
alignment using enhanced correlation coefficient maximization", IEEE TPAMI 30(10), 2008.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.quality import psnr, ssim
from twin_training.order0 import States, coded_bytes, entropy_bytes

POSE_VALUES: Final = 3
"""Shift in x, shift in y, rotation."""
_POSE_STEPS: Final = np.array((0.25, 0.25, np.radians(0.5)))
_MOST_SAMPLES: Final = 1600
_TEMPLATE_SAMPLES: Final = 400
_TEMPLATE_ROUNDS: Final = 2
_REGISTERED_SIDE: Final = 64
_MASK_AXES: Final = (0.30, 0.375)
_CRITERIA: Final = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)
_BLUR: Final = 1.0
_CHUNK: Final = 200
_VALUES_AT_ONCE: Final = 4096
_LIMIT: Final = 127
_ROOM: Final = 1.1

Views = npt.NDArray[np.uint8]
"""Consecutive views, uint8 RGB of shape (n, size, size, 3), 0-255."""
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BaselinePoint:
    """What registered principal components reach at one rate."""

    components: int
    """Number of components in a state."""
    entropy_bytes: float
    """Bytes a frame by the empirical entropy of the test differences of each value: a bound for tables that know it."""
    coded_bytes: float
    """Bytes a frame with static tables learned from the training differences, first states included; no framing."""
    psnr_db: float
    """Mean PSNR of the renderings, dB."""
    ssim: float
    """Mean SSIM of the renderings, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Consecutive views as the baseline sees them, before the rate is chosen."""

    pose: npt.NDArray[np.int8]
    """Pose values as they are sent, int8 of shape (n, 3), or (n, 0) for a fixed subject."""
    coefficients: npt.NDArray[np.float32]
    """Coefficients on all components, strongest first, float32 of shape (n, components)."""

    def states(self, components: int, step: float) -> States:
        """Returns the states with so many components, their coefficients quantized in steps > 0."""
        latent = np.clip(np.rint(self.coefficients[:, :components] / step), -_LIMIT, _LIMIT)
        return np.concatenate([self.pose, latent.astype(np.int8)], axis=1)


class RegisteredPca:
    """A linear twin: template, mean and components of the aligned training views.

    Args:
        sequences: Training views, at least two in all.
        components: Most components that will be asked for, at least 1.
        registered: Whether to align; a fixed subject has the identity pose and no pose values in its states.
    """

    def __init__(self, sequences: Sequence[Views], components: int, *, registered: bool = True) -> None:
        self.registered = registered
        self.size = sequences[0].shape[1]
        self._pose_values = POSE_VALUES if registered else 0
        sample = _evenly(sequences, _MOST_SAMPLES)
        self._template: _Floats | None = None
        if registered:
            self._template = _find_template(_evenly(sequences, _TEMPLATE_SAMPLES))
        aligned = self.aligned(sample)
        self._mean: _Floats = aligned.mean(0, dtype=np.float32)
        # The Gram matrix of the samples has the components' subspace in it, and is far smaller than the covariance.
        gram = np.zeros((len(sample), len(sample)), np.float32)
        for _, centered in self._centered(aligned):
            gram += centered @ centered.T
        values, vectors = np.linalg.eigh(gram)
        strongest = np.argsort(values)[::-1][: min(components, len(sample) - 1)]
        across = vectors[:, strongest].T.astype(np.float32)
        basis = np.empty((len(across), aligned.shape[1]), np.float32)
        for part, centered in self._centered(aligned):
            basis[:, part] = across @ centered
        basis /= np.sqrt(np.einsum("ij,ij->i", basis, basis))[:, np.newaxis] + np.float32(1e-9)
        self._basis: _Floats = basis
        energies = np.maximum(values[np.argsort(values)[::-1]], 0) / len(sample)
        # The last of them is nothing, and rounding may make it less.
        self._left_over = np.maximum(energies.sum() - np.cumsum(energies), 0)
        first = sum(centered @ self._basis[:1, part].T for part, centered in self._centered(aligned))
        self._largest = float(np.abs(first).max())

    def _centered(self, aligned: npt.NDArray[np.uint8]) -> Iterator[tuple[slice, _Floats]]:
        """Gives a stretch of the values of all views at a time, less their mean, float32 of shape (n, stretch)."""
        for start in range(0, aligned.shape[1], _VALUES_AT_ONCE):
            part = slice(start, start + _VALUES_AT_ONCE)
            yield part, aligned[:, part] - self._mean[part]

    def poses(self, views: Sequence[Image] | Views) -> _Floats:
        """Returns the pose of consecutive views, float32 of shape (n, 3).

        Shift in x and y, pixels, and rotation about the middle, radians: of the subject against the template.

        Each search starts from the pose before, and anew from the identity where that does not converge.
        """
        if self._template is None:
            return np.zeros((len(views), POSE_VALUES), np.float32)
        factor = self.size / self._template.shape[0]
        found, mask, warp = [], _mask(len(self._template)), np.eye(2, 3, dtype=np.float32)
        for view in views:
            warp = _align(self._template, _prepared(view), warp, mask)
            middle = np.full(2, (len(self._template) - 1) / 2)
            shift = warp[:, :2] @ middle + warp[:, 2] - middle
            found.append((*(shift * factor), np.arctan2(warp[1, 0], warp[0, 0])))
        return np.array(found, np.float32)

    def aligned(self, views: Sequence[Image] | Views) -> npt.NDArray[np.uint8]:
        """Returns consecutive views moved onto the template, uint8 of shape (n, pixels)."""
        return self._aligned(views, self.poses(views))

    def step(self, components: int, loss: float) -> float:
        """Returns the coefficients' quantization step that costs a share of what the missing components cost.

        Args:
            components: How many components are in use.
            loss: Added squared error over that of leaving out the other components, > 0.
        """
        used = min(components, len(self._basis))
        wanted = float(np.sqrt(12 * loss * (self._left_over[used - 1] + 1e-3) / used))
        return max(wanted, _ROOM * self._largest / _LIMIT)  # A state is int8.

    def unexplained(self, components: int) -> float:
        """Returns the mean squared error, 0-255 squared, that so many components leave in the training views."""
        used = min(components, len(self._basis))
        return max(0.0, float(self._left_over[used - 1])) / (self.size * self.size * 3)

    def project(self, views: Views) -> Projection:
        """Returns the quantized poses of consecutive views, and their coefficients on all components."""
        pose_values = np.clip(np.rint(self.poses(views) / _POSE_STEPS), -_LIMIT, _LIMIT)[:, : self._pose_values]
        # Views are aligned by the pose that will be sent, so that its rounding costs nothing twice.
        sent = self._sent_poses(pose_values)
        coefficients = [
            (self._aligned(views[i : i + _CHUNK], sent[i : i + _CHUNK]) - self._mean) @ self._basis.T
            for i in range(0, len(views), _CHUNK)
        ]
        return Projection(pose_values.astype(np.int8), np.concatenate(coefficients))

    def render(self, state: npt.NDArray[np.int8], step: float) -> Image:
        """Returns the rendering of a state, uint8 RGB of shape (size, size, 3)."""
        latent = state[self._pose_values :].astype(np.float32) * np.float32(step)
        drawn = self._mean + latent @ self._basis[: len(latent)]
        picture: _Floats = np.asarray(drawn, np.float32).reshape(self.size, self.size, 3)
        if self.registered:
            warp = _warp(self._sent_poses(state[np.newaxis, : self._pose_values])[0], self.size)
            moved = cv2.warpAffine(
                picture, warp, (self.size, self.size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            picture = np.asarray(moved, np.float32)
        rendering: Image = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return rendering

    def _sent_poses(self, values: npt.NDArray[np.generic]) -> _Floats:
        """Returns the poses that quantized pose values stand for; the identity when there are none."""
        poses: _Floats = np.zeros((len(values), POSE_VALUES), np.float32)
        if self._pose_values:
            poses[:] = values.astype(np.float64) * _POSE_STEPS
        return poses

    def _aligned(self, views: Sequence[Image] | Views, poses: _Floats) -> npt.NDArray[np.uint8]:
        """Returns the views moved onto the template, uint8 of shape (n, pixels)."""
        if not self.registered:
            return np.asarray(views).reshape(len(views), -1)
        aligned = np.empty((len(views), self.size * self.size * 3), np.uint8)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        for row, view, pose in zip(aligned, views, poses, strict=True):
            row[:] = cv2.warpAffine(
                view, _warp(pose, self.size), (self.size, self.size), flags=flags, borderMode=cv2.BORDER_REPLICATE
            ).ravel()
        return aligned


def registered_pca(
    train: Sequence[Views],
    test: Sequence[Views],
    components: Iterable[int] = (8, 16, 32, 64),
    *,
    losses: Sequence[float] = (0.03, 0.2, 0.7),
    registered: bool = True,
    most_measured: int = 200,
    most_coded: int | None = None,
) -> tuple[BaselinePoint, ...]:
    """Measures the baseline over a range of rates.

    Args:
        train: Training views, as sequences in time order.
        test: Test views, as sequences in time order; each begins with a state that needs none before it.
        components: Numbers of components to try.
        losses: Coarseness of the quantization to try; see `RegisteredPca.step`.
        registered: Whether the subject moves about and is aligned; else it has the identity pose and pays nothing.
        most_measured: Most test views whose renderings are compared, evenly spaced; rates are over all of them.
        most_coded: Most training views that the tables of the code are learned from, the last ones; all when None.

    Returns:
        One point for each number of components with each coarseness, in that order.
    """
    counts = sorted(components)
    pca = RegisteredPca(train, counts[-1], registered=registered)
    known, coded = ([pca.project(views) for views in part] for part in (_last(train, most_coded), test))
    views = list(itertools.chain.from_iterable(test))
    chosen = np.linspace(0, len(views) - 1, min(most_measured, len(views))).round().astype(int)
    points = []
    for count in counts:
        for loss in losses:
            step = pca.step(count, loss)
            learned, states = ([one.states(count, step) for one in part] for part in (known, coded))
            flat = np.concatenate(states)
            pairs = [(views[i], pca.render(flat[i], step)) for i in chosen]
            points.append(
                BaselinePoint(
                    count,
                    entropy_bytes(states),
                    coded_bytes(learned, states),
                    float(np.mean([psnr(*pair) for pair in pairs])),
                    float(np.mean([ssim(*pair) for pair in pairs])),
                )
            )
    return tuple(points)


def at_bytes(points: Iterable[BaselinePoint], most_bytes: float) -> BaselinePoint | None:
    """Returns the point of the highest PSNR that takes at most so many coded bytes a frame, None when none does."""
    affordable = [point for point in points if point.coded_bytes <= most_bytes]
    return max(affordable, key=lambda point: point.psnr_db, default=None)


def _last(sequences: Sequence[Views], most: int | None) -> list[Views]:
    """Returns the last sequences, so many views in all at most, all when None."""
    kept: list[Views] = []
    left = sum(map(len, sequences)) if most is None else most
    for views in reversed(sequences):
        if left > 0:
            kept.insert(0, views[max(0, len(views) - left) :])
            left -= len(views)
    return kept


def _evenly(sequences: Sequence[Views], most: int) -> list[Image]:
    """Returns at most so many of the views, evenly spaced, in time order; none is copied."""
    views = list(itertools.chain.from_iterable(sequences))
    return [views[row] for row in np.linspace(0, len(views) - 1, min(most, len(views))).round().astype(int)]


def _find_template(views: Sequence[Image]) -> _Floats:
    """Returns the mean of the views after aligning them with it, float32 of shape (side, side), starting with one."""
    pictures = [_prepared(view) for view in views]
    template, side = pictures[0], len(pictures[0])
    for _ in range(_TEMPLATE_ROUNDS):
        total, warp = np.zeros_like(template), np.eye(2, 3, dtype=np.float32)
        for picture in pictures:
            warp = _align(template, picture, warp, _mask(side))
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            total += cv2.warpAffine(picture, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        template = total / np.float32(len(pictures))
    return template


def _align(template: _Floats, picture: _Floats, start: _Floats, mask: npt.NDArray[np.uint8]) -> _Floats:
    """Returns the 2x3 matrix from template to picture coordinates; the identity when none is found."""
    identity = np.eye(2, 3, dtype=np.float32)
    for guess in (start, identity):
        try:
            found = cv2.findTransformECC(template, picture, guess.copy(), cv2.MOTION_EUCLIDEAN, _CRITERIA, mask, 1)[1]
        except cv2.error:  # It did not converge.
            continue
        if np.isfinite(found).all() and np.abs(found[:, 2]).max() < len(template):
            return np.asarray(found, np.float32)
    return identity


def _prepared(view: Image) -> _Floats:
    """Returns a small, smoothed, gray picture, float32 of shape (side, side)."""
    side = min(_REGISTERED_SIDE, len(view))
    gray = cv2.resize(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), _BLUR), np.float32)


def _mask(side: int) -> npt.NDArray[np.uint8]:
    """Returns the middle of the picture, where the subject is and the background is not: an ellipse, 255 inside."""
    across = (np.arange(side) + 0.5) / side - 0.5
    inside = (across[np.newaxis] / _MASK_AXES[0]) ** 2 + (across[:, np.newaxis] / _MASK_AXES[1]) ** 2 < 1
    return np.where(inside, np.uint8(255), np.uint8(0))


def _warp(pose: _Floats, size: int) -> _Floats:
    """Returns the 2x3 matrix of a pose, from template coordinates to those of a view of this size."""
    x, y, angle = (float(value) for value in pose)
    cosine, sine, middle = np.cos(angle), np.sin(angle), (size - 1) / 2
    # About the middle: about the corner, a small error of the angle would be a large one of the place.
    left, top = middle - cosine * middle + sine * middle, middle - sine * middle - cosine * middle
    return np.array(((cosine, -sine, left + x), (sine, cosine, top + y)), np.float32)
