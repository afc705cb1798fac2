from __future__ import annotations

import cv2
import numpy as np
import pytest

from twin_edge.album import SHEET, Album
from twin_edge.errors import TwinEdgeError
from twin_edge.pictures import contact_sheet, encode_png


def image(value: int) -> np.ndarray:
    return np.full((64, 64, 3), (value, 0, 255 - value), np.uint8)


def decode(data: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_png_keeps_the_colors():
    np.testing.assert_array_equal(decode(encode_png(image(200))), image(200))


def test_sheet_has_as_many_rows_as_it_needs():
    one = decode(contact_sheet([image(1)], ["a"]))
    nine = decode(contact_sheet([image(20 * i) for i in range(9)], ["a\nb"] * 9))
    assert nine.shape[1] > 8 * 64
    assert 1.5 * one.shape[0] < nine.shape[0] < 2.5 * one.shape[0]
    assert one.shape[1] < nine.shape[1] / 6
    assert (nine[30, 30] == (0, 0, 255)).all()


@pytest.mark.parametrize(("images", "labels", "columns"), [(0, 0, 8), (1, 2, 8), (1, 1, 0)])
def test_no_sheet_of_nothing(images, labels, columns):
    with pytest.raises(ValueError, match="sheet"):
        contact_sheet([image(0)] * images, ["x"] * labels, columns)


def test_album_writes_every_picture_and_an_evenly_spaced_sheet(tmp_path):
    album = Album(tmp_path / "new" / "folder")
    album.close()
    assert not (tmp_path / "new").exists()
    for seq in range(200):
        album.add(image(seq), session=1, seq=seq, time_us=1_700_000_000_000_000 + seq, gap=None if seq else 0.5)
    album.add(image(1), session=2, seq=3, time_us=0, gap=None)
    album.close()
    names = sorted(path.name for path in album.folder.glob("*.png"))
    assert len(names) == 202
    assert names[0] == "00000000.png"
    assert "2-00000003.png" in names
    seqs = [int(page.label.partition("#")[2].split()[0]) for page in album._pages]
    assert len(set(np.diff(seqs[:-1]))) == 1
    sheet = decode((album.folder / SHEET).read_bytes())
    assert sheet.shape[1] > 8 * 112
    assert sheet.shape[0] > 4 * 112


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TwinEdgeError, match="cannot write"):
        Album(tmp_path / "file" / "x").add(image(0), session=1, seq=0, time_us=0, gap=None)
