"""The article's network trains, repeats itself, and its encoder undoes its generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.errors import ConfigError
from twin_training.article.networks import ENCODED, LATENT_END, build_discriminator, build_encoder, build_generator
from twin_training.article.trainer import ArticleTrainer
from twin_training.recipe import ModelConfig, Recipe, load_recipe, parse_recipe
from twin_training.recordings import Views

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    shipped = load_recipe("digits")
    model = replace(
        shipped.model, latent=20, encoder_filters=(8, 16), generator_filters=(16, 12, 8), discriminator_filters=(8, 16)
    )
    return replace(shipped, model=model, train=replace(shipped.train, steps=40, learning_rate=2e-3))


@pytest.fixture(scope="module")
def views() -> Views:
    """Strokes from one random place to another."""
    rng = np.random.default_rng(1)
    images = np.zeros((200, 28, 28, 3), np.uint8)
    for image in images:
        (x0, y0, x1, y1) = (int(value) for value in rng.integers(5, 23, 4))
        cv2.line(image, (x0, y0), (x1, y1), (255, 255, 255), 3, cv2.LINE_AA)
    return images


def weights(trainer: ArticleTrainer) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*trainer.encoder.variables, *trainer.generator.variables)]


def test_shipped_sizes_fit_each_other() -> None:
    model = load_recipe("digits").model
    generator, discriminator, (encoder, _) = build_generator(model), build_discriminator(model), build_encoder(model)
    assert generator.input_shape == (None, 100)
    assert generator.output_shape == encoder.input_shape == discriminator.input_shape == (None, 28, 28, 1)
    assert encoder.output_shape == (None, 100)
    assert discriminator.output_shape == (None, 1)
    # Logits: no sigmoid before the loss that has one.
    assert discriminator.layers[-1].activation.__name__ == "linear"
    noise = np.random.default_rng(1).standard_normal((4, 100)).astype(np.float32)
    assert np.abs(generator(noise).numpy()).max() <= 1


def test_training_makes_views_again_from_latents_that_keep_to_the_noise(recipe: Recipe, views: Views) -> None:
    trainer = ArticleTrainer(recipe, views)
    losses: list[dict[str, float]] = []
    assert trainer.fit(lambda progress: losses.append(progress.losses))
    trainer.finish()
    assert losses[-1]["l2"] < 0.6 * losses[0]["l2"]
    latents = trainer.encode(views)
    assert np.abs(latents).max() <= LATENT_END + 1e-5
    assert 0.1 < latents[:, :ENCODED].std(0).max() < 1.6
    assert not latents[:, ENCODED:].any()
    renderings = trainer.render(latents)
    assert renderings.shape == views.shape
    assert (renderings[..., 0] == renderings[..., 2]).all()
    assert trainer.imagine(5).shape == (5, 28, 28, 3)


def test_resumed_training_ends_where_an_uninterrupted_one_does(recipe: Recipe, views: Views, tmp_path: Path) -> None:
    short = replace(recipe, train=replace(recipe.train, steps=6))
    whole = ArticleTrainer(short, views)
    whole.fit()
    first = ArticleTrainer(short, views)
    steps: list[int] = []
    checkpoint = tmp_path / "checkpoint.npz"
    assert not first.fit(lambda now: steps.append(now.step), stopped=lambda: len(steps) >= 3, checkpoint=checkpoint)
    second = ArticleTrainer(short, views)
    second.restore(checkpoint)
    assert second.step == 3
    second.fit()
    for one, other in zip(weights(whole), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('family = "other"', "family is 'other'"),
        ("size = 30", "size is 30"),
        ("generator_filters = [8, 8]", "generator_filters is"),
        ("encoder_filters = [8, 0]", "encoder_filters is"),
    ],
)
def test_recipes_that_make_no_article(line: str, message: str) -> None:
    key = line.split(" ", 1)[0]
    text = {"family": 'family = "article"', "size": "size = 28", "generator_filters": "generator_filters = [8, 8, 8]"}
    text |= {"encoder_filters": "encoder_filters = [8, 8]", "discriminator_filters": "discriminator_filters = [8, 8]"}
    text[key] = line
    with pytest.raises(ConfigError, match=message):
        parse_recipe("mine", "[model]\n" + "\n".join(text.values()))


def test_the_default_family_is_the_twin() -> None:
    assert ModelConfig().family == "twin"
