"""A region is fractions of the frame, whatever it was given as."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError, ManifestError
from twin_edge.preprocess import Viewer, ViewSpec
from twin_edge.preprocess.region import checked, describe, parse_region, to_fractions, to_pixels
from twin_edge.preprocess.view import Plan


def test_pixels_and_fractions_mean_the_same() -> None:
    size = (360, 480)
    pixels = to_fractions(parse_region("120, 90,240,180"), size)
    assert pixels == to_fractions(parse_region("0.25,0.25,0.5,0.5"), size) == (0.25, 0.25, 0.5, 0.5)
    assert to_pixels(pixels, size) == (120, 90, 240, 180)
    assert to_pixels(pixels, (720, 960)) == (240, 180, 480, 360)
    assert describe(pixels, size) == "240x180 pixels at (120, 90) of 480x360 (--region 0.25,0.25,0.5,0.5)"
    assert describe(None) == "the whole frame"


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,5,5", "nan,0,1,1", "1e3,0,1,1", "٣,0,1,1"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(ConfigError, match="not a region") as caught:
        parse_region(text)
    assert "x,y,width,height" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("400,0,200,200", "within the frame"),
        ("0.6,0,0.6,1", "within the frame"),
        ("10,10,2,2", "at least 1%"),
        ("0,0,0,0", "at least 1%"),
    ],
)
def test_what_does_not_fit(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        to_fractions(parse_region(text), (360, 480))


@given(
    st.tuples(*[st.floats(0, 1)] * 4).filter(
        lambda r: r[0] + r[2] <= 1 and r[1] + r[3] <= 1 and min(r[2], r[3]) >= 0.01
    ),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.sampled_from(["fit-shortest", "fit-longest", "squash"]),
)
def test_any_region_of_any_frame_has_pixels_inside_of_it(region, size, mode) -> None:
    left, top, width, height = to_pixels(checked(region), size)
    assert left >= 0
    assert top >= 0
    assert 1 <= width <= size[1] - left
    assert 1 <= height <= size[0] - top
    rows, columns = Plan(ViewSpec(16, 16, mode, region=region), size).source
    assert top <= rows.start < rows.stop <= top + height
    assert left <= columns.start < columns.stop <= left + width


@pytest.mark.parametrize("mode", ["fit-shortest", "fit-longest", "squash"])
def test_a_view_of_a_region_is_the_view_of_that_part(mode) -> None:
    frame = np.random.default_rng(2).integers(0, 256, (240, 320, 3), np.uint8)
    spec = ViewSpec(64, 64, mode, region=(0.25, 0.125, 0.5, 0.75))
    np.testing.assert_array_equal(Viewer(spec)(frame), Viewer(ViewSpec(64, 64, mode))(frame[30:210, 80:240]))


def test_it_stands_in_the_manifest() -> None:
    spec = ViewSpec(region=(0.1, 0.2, 0.5, 0.25))
    assert spec.to_json()["region"] == [0.1, 0.2, 0.5, 0.25]
    assert ViewSpec.from_json(spec.to_json()) == spec
    assert ViewSpec().to_json()["region"] is None
    missing = spec.to_json()
    del missing["region"]
    with pytest.raises(ManifestError, match="region"):
        ViewSpec.from_json(missing)
    for wrong in ([0.1, 0.2, 0.5], [0.1, 0.2, 0.5, "1"], [0.1, 0.2, 0.95, 0.1], [0, 0, 1, False], 1, [[0], 0, 1, 1]):
        with pytest.raises(ManifestError, match=r"view\.region"):
            ViewSpec.from_json(spec.to_json() | {"region": wrong})
