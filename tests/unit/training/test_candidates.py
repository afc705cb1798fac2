"""Candidates: one that is not better than the one before costs nothing but its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from machines import RECIPE, machine_views
from twin_training import candidates
from twin_training.candidates import Candidate, Job, best_of, train_candidates
from twin_training.recipe import load_recipe
from twin_training.recordings import Dataset, record
from twin_training.run_folder import RunFolder

pytestmark = pytest.mark.training


@pytest.mark.parametrize("worse", [0, 1])
def test_the_better_one_is_kept_whichever_came_first(tmp_path: Path, monkeypatch, worse: int) -> None:
    import moving_subject

    subject, file = tmp_path / "machine.avi", tmp_path / "machine.toml"
    moving_subject.write_video(subject, machine_views(300))
    file.write_text(RECIPE)
    recipe = load_recipe(str(file))
    recipe = replace(recipe, train=replace(recipe.train, steps=20))
    dataset = record(str(subject), recipe)
    figures = iter([20.0, 20.0])
    given = []

    def measured(*_arguments: object) -> dict[str, float]:
        given.append(next(figures) + (5.0 if len(given) != worse else 0.0))
        return {"psnr_db": given[-1], "ssim": 0.9}

    monkeypatch.setattr(candidates, "_on_blocks", lambda *_: [measured()["psnr_db"]])
    monkeypatch.setattr(
        candidates, "_next", lambda choices, tried, _data: choices[len(tried)] if len(tried) < 2 else None
    )
    job = Job(RunFolder(tmp_path / "run"), dataset, 0.0, *[lambda *_: None] * 3, lambda: False)
    tried, stopped_at = train_candidates([recipe, recipe], job, resume=False)
    assert stopped_at is None
    assert [one.psnr_db for one in tried] == given
    assert [one.trainer is not None for one in tried] == [worse == 1, worse == 0]
    best = tried[1 - worse].trainer
    assert best is not None
    assert best.render(best.encode(dataset.test[:3])).shape == dataset.test[:3].shape


def test_one_that_loses_its_subject_is_kept_only_if_it_draws_far_better() -> None:
    recipe = load_recipe("face")
    follows = Candidate(recipe, None, 33.0, 30.0, ())
    for psnr_db, kept in ((35.0, False), (37.0, True)):
        loses = Candidate(recipe, None, psnr_db, psnr_db - 5, (), loses_sight=True)
        assert (best_of([loses, follows]) is loses) == kept


def test_parts_are_tried_though_the_whole_is_good_enough() -> None:
    recipes = [load_recipe(name) for name in ("face", "parts", "linear")]
    rng = np.random.default_rng(1)
    views = rng.integers(0, 255, (60, 8, 8, 3)).astype(np.uint8)
    dataset = Dataset(views[:40], views[40:50], views[50:])
    good = [Candidate(recipe, None, 60.0, 60.0, ()) for recipe in recipes]
    assert candidates._next(recipes, good[:1], dataset) is recipes[1]
    assert candidates._next(recipes, good[:2], dataset) is None
    poor = [replace(one, psnr_db=5.0) for one in good]
    assert candidates._next(recipes, poor[:2], dataset) is recipes[2]


def test_the_linear_twin_is_tried_where_the_one_that_is_kept_is_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = [load_recipe(name) for name in ("face", "parts", "linear")]
    loses = Candidate(recipes[0], None, 31.0, 24.0, (), loses_sight=True)
    tried = [loses, Candidate(recipes[1], None, 28.5, 25.0, ())]
    views = np.zeros((10, 8, 8, 3), np.uint8)
    monkeypatch.setattr(candidates, "linear_psnr", lambda *_: 29.0)
    assert best_of(tried) is tried[1]
    assert candidates._next(recipes, tried, Dataset(views, views, views)) is recipes[2]
