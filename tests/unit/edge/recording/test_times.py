import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.recording.times import parse_iso, parse_time
from twin_edge.sync.wire.reading import timestamp
from twin_edge.twin.packet import MAX_TIME_US

BEGIN = 1_700_000_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+0", 0), ("+90", 90), ("+1.5", 1.5), ("+1:30", 90), ("+01:00:02.25", 3602.25), ("+120:00", 7200)],
)
def test_times_after_the_beginning(text, seconds):
    assert parse_time(text, BEGIN) == BEGIN + round(1e6 * seconds)


@given(st.integers(0, MAX_TIME_US // 1000))
def test_what_we_print_is_read_again(milliseconds):
    assert parse_iso(timestamp(1000 * milliseconds)) == 1000 * milliseconds


def test_zones_and_no_zone():
    assert parse_time("2023-11-14T22:13:20", 0) == BEGIN
    assert parse_time("2023-11-14T23:13:20+01:00", 0) == BEGIN


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_refused(text):
    with contextlib.suppress(ConfigError):
        assert 0 <= parse_time(text, BEGIN) <= MAX_TIME_US


@pytest.mark.parametrize("text", ["", "+", "noon", "1969-12-31", "+1:2:3:4", "-5", "+-5", "12:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="give ISO 8601"):
        parse_time(text, BEGIN)
