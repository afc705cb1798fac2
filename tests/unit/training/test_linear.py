"""The closed forms give what they are known to give."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_edge.cameras.rig import Rig, RigConfig
from twin_training.linear import dictionary, drawing_basis, principal_components, ridge

RNG_SEED = 7


def patterned(count: int, size: int = 32, rank: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns canvases that are a mean and so many smooth images, and how much of each is in them."""
    rng = np.random.default_rng(RNG_SEED)
    images = np.stack([cv2.resize(rng.normal(size=(4, 4, 3)), (size, size)) for _ in range(rank)])
    amounts = rng.normal(size=(count, rank)) * np.linspace(30, 10, rank)
    canvases = 128 + np.tensordot(amounts, images, 1)
    return np.clip(np.rint(canvases), 0, 255).astype(np.uint8), amounts


def holes(count: int, size: int = 32) -> np.ndarray:
    """Returns masks with a strip at one side unseen, now this side, now that."""
    seen = np.full((count, size, size), 255, np.uint8)
    rng = np.random.default_rng(RNG_SEED)
    for mask in seen:
        width = int(rng.integers(0, size // 4))
        mask[:, :width] = 0
        if rng.random() < 0.5:
            mask[:] = mask[:, ::-1].copy()
    return seen


def continued(canvases: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Returns canvases whose unseen strips continue their nearest seen column, as warping a view leaves them."""
    result = canvases.copy()
    for canvas, mask in zip(result, seen, strict=True):
        shown = np.flatnonzero(mask[0])
        canvas[:, : shown[0]] = canvas[:, shown[:1]]
        canvas[:, shown[-1] + 1 :] = canvas[:, shown[-1:]]
    return result


def test_coefficients_are_ordered_and_independent() -> None:
    rig = Rig(RigConfig(seed=5))
    views = np.zeros((60, 64, 64, 3), np.uint8)
    for view in views:
        rig.step(10)
        view[:] = cv2.resize(rig.draw(), (64, 64))
    coefficients = principal_components(views, None, 16).coefficients
    deviations = coefficients.std(0)
    np.testing.assert_allclose(coefficients.mean(0), 0, atol=1e-3 * deviations[0])
    assert (np.diff(deviations) <= 1e-4 * deviations[0]).all()
    correlation = np.corrcoef(coefficients.T) - np.eye(16)
    assert np.abs(correlation).max() < 0.01
    # Their energy is that of the pixels, as far as so many components go.
    pixels = views.reshape(len(views), -1) / 127.5 - 1
    energy = np.square(pixels - pixels.mean(0)).sum() / len(views)
    assert 0.5 * energy < np.square(deviations).sum() <= energy * 1.001


def test_coefficients_are_what_the_canvases_were_made_of() -> None:
    canvases, amounts = patterned(200)
    coefficients = principal_components(canvases, None, 3).coefficients
    design = np.c_[coefficients, np.ones(200)]
    explained = design @ np.linalg.lstsq(design, amounts, rcond=None)[0]
    assert np.abs(explained - amounts).std(0).max() < 0.02 * amounts.std(0).max()


def test_holes_are_filled_in_and_change_little() -> None:
    canvases, _ = patterned(200)
    seen = holes(200)
    assert 0.05 < (seen == 0).mean() < 0.3
    damaged = continued(canvases, seen)
    whole = principal_components(canvases, None, 3).coefficients
    filled = principal_components(damaged, seen, 3).coefficients
    ignored = principal_components(damaged, None, 3).coefficients

    def error(found: np.ndarray) -> float:
        design = np.c_[found, np.ones(len(found))]
        rest = whole - design @ np.linalg.lstsq(design, whole, rcond=None)[0]
        return float(np.square(rest).sum() / np.square(whole).sum())

    assert error(filled) < 0.05
    assert error(filled) < 0.5 * error(ignored)


def test_more_components_than_views_are_zero() -> None:
    views = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3)).astype(np.uint8)
    coefficients = principal_components(views, None, 8).coefficients
    assert np.isfinite(coefficients).all()
    assert not coefficients[:, 4:].any()


def test_ridge_recovers_a_known_map() -> None:
    rng = np.random.default_rng(RNG_SEED)
    weights, bias = rng.normal(size=(20, 4)).astype(np.float32), np.array([1, -2, 3, 0], np.float32)
    inputs = rng.normal(2, 1, (400, 20)).astype(np.float32)
    found = ridge(inputs.copy(), inputs @ weights + bias, np.ones(4, np.float32))
    # Weights are int8: half a step of the largest of an output is what each may be off by.
    step = np.abs(weights).max(0) / 127
    assert (np.abs(found.weights - weights) <= 0.55 * step).all()
    assert (np.abs(found(inputs) - inputs @ weights - bias).mean(0) <= 2 * step).all()
    np.testing.assert_allclose(found(inputs).mean(0), (inputs @ weights + bias).mean(0), atol=1e-3)


def test_ridge_does_not_learn_noise_by_heart() -> None:
    """With more inputs than samples, plain least squares would fit anything."""
    rng = np.random.default_rng(RNG_SEED)
    inputs = rng.normal(size=(60, 200)).astype(np.float32)
    targets = (inputs[:, :1] + rng.normal(size=(60, 1))).astype(np.float32)
    fresh = rng.normal(size=(400, 200)).astype(np.float32)
    plain = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    damped = ridge(inputs, targets, np.ones(1, np.float32))
    assert np.square(damped(fresh) - fresh[:, :1]).mean() <= np.square(fresh @ plain - fresh[:, :1]).mean()


@pytest.mark.parametrize("with_holes", [False, True])
def test_drawing_basis_draws_what_it_was_given(with_holes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    canvases, amounts = patterned(300)
    latents = (amounts / amounts.std(0) * 0.25).astype(np.float32)
    seen = holes(300) if with_holes else None
    given = canvases if seen is None else continued(canvases, seen)
    mean, basis = drawing_basis(latents, given, seen)
    drawn = (mean + np.tensordot(latents, basis, 1) + 1) * 127.5
    assert mean.shape == (32, 32, 3)
    assert basis.shape == (3, 32, 32, 3)
    assert np.abs(drawn - canvases).mean() < (4 if with_holes else 1)


@pytest.mark.parametrize(("block", "channels"), [(4, 3), (8, 4)])
def test_a_dictionary_of_all_blocks_is_the_basis(block: int, channels: int) -> None:
    size, latent = 32, 5
    basis = np.random.default_rng(RNG_SEED).normal(size=(latent, size, size, channels)).astype(np.float32)
    count = block * block * channels
    coefficients, entries = dictionary(basis, block, count, np.eye(len(basis), dtype=np.float32) / 16)
    cells = size // block
    assert coefficients.shape == (latent, cells, cells, count)
    assert entries.shape == (count, block, block, channels)
    blocks = np.tensordot(coefficients, entries, 1)
    again = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(basis.shape)
    np.testing.assert_allclose(again, basis, atol=1e-4)


def test_fewer_entries_lose_little_of_smooth_images_and_stay_in_range() -> None:
    rng = np.random.default_rng(RNG_SEED)
    basis = np.stack([cv2.resize(rng.normal(size=(4, 4, 3)), (32, 32)) for _ in range(8)]).astype(np.float32)
    coefficients, entries = dictionary(basis, 8, 40, np.eye(len(basis), dtype=np.float32) / 16)
    blocks = np.tensordot(coefficients, entries, 1)
    again = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(basis.shape)
    assert np.square(again - basis).sum() < 0.01 * np.square(basis).sum()
    latents = rng.normal(0, 0.25, (500, 8))
    assert np.mean(np.abs(np.tensordot(latents, coefficients, 1)) > 1) < 1e-3


def test_more_entries_than_a_block_has_values_are_zero() -> None:
    basis = np.random.default_rng(RNG_SEED).normal(size=(2, 16, 16, 3)).astype(np.float32)
    coefficients, entries = dictionary(basis, 4, 60, np.eye(len(basis), dtype=np.float32) / 16)
    assert not entries[48:].any()
    assert not coefficients[..., 48:].any()
