import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ditto_protocol
from twin_edge import strict_json
from twin_edge.errors import MessageError
from twin_edge.sync.wire import ditto, messages
from twin_edge.sync.wire.ditto import DesiredChange, DittoReply, LiveMessage, parse_ditto
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
DESIRED = "/features/config/desiredProperties"
TOPICS = [
    "twin/events/modified",
    "twin/events/merged",
    "twin/events/deleted",
    "twin/commands/retrieve",
    "twin/errors",
    "errors",
    "twin",
    "live/messages/ping",
    "live/messages/",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def message(topic, path, **more):
    return strict_json.dump({"topic": f"org.acme/cam-01/{topic}", "path": path, "headers": {}, **more})


def event(action, path, **more):
    return parse_ditto(TWIN, message(f"things/twin/events/{action}", path, revision=42, **more))


def nested(values):
    return {"features": {"config": {"desiredProperties": values}}}


@pytest.mark.parametrize(
    ("action", "path", "value", "values", "complete"),
    [
        ("modified", DESIRED, {"fps": 5}, {"fps": 5}, True),
        ("created", DESIRED, {"fps": 5}, {"fps": 5}, True),
        ("merged", DESIRED, {"fps": 5, "run": None}, {"fps": 5, "run": None}, False),
        ("modified", f"{DESIRED}/fps", 12.5, {"fps": 12.5}, False),
        ("merged", f"{DESIRED}/run", True, {"run": True}, False),
        ("merged", f"{DESIRED}/run", None, {"run": None}, False),
        ("merged", "/features/config", {"desiredProperties": {"fps": 5}}, {"fps": 5}, False),
        ("modified", "/features/config", {"desiredProperties": {"fps": 5}}, {"fps": 5}, True),
        ("modified", "/features/config", {"properties": {}}, {}, True),
        ("modified", "/features", {"other": {}}, {}, True),
        ("merged", "/features", {"config": None}, {}, True),
        ("merged", "/", nested({"fps": 1}), {"fps": 1}, False),
        ("created", "/", nested({"fps": 1}), {"fps": 1}, True),
        ("merged", DESIRED, None, {}, True),
    ],
)
def test_events_say_what_is_desired(action, path, value, values, complete):
    assert event(action, path, value=value) == DesiredChange(values, complete, 42)


def test_deletions_end_what_was_desired():
    assert event("deleted", f"{DESIRED}/fps") == DesiredChange({"fps": None}, complete=False, revision=42)
    assert event("deleted", DESIRED) == DesiredChange({}, complete=True, revision=42)
    assert event("deleted", "/") == DesiredChange({}, complete=True, revision=42)


@pytest.mark.parametrize(
    ("action", "path", "value"),
    [
        ("merged", "/features/twin/properties", {"gap": 1}),
        ("merged", "/features", {"twin": {}}),
        ("merged", "/features/config", {"properties": {"fps": 3}}),
        ("merged", "/attributes", {}),
        ("modified", f"{DESIRED}/fps/deeper", 1),
        ("exploded", DESIRED, {}),
    ],
)
def test_other_events_are_of_no_interest(action, path, value):
    assert event(action, path, value=value) is None


def test_values_that_no_setting_can_have_are_counted():
    many = {"fps": 5, "x": {"y": 1}, "l": [], "": 1, "long": "a" * 81, "control": "a\nb"}
    assert event("modified", DESIRED, value=many) == DesiredChange({"fps": 5}, complete=True, revision=42, ignored=5)
    with pytest.raises(MessageError):
        event("modified", DESIRED, value={str(n): n for n in range(100)})


def test_the_answer_to_what_is_desired():
    question = json.loads(ditto.build_retrieve(TWIN, "q1"))
    assert question["topic"] == "org.acme/cam-01/things/twin/commands/retrieve"
    assert question["headers"]["reply-to"] == "twin/v1/org.acme/cam-01/down/ditto"
    assert question["fields"] == "_revision,features/config/desiredProperties"
    for value, desired in (
        ({"_revision": 7, **nested({"fps": 3})}, DesiredChange({"fps": 3}, complete=True, revision=7)),
        ({"_revision": 7}, DesiredChange({}, complete=True, revision=7)),
        ({"features": {"config": {}}}, DesiredChange({}, complete=True)),
    ):
        answer = strict_json.dump({**question, "headers": {"correlation-id": "q1"}, "status": 200, "value": value})
        assert parse_ditto(TWIN, answer) == DittoReply("q1", 200, desired=desired)


def test_responses_and_errors_carry_their_status():
    done = message("things/twin/commands/merge", "/features", status=204)
    assert parse_ditto(TWIN, done) == DittoReply("", 204)
    assert parse_ditto(TWIN, done).succeeded
    value = {"status": 404, "error": "things:thing.notfound", "message": "not found", "description": "..."}
    error = {"path": "/", "headers": {"correlation-id": "b1"}, "value": value, "status": 404}
    for topic in ("org.acme/cam-01/things/twin/errors", "unknown/unknown/things/twin/errors"):
        heard = parse_ditto(TWIN, strict_json.dump({"topic": topic, **error}))
        assert heard == DittoReply("b1", 404, "things:thing.notfound")
        assert not heard.succeeded


@pytest.mark.parametrize(
    ("feature", "inbox", "outbox"),
    [
        (None, "/inbox/messages/snapshot", "/outbox/messages/snapshot"),
        ("twin", "/features/twin/inbox/messages/snapshot", "/features/twin/outbox/messages/snapshot"),
    ],
)
def test_live_messages_and_their_answers(feature, inbox, outbox):
    headers = {"correlation-id": "c1", "direction": "TO", "subject": "snapshot"}
    data = message("things/live/messages/snapshot", inbox, headers=headers, value={"a": 1})
    heard = parse_ditto(TWIN, data)
    assert heard == LiveMessage("snapshot", feature, "c1", {"a": 1})
    answer = json.loads(ditto.build_live_answer(TWIN, heard, 200, {"ok": True}))
    assert (answer["topic"], answer["path"]) == ("org.acme/cam-01/things/live/messages/snapshot", outbox)
    assert (answer["status"], answer["value"], answer["headers"]["direction"]) == (200, {"ok": True}, "FROM")
    assert answer["headers"]["correlation-id"] == "c1"
    # What the thing itself has said comes back to it as well, and is no question.
    assert parse_ditto(TWIN, strict_json.dump(answer)) is None


def test_birth_makes_a_thing():
    birth = json.loads(ditto.build_birth(TWIN, {"name": "rig"}, "b1"))
    assert (birth["path"], birth["value"]) == ("/", {"thingId": "org.acme:cam-01", "attributes": {"name": "rig"}})
    assert birth["headers"]["response-required"] is True
    assert birth["headers"]["reply-to"].endswith("/down/ditto")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"topic":"org.acme/cam-02/things/twin/events/modified","path":"/","headers":{},"revision":1,"value":{}}',
        b'{"topic":"unknown/unknown/things/twin/events/modified","path":"/","headers":{},"revision":1}',
        b'{"topic":"org.acme/cam-01/things/twin/events/modified","path":"/","headers":{},"value":{}}',
        b'{"topic":"org.acme/cam-01/things/twin/events/modified","path":"/","headers":{},"revision":1e300}',
        b'{"topic":"org.acme/cam-01/things/twin/commands/merge","path":"/","headers":{},"status":"204"}',
        b'{"topic":"org.acme/cam-01/things/twin/errors","path":"/","headers":{},"value":{"status":99999}}',
        b'{"topic":"org.acme/cam-01/things/live/messages/a","path":"/inbox/messages/a","headers":{}}',
        message("things/live/messages/a", "/x/inbox/messages/a", headers={"correlation-id": "c"}),
        b'{"topic":1,"path":"/","headers":{}}',
        b"{" + b" " * 200_000 + b"}",
    ],
    ids=range(14),
)
def test_odd_messages_are_refused(data):
    with pytest.raises(MessageError):
        parse_ditto(TWIN, data)


