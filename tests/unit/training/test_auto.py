"""What kind of subject it is, is measured, and says what is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from machines import crowd_views, machine_views
from twin_edge.errors import TrainingError
from twin_training.auto import AUTO, LINEAR, PARTS, WHOLE, Kind, candidates, look_at
from twin_training.candidates import linear_psnr
from twin_training.recipe import in_size, load_recipe
from twin_training.recordings import Dataset


def dataset(views: np.ndarray) -> Dataset:
    count = len(views)
    first, second = round(0.7 * count), round(0.8 * count)
    return Dataset(views[:first], views[first:second], views[second:])


def test_a_machine_has_parts():
    kind = look_at(dataset(machine_views(400)), 100_000)
    assert kind.parts == 3
    assert not kind.is_crowd
    assert kind.recipes[0] == PARTS
    assert "3 separate parts" in str(kind)


def test_a_crowd_is_refused_with_what_would_help():
    recipe = in_size(load_recipe(AUTO), "small")
    with pytest.raises(TrainingError, match="unrelated things move") as error:
        candidates(recipe, dataset(crowd_views(500)))
    assert "--region" in error.value.fix


def test_a_recipe_that_was_asked_for_is_the_only_candidate():
    recipe = load_recipe("face")
    assert candidates(recipe, dataset(machine_views(60))) == (recipe,)


@pytest.mark.parametrize(
    ("alignment", "ahead", "parts", "expected"),
    [
        (3.0, 0.0, 1, (WHOLE, PARTS)),
        (3.0, 0.0, 0, (WHOLE,)),
        (0.0, -3.0, 1, (PARTS, WHOLE)),
        (-3.0, 0.6, 1, (PARTS, WHOLE)),
        (0.0, 0.0, 4, (PARTS,)),
        (-3.0, -3.0, 1, (PARTS,)),
    ],
)
def test_what_is_tried(alignment: float, ahead: float, parts: int, expected: tuple[str, ...]):
    assert Kind(parts, 0.3, alignment, ahead, 0.9, 1.0).recipes == expected


def test_candidates_keep_data_and_size_and_end_with_the_linear_twin():
    recipe = in_size(load_recipe(AUTO), "small")
    recipe = replace(recipe, data=replace(recipe.data, denoise="gaussian"))
    found = candidates(recipe, dataset(machine_views(300)))
    assert [one.name for one in found][-1] == f"{AUTO}-{LINEAR}"
    for one in found:
        assert one.model.size == 64
        assert one.data == recipe.data


def test_linear_quality_grows_with_what_training_has_seen():
    views = machine_views(300)
    assert linear_psnr(views[:200], views[200:]) > linear_psnr(views[:20], views[200:])
