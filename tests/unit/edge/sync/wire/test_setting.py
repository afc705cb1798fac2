import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.sync.wire.setting import Kind, Setting

RUN = Setting("run", "Run")
FPS = Setting("fps", "Frame rate", Kind.NUMBER, 0, 1000, 0.1, "fps")
LEVEL = Setting("quality", "Level", Kind.WHOLE, 0, 4)


@pytest.mark.parametrize(
    ("setting", "wish", "value", "text"),
    [
        (RUN, "ON", True, "ON"),
        (RUN, "off", False, "OFF"),
        (RUN, "1", True, "ON"),
        (RUN, "false", False, "OFF"),
        (RUN, True, True, "ON"),
        (FPS, "12.5", 12.5, "12.5"),
        (FPS, "0", 0.0, "0"),
        (FPS, 1000, 1000.0, "1000"),
        (FPS, "0.1", 0.1, "0.1"),
        (LEVEL, "3", 3, "3"),
        (LEVEL, "3.0", 3, "3"),
        (LEVEL, 0, 0, "0"),
    ],
)
def test_what_people_and_programs_write(setting, wish, value, text):
    read = setting.read(wish)
    assert (read, type(read)) == (value, type(value))
    assert setting.text(read) == text
    assert setting.read(text) == read


@pytest.mark.parametrize(
    ("setting", "wish"),
    [
        (RUN, "maybe"),
        (RUN, ""),
        (RUN, 2),
        (RUN, 0.5),
        (FPS, "1001"),
        (FPS, "-1"),
        (FPS, "1e3"),
        (FPS, "nan"),
        (FPS, math.nan),
        (FPS, math.inf),
        (FPS, True),
        (FPS, "٣"),
        (FPS, "1" * 400),
        (LEVEL, "2.5"),
        (LEVEL, 5),
        (LEVEL, "ON"),
    ],
)
def test_other_wishes_are_refused_with_what_is_allowed(setting, wish):
    with pytest.raises(MessageError, match=f"{setting.key} cannot be .*: give"):
        setting.read(wish)


@given(st.text(max_size=70) | st.booleans() | st.integers() | st.floats())
def test_any_wish_is_a_value_in_range_or_an_error(wish):
    for setting in (RUN, FPS, LEVEL):
        try:
            value = setting.read(wish)
        except MessageError:
            continue
        assert setting.low <= value <= setting.high
        assert setting.read(setting.text(value)) == pytest.approx(value)
