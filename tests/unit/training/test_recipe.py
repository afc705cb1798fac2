"""Recipes are data, and wrong data is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_edge.errors import ConfigError
from twin_training.recipe import check_name, in_size, load_recipe, parse_recipe, recipe_from_json, shipped_recipes


def test_shipped_recipes_load_and_survive_a_round_trip() -> None:
    assert {"rig", "face", "quick"} <= set(shipped_recipes())
    for name in shipped_recipes():
        recipe = load_recipe(name)
        again = recipe_from_json(recipe.to_json())
        assert again == recipe
        assert again.digest() == recipe.digest()


def test_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[model]\nlatent = 8\n[train]\nlearning_rate = 1\n".replace("= 1\n", "= 0.001\n"))
    recipe = load_recipe(str(path))
    assert recipe.name == "mine"
    assert recipe.model.latent == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\nlatnet = 8", "unknown key 'latnet'.*latent"),
        ("[modle]\nlatent = 8", "unknown key 'modle'"),
        ("[model]\nlatent = 0", "recipe.model.latent is 0.*1 to 256"),
        ("[model]\nlatent = 8.5", "latent is .*: give a whole number"),
        ("[model]\nlatent = true", "latent is .*: give a whole number"),
        ("[model]\nsize = 100", "32, 64, 128 or 256"),
        ("[model]\nsize = 64\npatch = 128", "patch is larger"),
        ("[model]\nencoder_filters = []", "give an array with at least one value"),
        ("[model]\nencoder_side = 24", "encoder_side is 24.*power of two from 8 to 128"),
        ("[model]\nsize = 64\nencoder_side = 128", "power of two from 8 to 64"),
        ("[model]\nblock = 2", "block is 2.*power of two from 4 to 32"),
        ("[model]\natoms = 0", "recipe.model.atoms is 0.*1 to 512"),
        ("[model]\nmoving = 1", "moving is 1: give true or false"),
        ("[model]\ndiscriminator_filters = [8]", "has 1 entries"),
        ("[data]\nfps = 121", "recipe.data.fps is 121"),
        ("[data]\nrig_test_seeds = [1000]", "rig seed twice"),
        ("[data]\ntrain_share = 0.9\nvalidation_share = 0.1", "less than 5 %"),
        ('[data]\ndenoise = "magic"', "makes no view"),
        ("model = 3", "model is 3: write it as a table"),
        ("[model", "not TOML"),
    ],
)
def test_wrong_recipes(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_recipe("mine", text)


def test_a_moving_subject_has_a_pose_in_its_state_and_a_coverage_in_its_picture() -> None:
    moving, fixed = load_recipe("face").model, load_recipe("rig").model
    assert (moving.channels, moving.state_length - moving.latent) == (4, 4)
    assert (fixed.channels, fixed.state_length - fixed.latent) == (3, 0)


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="auto, digits, face, linear, parts, quick, rig"):
        load_recipe("nothing")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a name"):
        check_name(name)


def test_a_large_twin_takes_fewer_frames_and_steps_where_each_costs_more() -> None:
    face, parts = (in_size(load_recipe(name), "large") for name in ("face", "parts"))
    assert face.model.size == parts.model.size == 256
    assert face.train.steps < load_recipe("face").train.steps
    assert parts.train.steps == load_recipe("parts").train.steps
    assert max(face.data.max_frames, parts.data.max_frames) <= 5000
