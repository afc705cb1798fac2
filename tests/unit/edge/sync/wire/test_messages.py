import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge import strict_json
from twin_edge.errors import MessageError
from twin_edge.sync.wire import messages
from twin_edge.sync.wire.blocks import BundleIndex
from twin_edge.sync.wire.messages import Availability, Request, StateReport
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
PARSERS = [
    lambda data: messages.parse_avail(TWIN, data),
    messages.parse_codec,
    lambda data: messages.parse_state(TWIN, data),
    messages.parse_request,
    BundleIndex.from_bytes,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_state_message_is_the_one_of_the_protocol():
    report = StateReport(
        73400321, 3600, 1_795_473_000_123_000, 0.013, True, {"pressure": 4.21, "light": "run"}, 29.8, 11.2, 14.9, 3
    )
    assert json.loads(messages.build_state(TWIN, 17, report)) == {
        "topic": "org.acme/cam-01/things/twin/commands/merge",
        "headers": {
            "content-type": "application/merge-patch+json",
            "response-required": False,
            "correlation-id": "17-3600",
            "condition": ("or(not(exists(features/twin/properties/rev)),lt(features/twin/properties/rev,73400321))"),
        },
        "path": "/features",
        "value": {
            "twin": {
                "properties": {
                    "rev": 73400321,
                    "seq": 3600,
                    "ts": "2026-11-23T22:30:00.123Z",
                    "gap": 0.013,
                    "in_sync": True,
                }
            },
            "properties": {"properties": {"pressure": 4.21, "light": "run"}},
            "infer": {"properties": {"fps": 29.8, "p50_ms": 11.2, "p95_ms": 14.9, "dropped": 3}},
            "spool": {"properties": {"depth": 0, "bytes": 0, "oldest_s": 0}},
        },
    }


def test_state_without_gap_takes_the_old_one_away_and_without_properties_leaves_them_out():
    value = json.loads(messages.build_state(TWIN, 1, StateReport(1, 2, 3, math.inf, properties={"x": math.nan})))
    assert set(value["value"]) == {"twin", "infer", "spool"}
    assert value["value"]["twin"]["properties"].items() >= {"gap": None, "in_sync": None}.items()


def test_avail_and_requests_come_back():
    for avail in (Availability("online", 17), Availability("offline", 0, "SIGTERM")):
        assert messages.parse_avail(TWIN, messages.build_avail(TWIN, avail)) == avail
    for request in (Request("a", "resync", bundle=True), Request("b", "ping")):
        assert messages.parse_request(messages.build_request(request)) == request
    # In a merge, null deletes the reason of the stop before.
    assert json.loads(messages.build_avail(TWIN, Availability("online", 1)))["value"]["reason"] is None


def test_message_of_another_twin_is_refused():
    data = messages.build_avail(TwinId("org.acme", "cam-02"), Availability("online", 17))
    with pytest.raises(MessageError):
        messages.parse_avail(TWIN, data)


@pytest.mark.parametrize("parser", PARSERS, ids=range(5))
@given(st.binary(max_size=300) | JSON.map(strict_json.dump))
def test_any_bytes_are_a_message_or_an_error(parser, data):
    with contextlib.suppress(MessageError):
        parser(data)


@given(st.data())
def test_any_change_of_a_message_is_a_message_or_an_error(data):
    report = StateReport(5, 6, 7, 0.5, True, {"a": 1, "b": True, "c": "d"})
    tree = json.loads(messages.build_state(TWIN, 1, report))
    node = tree
    while True:
        key = data.draw(st.sampled_from(sorted(node)))
        if isinstance(node[key], dict) and node[key] and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(JSON)
        break
    try:
        heard = messages.parse_state(TWIN, strict_json.dump(tree))
    except MessageError:
        return
    assert heard.gap is None or heard.gap >= 0
    assert isinstance(heard.rev, int)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"[" * 100000,
        b'{"a":' * 30 + b"1" + b"}" * 30,
        b'{"id":"a","op":"ping","x":NaN}',
        b'{"id":"' + b"a" * 65 + b'","op":"ping"}',
        b'{"id":"a\\u0000","op":"ping"}',
        b'{"op":"ping"}',
        b" " * 5000,
    ],
    ids=range(8),
)
def test_odd_requests_are_refused(data):
    with pytest.raises(MessageError):
        messages.parse_request(data)


def test_huge_numbers_are_refused():
    for number in (10**400, -1, 2**32, 1.5, True, "1", None):
        tree = json.loads(messages.build_avail(TWIN, Availability("online", 1)))
        tree["value"]["session"] = number
        with pytest.raises(MessageError):
            messages.parse_avail(TWIN, json.dumps(tree).encode())


def test_software_is_named():
    assert messages.software().startswith("twin-edge")
