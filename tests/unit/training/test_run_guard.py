"""A run is never overwritten silently, and is gone on with as what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from twin_edge.errors import ConfigError, TrainingError
from twin_training.recipe import load_recipe
from twin_training.run_guard import check_may_begin, check_same, is_finished, read_recipe


def make(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ((), {}, None),
        (("recipe.json",), {}, None),
        (("metrics.json",), {}, "finished training.*another --name, or --force"),
        (("metrics.json",), {"force": True}, None),
        (("metrics.json",), {"resume": True}, "has finished.*without --resume"),
        (("checkpoint.npz",), {}, "was stopped.*--resume.*--force"),
        (("checkpoint.npz", "metrics.json"), {}, "was stopped"),
        (("checkpoint.npz",), {"resume": True}, None),
        (("checkpoint.npz",), {"force": True}, None),
        (("checkpoint.npz",), {"resume": True, "force": True}, "contradict"),
        (("recipe.json",), {"resume": True}, "no checkpoint"),
    ],
)
def test_when_a_run_may_begin(tmp_path: Path, names, options, words) -> None:
    folder = make(tmp_path / "run", *names)
    asked = {"resume": False, "force": False, **options}
    if words is None:
        check_may_begin(folder, **asked)
    else:
        with pytest.raises(ConfigError, match=words):
            check_may_begin(folder, **asked)
    assert is_finished(folder) == (names == ("metrics.json",))
    check_may_begin(tmp_path / "new", resume=False, force=False)


def test_the_runs_own_recipe_is_read_and_compared(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    with pytest.raises(TrainingError, match="not a run that can be resumed"):
        read_recipe(folder)
    quick = load_recipe("quick")
    own = replace(quick, data=replace(quick.data, region=(0.1, 0.1, 0.5, 0.5)))
    (folder / "recipe.json").write_text(json.dumps(own.to_json()))
    assert read_recipe(folder) == own
    check_same(own, quick, folder)  # its region is its own
    with pytest.raises(ConfigError, match=r"other settings.*leave out --recipe"):
        check_same(own, replace(quick, train=replace(quick.train, steps=7)), folder)
    with pytest.raises(ConfigError, match="recipe quick, size 64, 100 steps"):
        check_same(own, load_recipe("face"), folder)


def start(folder: Path, environment: dict[str, str], *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "twin_training", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_the_command_refuses_in_one_line(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "runs").mkdir()
    folder = make(tmp_path / "runs" / "x", "metrics.json")
    code, line = start(tmp_path, environment, "rig", "--name", "x", "--recipe", "quick")
    assert code == 2
    assert line == (
        "error: runs/x has a finished training: give another --name, or --force to replace it (make: FORCE=1)"
    )
    # What is wrong with the options comes first: what is there has nothing to do with it.
    for options, status, words in (
        (("rig", "--size", "huge"), 2, "there is no size huge: choose small, standard, large"),
        (("rig", "--recipe", "nonsense"), 2, "there is no recipe nonsense"),
        (("rig", "--recipe", "digits", "--size", "large"), 2, "leave --size out"),
        (("rig", "--steps", "2000000"), 2, "recipe.train.steps is 2000000"),
        (("rig", "--region", "1,2"), 2, "'1,2' is not a region"),
        (("nowhere.mp4",), 4, "there is no file nowhere.mp4"),
        (("wat:7",), 2, "no camera scheme 'wat'"),
        (("rig", "--empty", "nowhere.png"), 4, "there is no file nowhere.png"),
        (("rig", "--runs", "runs/x/metrics.json"), 2, "metrics.json is a file"),
    ):
        code, line = start(tmp_path, environment, "--name", "x", *options)
        assert (code, words in line) == (status, True), line
    (folder / "checkpoint.npz").touch()
    (folder / "recipe.json").write_text(json.dumps(load_recipe("quick").to_json()))
    code, line = start(tmp_path, environment, "rig", "--name", "x", "--resume", "--recipe", "face")
    assert (code, "other settings" in line) == (2, True)
    code, line = start(tmp_path, environment, "rig", "--name", "x", "--resume", "--region", "whole")
    assert (code, "is resumed keeps its region" in line) == (2, True)


def test_look_is_a_word_of_its_own(tmp_path: Path, environment: dict[str, str]) -> None:
    code, line = start(tmp_path, environment, "look", "rig:seed=2,fps=5", "-o", "seen.png")
    assert (code, line) == (0, "look at seen.png")
    assert (tmp_path / "seen.png").stat().st_size > 10_000
    assert start(tmp_path, environment, "look", "nowhere.mp4")[0] == 4
    for options, words in (
        (("--size", "huge"), "no size huge"),
        (("--region", "x"), "not a region"),
        (("-o", "."), ". is a folder"),
    ):
        code, line = start(tmp_path, environment, "look", "rig", *options)
        assert (code, words in line) == (2, True), line
    (tmp_path / "look").mkdir()
    assert "there are no images in look" in start(tmp_path, environment, "./look", "--name", "x")[1]
