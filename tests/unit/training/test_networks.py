"""The networks cost what they claim, fit together at every size, and start from what the closed form says."""

from __future__ import annotations

import numpy as np
import pytest

import moving_subject
from twin_training.linear import snapped
from twin_training.networks import (
    _copies,
    build_discriminator,
    build_encoder,
    build_generator,
    multiply_accumulates,
    set_start,
)
from twin_training.recipe import ModelConfig
from twin_training.start import OUTPUT, prepare

pytestmark = pytest.mark.training


@pytest.mark.parametrize("moving", [False, True])
def test_standard_networks_have_the_cost_they_claim(moving: bool) -> None:  # noqa: FBT001 - a parameter of the test
    model = ModelConfig(moving=moving)
    encoder, generator = build_encoder(model), build_generator(model)
    assert multiply_accumulates(encoder) + multiply_accumulates(generator) < 90e6
    assert encoder.output_shape == (None, model.state_length)
    assert generator.output_shape == (None, 128, 128, 4 if moving else 3)
    assert build_discriminator(model).output_shape[1:] == (8, 8)


@pytest.mark.parametrize(("size", "side", "block"), [(32, 8, 4), (64, 64, 8), (256, 32, 32)])
def test_every_size_has_matching_ends(size: int, side: int, block: int) -> None:
    model = ModelConfig(size=size, latent=5, encoder_side=side, block=block, atoms=8, hidden=4, refiner=4, patch=16)
    latents = build_encoder(model)(np.random.default_rng(1).random((2, side, side, 3)).astype(np.float32))
    assert latents.shape == (2, 5)
    renderings = build_generator(model)(latents).numpy()
    assert renderings.shape == (2, size, size, 3)
    assert np.abs(renderings).max() <= 1


def test_first_rendering_is_least_squares() -> None:
    """With all the atoms that a block has values, the network draws what mean and basis say, to two levels."""
    model = ModelConfig(size=32, latent=6, encoder_side=16, block=4, atoms=48, hidden=4, refiner=4, patch=16)
    rng = np.random.default_rng(1)
    ramps = np.linspace(40, 200, 32)
    amounts = rng.uniform(-1, 1, (120, 3))
    parts = np.stack(
        [np.add.outer(ramps, ramps) / 8, np.subtract.outer(ramps, ramps) / 4, np.outer(ramps, ramps) / 900]
    )
    views = np.clip(110 + np.tensordot(amounts, parts, 1), 0, 255)[..., np.newaxis].repeat(3, -1).astype(np.uint8)
    start = prepare(model, views, (0,), 1)
    encoder, generator = build_encoder(model), build_generator(model)
    set_start(encoder, generator, start, model)
    wanted = np.clip(start.mean + np.tensordot(start.latents, start.basis, 1), -1, 1)
    drawn = generator(start.latents, training=False).numpy()
    assert np.abs(drawn - wanted).max() * 127.5 < 2
    assert np.abs(drawn * 127.5 + 127.5 - views).mean() < 3


def test_encoder_is_the_linear_map() -> None:
    model = ModelConfig(size=32, latent=4, encoder_side=16, block=4, atoms=16, hidden=4, refiner=4, patch=16)
    views = np.random.default_rng(1).integers(0, 256, (80, 32, 32, 3)).astype(np.uint8)
    start = prepare(model, views, (0,), 1)
    encoder, generator = build_encoder(model), build_generator(model)
    set_start(encoder, generator, start, model)
    crops = start.crops.astype(np.float32) / 255
    said = np.clip(start.encoder(crops.reshape(len(crops), -1)), -1, 1)
    np.testing.assert_allclose(encoder(crops).numpy(), said, atol=1e-4)


def test_int8_changes_nothing_of_the_encoder_of_a_moving_subject() -> None:
    _, _, start = moving_subject.prepared()
    for layer in start.encoder.layers:
        np.testing.assert_allclose(snapped(layer.weights), layer.weights, atol=1e-6 * np.abs(layer.weights).max())


def test_copies_go_to_the_largest_entries_and_are_finer_together() -> None:
    entries = np.array([2.0, 0.4, -1.0, 0.3], np.float32).reshape(4, 1, 1, 1)
    copied, offsets = _copies(entries, 4)
    np.testing.assert_array_equal(np.bincount(copied), [4, 1, 2, 1])
    step = OUTPUT.scale
    values = np.random.default_rng(1).uniform(-0.9, 0.9, 2000)

    def error(entry: int) -> float:
        drawn = np.mean([np.rint((values + shift) / step) * step for shift in offsets[copied == entry]], 0)
        return float(np.abs(drawn - values).max() / step)

    assert error(1) == pytest.approx(1 / 2, abs=0.01)
    assert error(0) == pytest.approx(1 / 8, abs=0.01)
