import pytest

from twin_edge.sync.device.requests import RequestGate, answer_to
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.topics import TwinId

TOPICS = TwinId("org.acme", "cam-01").topics


def ask(number, *, retained=False):
    return Inbound(TOPICS.request, b'{"id":"%d","op":"ping"}' % number, retained=retained)


def test_rate_is_kept():
    now = [0.0]
    gate = RequestGate(10, lambda: now[0])
    assert sum(gate.admit(ask(n)) is not None for n in range(50)) == 10
    now[0] += 0.5
    assert sum(gate.admit(ask(n)) is not None for n in range(100, 150)) == 5
    now[0] += 1000
    assert sum(gate.admit(ask(n)) is not None for n in range(200, 250)) == 10
    assert (gate.accepted, gate.refused) == (25, 125)


def test_repeated_and_retained_ones_are_refused():
    gate = RequestGate(1000)
    assert gate.admit(ask(1)).op == "ping"
    assert gate.admit(ask(1)) is None
    assert gate.admit(ask(2, retained=True)) is None
    assert gate.admit(ask(2)) is not None


def test_malformed_ones_use_up_the_rate_too():
    gate = RequestGate(5, lambda: 0.0)
    for _ in range(5):
        assert gate.admit(Inbound(TOPICS.request, b"\xff")) is None
    assert gate.admit(ask(1)) is None


@pytest.mark.parametrize(
    ("wanted", "used"),
    [
        ("app/answers/7", "app/answers/7"),
        (TOPICS.answer, TOPICS.answer),
        (None, TOPICS.answer),
        ("", TOPICS.answer),
        ("a/+", TOPICS.answer),
        ("a/#", TOPICS.answer),
        ("a\0b", TOPICS.answer),
        ("$SYS/x", TOPICS.answer),
        ("x" * 300, TOPICS.answer),
        (TOPICS.avail, TOPICS.answer),
        ("twin/v1/org.acme/cam-02/down/req", TOPICS.answer),
        ("homeassistant/device/x/config", TOPICS.answer),
    ],
)
def test_answers_go_where_they_can_do_no_harm(wanted, used):
    message = Inbound(TOPICS.request, b"", response_topic=wanted, correlation=b"c")
    assert answer_to(message, TOPICS) == (used, b"c")


def test_long_correlation_is_left_out():
    message = Inbound(TOPICS.request, b"", response_topic="a", correlation=b"c" * 1000)
    assert answer_to(message, TOPICS) == ("a", None)
