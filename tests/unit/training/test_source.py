"""What is read of a subject: a live camera is filmed once, and its region is settled before views are made."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.cameras import Frame
from twin_edge.errors import ConfigError, TrainingError
from twin_edge.filming import FilmConfig, MatroskaWriter, film
from twin_edge.filming import recorder as filming
from twin_training import source
from twin_training.diagnosis import check_framing
from twin_training.look import LabelledBox, look
from twin_training.recipe import Recipe, load_recipe, parse_recipe, recipe_from_json
from twin_training.recordings import read_empty, record
from twin_training.source import describe_found, readable, settle_region
from twin_training.survey import survey


def quiet(_done: int, _total: int | None) -> None:
    """Takes no notice of progress."""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("quick")


@pytest.fixture(scope="module")
def small_machine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A video of 640x480 in which a disc goes round in a small part on the right."""
    path = tmp_path_factory.mktemp("clips") / "small.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (640, 480))
    rng = np.random.default_rng(1)
    wall = cv2.resize(rng.integers(50, 180, (24, 32, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    for number in range(300):
        frame = wall.copy()
        middle = (460 + round(40 * np.cos(number * 0.31)), 200 + round(40 * np.sin(number * 0.31)))
        cv2.circle(frame, middle, 14, (30, 40, 250), -1)
        writer.write(frame)
    writer.release()
    return str(path)


def test_auto_finds_a_small_machine_and_the_views_show_it(small_machine: str, recipe: Recipe) -> None:
    found = settle_region(small_machine, "", recipe, quiet)
    x, y, width, height = found.recipe.data.region
    assert width * 640 == pytest.approx(height * 480, abs=8)
    assert width < 0.4
    assert x * 640 < 406
    assert (x + width) * 640 > 514
    assert y * 480 < 146
    assert (y + height) * 480 > 254
    assert found.recipe.view.region == found.recipe.data.region
    assert "of 640x480" in describe_found(found)
    tree = found.recipe.to_json()
    assert recipe_from_json(tree) == found.recipe
    assert found.recipe.digest() != recipe.digest()
    dataset = record(small_machine, found.recipe)
    ordinary = record(small_machine, recipe)
    red = [(views[..., 0].astype(int) - views[..., 1] > 120).mean() for views in (dataset.test, ordinary.test)]
    assert red[0] > 4 * red[1]


def test_what_is_asked_for_is_taken(small_machine: str, recipe: Recipe) -> None:
    assert settle_region(small_machine, "whole", recipe, quiet).recipe == recipe
    pixels = settle_region(small_machine, "320,120,240,240", recipe, quiet)
    assert pixels.recipe.data.region == (0.5, 0.25, 0.375, 0.5)
    assert pixels.recipe == settle_region(small_machine, "0.5,0.25,0.375,0.5", recipe, quiet).recipe
    assert settle_region(small_machine, "", pixels.recipe, quiet).recipe == pixels.recipe
    assert settle_region(small_machine, "auto", pixels.recipe, quiet).recipe != pixels.recipe
    assert describe_found(settle_region("rig", "", recipe, quiet)) == ""
    assert settle_region("rig", "90,0,300,300", recipe, quiet).recipe.data.region == (0.1875, 0.0, 0.625, 0.833333)
    with pytest.raises(ConfigError, match="does not fit frames of 640x480"):
        settle_region(small_machine, "600,0,300,300", recipe, quiet)
    with pytest.raises(ConfigError, match="not a region"):
        settle_region(small_machine, "left", recipe, quiet)


def test_a_recipe_may_have_a_region() -> None:
    assert parse_recipe("x", "[data]\nregion = [0.1, 0.2, 0.5, 0.5]").view.region == (0.1, 0.2, 0.5, 0.5)
    assert parse_recipe("x", "").view.region is None
    for wrong in ("[0.1, 0.2, 0.5]", "[0.1, 0.2, 0.95, 0.5]", '["a"]', "0.5"):
        with pytest.raises(ConfigError, match="region"):
            parse_recipe("x", f"[data]\nregion = {wrong}")
    with pytest.raises(ConfigError, match="at least one value"):
        parse_recipe("x", "[data]\nrig_train_seeds = []")


def test_a_survey_spreads_over_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    film(FilmConfig("rig:seed=2", path, frames=700, quality=60), stop=threading.Event())
    seen = survey(str(path), 1.0)
    assert (seen.count, len(seen.frames), seen.size, seen.rotation) == (700, 200, (360, 480), 0)
    assert seen.fps == pytest.approx(30, rel=0.01)
    assert seen.frames.shape[1:] == (144, 192, 3)
    rig = survey("rig:seed=2", 3.0)
    assert rig.count == 90
    with pytest.raises(TrainingError, match="has 3 frames"):
        survey("rig:fps=1", 3.0)


def test_pictures_of_different_sizes_are_taken_whole(tmp_path: Path, recipe: Recipe) -> None:
    rng = np.random.default_rng(4)
    for number in range(30):
        size = (60, 80, 3) if number % 3 else (80, 60, 3)
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 256, size, np.uint8))
    seen = survey(f"images:{tmp_path}", 1.0)
    assert (seen.mixed, seen.count, len(seen.frames)) == (True, 30, 10)
    assert settle_region(f"images:{tmp_path}", "", recipe, quiet).recipe == recipe


def test_a_rig_camera_ends_after_the_recipes_time(recipe: Recipe) -> None:
    short = replace(recipe, data=replace(recipe.data, record_s=12.0))
    dataset = record("rig:seed=9,fps=20", short)
    used = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    assert 0.85 * 240 < used <= 240


def test_a_varying_rate_is_measured(tmp_path: Path, recipe: Recipe) -> None:
    writer = MatroskaWriter(tmp_path / "film.mkv", (64, 64), 30.0)
    time_s = 0.0
    for number in range(600):
        frame = np.full((64, 64, 3), number % 200 + 20, np.uint8)
        frame[:32] = 100
        writer.add(cv2.imencode(".jpg", frame)[1].tobytes(), time_s)
        time_s += 0.02 if number % 2 else 0.18
    writer.close()
    # Ten frames a second, of which five are asked for: every second one.
    dataset = record(str(tmp_path / "film.mkv"), replace(recipe, data=replace(recipe.data, fps=5.0, gap_s=1.0)))
    assert len(dataset.validation) == pytest.approx(30, abs=3)  # blocks are of whole frames
    assert len(dataset.train) == pytest.approx(390, abs=30)


class Live:
    """A live camera."""

    uri, live, fps = "/dev/video9", True, 30.0

    def __init__(self) -> None:
        self.opened = 0
        self.given = 0

    def open(self) -> None:
        self.opened += 1

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - it is never late
        time.sleep(0.005)
        self.given += 1
        return Frame(np.full((48, 64, 3), self.given % 250, np.uint8), time.time_ns() // 1000, self.given)

    def close(self) -> None: ...


def test_a_live_camera_is_filmed_once(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Live()
    for module in (source, filming):
        monkeypatch.setattr(module, "open_camera", lambda _uri: camera)
    short = replace(recipe, data=replace(recipe.data, record_s=0.6))
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "run" / "recording.mkv"
    found = readable("9", short, path, lambda *now: told.append(now), resume=False)
    assert found == f"file:{path}"
    assert (camera.opened, told[0][0]) == (1, 0)
    assert survey(found, 1.0).count > 30
    assert readable("9", short, path, quiet, resume=True) == found
    assert camera.opened == 1

    def stop(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        readable("9", short, path, stop, resume=False)
    assert not list(path.parent.iterdir())


def test_sources_that_wait_are_read_as_they_are(tmp_path: Path, small_machine: str, recipe: Recipe) -> None:
    for subject in ("rig", "rig:seed=3", small_machine):
        assert readable(subject, recipe, tmp_path / "recording.mkv", quiet, resume=False) == subject
    assert not list(tmp_path.iterdir())


def test_the_empty_scene_is_seen_as_views_are(tmp_path: Path, small_machine: str, recipe: Recipe) -> None:
    region = settle_region(small_machine, "320,60,320,320", recipe, quiet).recipe
    video = cv2.VideoCapture(small_machine)
    frame = video.read()[1]
    video.release()
    cv2.imwrite(str(tmp_path / "empty.png"), frame)
    dataset = record(small_machine, region, empty=str(tmp_path / "empty.png"))
    assert dataset.empty.shape == (64, 64, 3)
    assert np.abs(dataset.empty.astype(int) - dataset.train[0]).max() <= 2
    assert dataset.digest() != record(small_machine, region).digest()
    # Of a video, what is usual: the disc is never in one place for long.
    usual = read_empty(small_machine, region).astype(int)
    assert (usual[..., 0] - usual[..., 1] > 120).mean() < 0.004
    with pytest.raises(Exception, match="no file"):
        read_empty(str(tmp_path / "none.png"), region)


def test_a_look_is_a_picture_and_lines(small_machine: str, recipe: Recipe) -> None:
    box = LabelledBox("needle", (0.6, 0.3, 0.1, 0.2))
    looked = look(small_machine, "auto", recipe, boxes=[box])
    picture = cv2.imdecode(np.frombuffer(looked.png(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == 2 * 640 + 16
    assert picture.shape[0] > 480 + 4 * 24
    text = "\n".join(looked.lines)
    assert "640x480, 300 frames in 15.0 s" in text
    assert "20 a second" in text
    assert "no black bars" in text
    assert "region: " in text
    assert not looked.warnings
    without = cv2.imdecode(np.frombuffer(look(small_machine, "auto", recipe).png(), np.uint8), cv2.IMREAD_COLOR)
    changed = np.abs(picture.astype(int) - without).max(-1) > 30
    columns = np.nonzero(changed)[1]
    assert 380 <= columns.min() <= columns.max() <= 460
    # Hottest where the disc goes round, which is right of the middle of the right picture.
    heat = without[:480, 656:].astype(int).sum(-1)
    assert heat[140:260, 400:520].mean() > 1.3 * heat[300:, :300].mean()


def test_a_look_tells_what_is_cut_off(small_machine: str, recipe: Recipe) -> None:
    looked = look(small_machine, "0,0,320,320", recipe)
    assert looked.framing.shown < 0.1
    assert "motion-cut-off" in [warning.kind for warning in looked.warnings]
    assert looked.recipe.data.region == (0.0, 0.0, 0.5, 0.666667)


def test_what_is_wrong_with_framing_and_empty_scene_is_told(tmp_path: Path, small_machine: str, recipe: Recipe) -> None:
    rng = np.random.default_rng(7)
    cv2.imwrite(str(tmp_path / "other.png"), rng.integers(0, 256, (480, 640, 3), np.uint8))
    video = cv2.VideoCapture(small_machine)
    cv2.imwrite(str(tmp_path / "darker.png"), (video.read()[1] * 0.7).astype(np.uint8))
    video.release()
    found = settle_region(small_machine, "whole", recipe, quiet)
    plain, other, darker = (
        record(small_machine, found.recipe, empty=name and str(tmp_path / name))
        for name in ("", "other.png", "darker.png")
    )
    assert check_framing(found, plain, uses_empty=True) == []
    assert [finding.kind for finding in check_framing(found, plain, uses_empty=False)] == []
    assert [finding.kind for finding in check_framing(found, other, uses_empty=False)] == ["empty-unused"]
    (finding,) = check_framing(found, other, uses_empty=True)
    assert finding.kind == "empty-differs"
    assert finding.evidence > 14
    assert check_framing(found, darker, uses_empty=True) == []