@given(st.binary(max_size=300) | JSON.map(strict_json.dump))
def test_any_bytes_are_a_message_or_an_error(data):
    with contextlib.suppress(MessageError):
        parse_ditto(TWIN, data)


@given(
    st.sampled_from(TOPICS),
    st.sampled_from(["/", "/features", "/features/config", DESIRED, f"{DESIRED}/fps", "/inbox/messages/ping", "//"]),
    st.fixed_dictionaries(
        {},
        optional={
            "value": JSON | JSON.map(nested) | st.dictionaries(st.text(max_size=5), SCALARS),
            "revision": JSON | st.integers(0, 9),
            "status": JSON | st.integers(100, 600),
            "headers": JSON | st.just({"correlation-id": "c"}),
        },
    ),
)
def test_any_change_of_a_message_is_a_message_or_an_error(topic, path, more):
    try:
        heard = parse_ditto(TWIN, message(f"things/{topic}", path, **more))
    except MessageError:
        return
    change = heard.desired if isinstance(heard, DittoReply) else heard
    if isinstance(change, DesiredChange):
        assert len(change.values) <= 64
        assert all(value is None or isinstance(value, bool | int | float | str) for value in change.values.values())


def test_all_that_goes_to_ditto_is_as_its_protocol_asks():
    live = LiveMessage("snapshot", "twin", "c1")
    sent = (
        messages.build_avail(TWIN, messages.Availability("offline", 17)),
        messages.build_state(TWIN, 17, messages.StateReport(1, 2, 3, settings={"fps": 3.0}, probes=True)),
        messages.build_state(TWIN, 17, messages.StateReport(1, 2, 3)),
        ditto.build_birth(TWIN, {"name": "rig"}, "b1"),
        ditto.build_retrieve(TWIN, "q1"),
        ditto.build_live_answer(TWIN, live, 200, {"ok": True}),
        ditto.build_live_answer(TWIN, LiveMessage("ping", None, "c2"), 404, None),
    )
    for data in sent:
        assert ditto_protocol.faults(json.loads(data)) == []


def test_the_connection_of_the_docs_is_about_our_topics():
    page = (Path(__file__).parents[5] / "docs" / "ditto.md").read_text()
    connection, policy = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)[:2])
    (source,), (target,) = connection["sources"], connection["targets"]
    own = {TWIN.topics.avail, TWIN.topics.birth, TWIN.topics.state, TWIN.topics.ditto_out}
    assert {address.replace("+/+", str(TWIN)) for address in source["addresses"]} == own
    thing = "{{ thing:namespace }}/{{ thing:name }}"
    assert {one.replace(thing, str(TWIN)) for one in source["enforcement"]["filters"]} == own
    assert target["address"].replace(thing, str(TWIN)) == TWIN.topics.ditto_in
    # What Ditto publishes must not come back to it.
    assert not set(source["addresses"]) & {target["address"].replace(thing, "+/+")}
    subjects = {subject for entry in policy["entries"].values() for subject in entry["subjects"]}
    assert {*source["authorizationContext"], *target["authorizationContext"]} <= subjects
