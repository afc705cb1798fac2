"""A recording of one's own, measured with the bundle that was made of it."""

import json
from pathlib import Path

import pytest

from collection import __main__ as command
from collection.faults import FAULTS
from collection.measure import measure
from collection.recordings import OWN, Recording
from collection.rows import Row
from collection.training import Folders
from collection.watching import PLANTED
from twin_edge.bundle import Bundle

pytestmark = [pytest.mark.training, pytest.mark.slow]


@pytest.fixture(scope="module")
def folders(moving_path: Path, tmp_path_factory) -> Folders:
    home = moving_path.parents[1]
    return Folders(tmp_path_factory.mktemp("clips"), home / "runs", home / "bundles")


@pytest.fixture(scope="module")
def row(folders: Folders) -> Row:
    video = folders.runs.parent / "square.avi"
    return measure(Recording("square", OWN, str(video)), folders).row


def test_the_row_says_what_the_bundle_is_worth(row: Row, folders: Folders):
    quality = Bundle.open(folders.bundle("square")).manifest.quality
    assert row.kind == "whole"
    assert row.frames >= 20
    assert abs(row.psnr_db - quality.int8_psnr_db) < 3
    assert row.baseline_psnr_db < row.psnr_db + 10
    assert 0 < row.bytes_per_frame < 100
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_all_is_planted_and_what_cannot_be_missed_is_found(row: Row):
    assert list(row.planted) == list(PLANTED)
    assert row.planted["other_subject"] == 1.0
    assert set(FAULTS) < set(row.planted)


def test_without_a_bundle_it_is_one_line(folders: Folders, capsys, monkeypatch, tmp_path: Path):
    video = folders.runs.parent / "square.avi"
    options = ["--only-measure", "--recording", str(video), "--json", "--bundles", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["collection", *options])
    assert command.main() == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "without --only-measure" in told.err
    assert told.out == ""
