"""Events: what is said is heard, and anything else is refused."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.sync.wire.events import MAX_EVIDENCE, Event, build_event, parse_event

names = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
u32 = st.integers(0, 2**32 - 1)
whole = st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
values = st.one_of(st.booleans(), whole, st.floats(-1e300, 1e300), texts)
evidence = st.dictionaries(names, values, max_size=MAX_EVIDENCE)
kinds = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)


@given(u32, u32, kinds, u32, st.integers(0, 253_402_300_799_999_999), evidence)
def test_an_event_is_heard_as_it_was_said(session, number, kind, seq, time_us, said):
    heard = parse_event(build_event(session, number, Event(kind, seq, time_us, said)))
    assert (heard.id, heard.session, heard.seq, heard.kind) == (f"{session}-{number}", session, seq, kind)
    assert heard.evidence == said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(
    st.sampled_from(["id", "session", "seq", "ts", "kind", "evidence", "more"]), json_values, max_size=7
)


@given(st.one_of(st.binary(max_size=200), objects.map(lambda value: json.dumps(value).encode())))
@example(b'{"id":"1-1","session":1,"seq":1,"ts":"2026-01-01T00:00:00.000Z","kind":"a","evidence":[]}')
@example(b'{"id":"1-1","session":1,"seq":1,"ts":"2026-01-01T00:00:00.000Z","kind":"a","evidence":[1]}')
def test_anything_else_is_refused(data):
    try:
        heard = parse_event(data)
    except MessageError:
        return
    assert heard.kind == "a"


def test_numbers_that_json_has_not_are_left_out():
    heard = parse_event(build_event(1, 2, Event("gap-high", 3, 4, {"gap": float("nan"), "frames": 8})))
    assert heard.evidence == {"frames": 8}


@pytest.mark.parametrize("kind", ["", "Gap", "a" * 33, "a b", "ä"])
def test_odd_kinds_are_not_sent(kind):
    with pytest.raises(ValueError, match="no event"):
        build_event(1, 1, Event(kind, 0, 0))
