import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.sync.wire.topics import TwinId, twin_of


def test_topics_are_those_of_the_protocol():
    twin = TwinId.parse("org.acme/cam-01")
    assert str(twin) == "org.acme/cam-01"
    assert twin.topics.stream == "twin/v1/org.acme/cam-01/up/z"
    assert twin.topics.index == "twin/v1/org.acme/cam-01/up/bundle/index"
    assert twin.topics.merge == "org.acme/cam-01/things/twin/commands/merge"
    assert twin_of(twin.topics.avail) == twin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "org.acme",
        "org.acme/",
        "/cam",
        "org.acme/a/b",
        "1org/cam",
        "org..acme/cam",
        "org.acme/ca m",
        "a+/b",
        "a/#",
        "org.acme/cam\n",
        "org.acme\n/cam",
        f"a/{'x' * 65}",
        f"{'a' * 129}/x",
        "org.äcme/cam",
    ],
)
def test_malformed_ids_are_refused(text):
    with pytest.raises(ConfigError, match="NAMESPACE/DEVICE"):
        TwinId.parse(text)
    assert twin_of(f"twin/v1/{text}/up/codec") is None or text.count("/") != 1


@given(st.text())
def test_any_text_is_an_id_or_an_error(text):
    with contextlib.suppress(ConfigError):
        assert str(TwinId.parse(text)) == text


def test_block_numbers_are_read_back():
    topics = TwinId("a", "b").topics
    assert [topics.block_number(topics.block(n)) for n in (0, 7, 65_535)] == [0, 7, 65_535]
    for wrong in ("", "-1", "+1", "01", "1/2", "x", "65536", "9" * 30, "1\n", "²"):
        assert topics.block_number(topics.block(0)[:-1] + wrong) is None
    assert topics.block_number(topics.index) is None
