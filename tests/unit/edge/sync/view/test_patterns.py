import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import ConfigError
from twin_edge.sync import TwinId
from twin_edge.sync.view.patterns import TwinPattern, parse_patterns, roots

NAMES = st.text("ab", min_size=1, max_size=8)


@given(pattern=st.text("ab*", min_size=1, max_size=8), name=NAMES)
def test_stars_match_what_a_shell_matches(pattern, name):
    matches = TwinPattern("org", pattern).matches(TwinId("org", name))
    assert matches == fnmatch.fnmatchcase(name, pattern)


def test_a_long_pattern_is_quick():
    pattern = TwinPattern.parse("a*" * 60 + "c/*")
    assert not pattern.matches(TwinId("a" * 127 + "b", "x"))


@pytest.mark.parametrize(
    ("text", "root", "exact"),
    [
        ("org.acme/cam-01", "twin/v1/org.acme/cam-01/", True),
        ("org.acme/*", "twin/v1/org.acme/+/", False),
        ("org.acme/cam-*", "twin/v1/org.acme/+/", False),
        ("*/cam-01", "twin/v1/+/cam-01/", False),
        ("*/*", "twin/v1/+/+/", False),
    ],
)
def test_roots(text, root, exact):
    pattern = TwinPattern.parse(text)
    assert (pattern.root, pattern.exact, str(pattern)) == (root, exact, text)


@pytest.mark.parametrize(
    "text", ["", "*", "org", "org/", "/cam", "org/+", "org/#", "a/b/c", "org/cäm", "0org/cam", "x" * 300]
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ConfigError):
        TwinPattern.parse(text)


def test_subscriptions_that_others_cover_are_left_out():
    def of(*texts):
        return roots(parse_patterns(texts))

    assert of("org.acme/a", "org.acme/*", "org.b/x") == ["twin/v1/org.acme/+/", "twin/v1/org.b/x/"]
    assert of("org.acme/*", "*/*", "*/a") == ["twin/v1/+/+/"]
    assert of("org.acme/a*", "org.acme/b*") == ["twin/v1/org.acme/+/"]
    assert of("org/*", "*/a") == ["twin/v1/+/a/", "twin/v1/org/+/"]


@pytest.mark.parametrize("texts", [[], ["a/b"] * 65])
def test_the_number_of_patterns_is_bounded(texts):
    with pytest.raises(ConfigError, match="patterns"):
        parse_patterns(texts)
