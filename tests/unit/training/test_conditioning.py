"""What makes a generator cheap to quantize changes nothing of what it draws."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from twin_training.conditioning import FEATURE_COPIES, copied
from twin_training.networks import _COPIES, build_generator, make_quantizable
from twin_training.recipe import ModelConfig

pytestmark = pytest.mark.training

ATOMS = 12
LINEAR = ModelConfig(size=32, latent=6, encoder_side=16, block=8, atoms=ATOMS, hidden=4, refiner=4, patch=16)
BENT = ModelConfig(
    size=32, latent=4, encoder_side=16, block=8, atoms=ATOMS, hidden=4, refiner=4, patch=16, reading=8, drawing=(16, 10)
)


def generator_of(model: ModelConfig) -> keras.Model:
    """Returns a generator with weights of every size, whose coefficients stay within their range."""
    keras.utils.set_random_seed(1)
    generator = build_generator(model)
    rng = np.random.default_rng(1)
    principal = generator.get_layer("drawing_principal")
    shape = principal.kernel.shape
    apart = np.eye(*shape, dtype=np.float32)
    principal.set_weights([apart, np.zeros(shape[1], np.float32)])
    layer = generator.get_layer("coefficients")
    kernel = rng.normal(0, 0.02, layer.kernel.shape).astype(np.float32)
    kernel[shape[0] :] = 0
    layer.set_weights([kernel, rng.normal(0, 0.02, layer.bias.shape).astype(np.float32)])
    dictionary = generator.get_layer("dictionary")
    (entries,) = dictionary.get_weights()
    dictionary.set_weights([entries * np.geomspace(1, 0.01, entries.shape[2])[:, np.newaxis].astype(np.float32)])
    return generator


@pytest.mark.parametrize("model", [LINEAR, BENT], ids=["linear", "bent"])
def test_drawings_stay_as_they_were(model: ModelConfig) -> None:
    generator = generator_of(model)
    latents = np.random.default_rng(2).normal(0, 0.25, (64, model.latent)).astype(np.float32)
    before = generator(latents, training=False).numpy()
    kernel = generator.get_layer("coefficients").get_weights()[0]
    make_quantizable(generator, latents, model)
    np.testing.assert_allclose(generator(latents, training=False).numpy(), before, atol=2e-4)
    assert not np.allclose(generator.get_layer("coefficients").get_weights()[0], kernel)


def test_entries_come_to_be_alike() -> None:
    generator = generator_of(LINEAR)

    def sizes() -> np.ndarray:
        (entries,) = generator.get_layer("dictionary").get_weights()
        return np.sqrt(np.square(entries[:, :, : ATOMS + _COPIES]).sum((0, 1, 3)))

    before = sizes()
    make_quantizable(generator, np.zeros((8, LINEAR.latent), np.float32), LINEAR)
    assert sizes().max() / sizes().min() < 0.5 * before.max() / before.min()
    assert sizes().max() == pytest.approx(before.max(), rel=0.01)


def test_principal_features_are_independent_and_the_first_say_most() -> None:
    generator = generator_of(BENT)
    latents = np.random.default_rng(2).normal(0, 0.25, (400, BENT.latent)).astype(np.float32)
    make_quantizable(generator, latents, BENT)
    principal = generator.get_layer("drawing_principal")
    features = keras.Model(generator.input, principal.output)(latents, training=False).numpy()[:, :-FEATURE_COPIES]
    np.testing.assert_allclose(features.mean(0), 3, atol=1e-3)
    strong = features[:, :4]
    np.testing.assert_allclose(np.cov(strong, rowvar=False) * 4, np.eye(4), atol=0.02)
    kernel = generator.get_layer("coefficients").get_weights()[0]
    said = np.square(kernel[:-FEATURE_COPIES]).sum(1)
    assert said[0] > said[4] > said[9]
    assert not kernel[-FEATURE_COPIES:].any()


def test_what_is_largest_is_copied_most() -> None:
    assert copied(np.array([1.0, 8.0, 3.0]), 4) == [1, 1, 1, 2]
    assert copied(np.array([1.0]), 2) == [0, 0]
