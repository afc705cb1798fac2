"""Recipes are data, and wrong data is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_edge.errors import ConfigError
from twin_training.recipe import check_name, load_recipe, parse_recipe, recipe_from_json, shipped_recipes


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
        ("[model]\nlatent = 8.5", "must be of type int"),
        ("[model]\nlatent = true", "must be of type int"),
        ("[model]\nsize = 100", "32, 64, 128 or 256"),
        ("[model]\nsize = 64\npatch = 128", "patch is larger"),
        ("[model]\nencoder_filters = []", "not empty"),
        ("[data]\nrig_test_seeds = [1000]", "rig seed twice"),
        ("[data]\ntrain_share = 0.9\nvalidation_share = 0.1", "less than 5 %"),
        ('[data]\ndenoise = "magic"', "makes no view"),
        ("model = 3", "must be a table"),
        ("[model", "not TOML"),
    ],
)
def test_wrong_recipes(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_recipe("mine", text)


def test_missing_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="face, quick, rig"):
        load_recipe("nothing")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a name"):
        check_name(name)
