import json
import logging

import pytest

from part_publisher import Clock, Published
from twin_edge import strict_json
from twin_edge.errors import MessageError
from twin_edge.sync.device.ditto import PROBE_EVERY_S, DittoPart
from twin_edge.sync.device.operations import Operations
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.setting import Kind, Setting
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
TOPICS = TWIN.topics


class Device:
    """A part, and Ditto played by the test: it answers as the protocol says."""

    def __init__(self):
        self.clock, self.published = Clock(), Published()
        self.settings = Settings([Setting("fps", "Frame rate", Kind.NUMBER, 0, 1000)], {"fps": 30.0})
        self.settings.begin()
        self.operations = Operations()
        self.operations.add("ping", lambda request: {"id": request.id})
        self.part = DittoPart(TWIN, 17, {"name": "rig"}, self.settings, self.operations, clock=self.clock)
        self.part.attach(self.published)
        self.part.connected()

    def tick(self, seconds=0.0):
        self.clock.now_s += seconds
        self.part.tick(self.clock.now_s)

    def sent(self):
        return [(one.topic.rsplit("/", 1)[1], json.loads(one.payload)) for one in self.published.take()]

    def hear(self, tree, *, retained=False):
        self.part.hear(Inbound(TOPICS.ditto_in, strict_json.dump(tree), retained=retained))

    def reply(self, command, status, **more):
        self.hear({**command, "status": status, **more})

    def error(self, correlation, status, name):
        value = {"status": status, "error": name, "message": "..."}
        headers = {"correlation-id": correlation}
        topic = "org.acme/cam-01/things/twin/errors"
        self.hear({"topic": topic, "path": "/", "headers": headers, "value": value, "status": status})

    def desire(self, value, revision, *, retained=False):
        self.hear(
            {
                "topic": "org.acme/cam-01/things/twin/events/modified",
                "path": "/features/config/desiredProperties/fps",
                "headers": {},
                "revision": revision,
                "value": value,
            },
            retained=retained,
        )

    def asked(self):
        """Goes through birth and question; returns the question."""
        ((_, birth),) = self.sent()
        self.reply(birth, 204)
        self.tick()
        ((topic, question),) = self.sent()
        assert topic == "ditto"
        return question


@pytest.fixture
def device():
    return Device()


def test_it_is_born_then_asks_and_then_the_settings_are_said(device):
    ((topic, birth),) = device.sent()
    assert (topic, birth["value"]["attributes"]) == ("birth", {"name": "rig"})
    device.tick()
    assert device.sent() == []
    device.reply(birth, 201)
    device.tick()
    ((_, question),) = device.sent()
    assert device.settings.take_unsaid() == []
    value = {"_revision": 3, "features": {"config": {"desiredProperties": {"fps": 5}}}}
    device.reply(question, 200, value=value)
    assert device.settings.take_wishes() == [("fps", 5.0)]
    device.settings.settle("fps", 5.0, done=True)
    assert device.settings.take_unsaid() == [("fps", "5")]


def test_it_asks_even_if_nobody_answers_to_the_birth(device):
    device.sent()
    device.tick(1.0)
    assert [topic for topic, _ in device.sent()] == ["ditto"]
    device.tick(100.0)
    assert device.sent() == []


def test_an_answer_that_is_older_than_an_event_is_asked_for_again(device):
    question = device.asked()
    device.desire(7, 10)
    old = {"_revision": 9, "features": {"config": {"desiredProperties": {"fps": 5}}}}
    device.reply(question, 200, value=old)
    ((_, again),) = device.sent()
    assert again["headers"]["correlation-id"] != question["headers"]["correlation-id"]
    device.reply(again, 200, value={**old, "_revision": 10})
    assert device.sent() == []
    assert device.settings.take_wishes() == [("fps", 5.0)]


def test_old_repeated_and_retained_events_are_ignored(device):
    device.reply(device.asked(), 200, value={"_revision": 9})
    device.desire(7, 10)
    device.desire(8, 9)
    device.desire(8, 10)
    device.desire(8, 11, retained=True)
    assert device.settings.take_wishes() == [("fps", 7.0)]
    assert (device.settings.stale, device.part.stats().refused) == (2, 1)


def test_a_thing_that_is_not_there_is_made_again_but_not_in_a_loop(device):
    device.reply(device.asked(), 200, value={})
    device.clock.now_s += 1000
    births = 0
    for _ in range(600):
        device.error("17-3600", 404, "things:thing.notfound")
        device.tick(1.0)
        births += [topic for topic, _ in device.sent()].count("birth")
    assert 4 <= births <= 8


def test_reports_slow_down_as_long_as_they_are_too_many(device):
    for _ in range(20):
        device.error("17-1", 429, "things:thing.toomanymodifyingrequests")
    assert device.part.report_every_s == 60.0
    assert "429" in device.part.stats().trouble
    for _ in range(20):
        device.reply({"topic": TOPICS.merge, "path": "/features", "headers": {"correlation-id": "17-2"}}, 204)
    assert device.part.report_every_s == 1.0
    assert device.part.stats().trouble == ""


def test_a_late_report_is_harmless(device, caplog):
    device.error("17-1", 412, "things:condition.failed")
    assert (device.part.stats().stale, device.part.stats().trouble, caplog.records) == (1, "", [])


@pytest.mark.parametrize(
    ("status", "name", "fix"),
    [
        (400, "wot:payload.validation.error", "WoT definition"),
        (403, "things:thing.notmodifiable", "WRITE on thing:/"),
        (413, "things:thing.toolarge", "100 kB"),
        (500, "internal", "log"),
    ],
)
def test_other_errors_are_told_once_with_their_fix(device, caplog, status, name, fix):
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        device.error("17-1", status, name)
    (record,) = caplog.records
    assert name in record.getMessage()
    assert fix in record.getMessage()


def test_no_flood_of_errors_fills_the_log(device, caplog):
    caplog.set_level(logging.WARNING)
    for number in range(1000):
        device.error("17-1", 400, f"things:{number}")
    assert len(caplog.records) == 32


def test_live_messages_are_answered_once(device):
    device.sent()

    def refuse(_request):
        raise MessageError("there is no state yet")

    device.operations.add("snapshot", refuse)
    for subject in ("ping", "dance", "snapshot"):
        tree = {
            "topic": f"org.acme/cam-01/things/live/messages/{subject}",
            "path": f"/inbox/messages/{subject}",
            "headers": {"correlation-id": subject},
        }
        device.hear(tree)
        device.hear(tree)
    (_, pong), (_, unknown), (_, later) = device.sent()
    assert (pong["status"], pong["value"]) == (200, {"ok": True, "id": "ping"})
    assert (unknown["status"], unknown["value"]["ok"]) == (404, False)
    assert "dance" in unknown["value"]["error"]
    assert (later["status"], later["value"]["error"]) == (503, "there is no state yet")
    assert device.part.stats().refused == 3


def test_a_flood_of_live_messages_is_cut(device):
    device.sent()
    for number in range(100):
        headers = {"correlation-id": str(number)}
        topic = "org.acme/cam-01/things/live/messages/ping"
        device.hear({"topic": topic, "path": "/inbox/messages/ping", "headers": headers})
    assert len(device.sent()) == 10


def test_rubbish_is_counted_and_nothing_else(device):
    device.sent()
    for payload in (b"\xff", b"{}", b"[" * 10_000):
        device.part.hear(Inbound(TOPICS.ditto_in, payload))
    assert (device.part.stats().refused, device.sent()) == (3, [])


def test_one_report_a_minute_asks_for_a_response(device):
    assert device.part.take_probe()
    assert not device.part.take_probe()
    device.clock.now_s += PROBE_EVERY_S
    assert device.part.take_probe()


def test_an_operation_that_fails_is_an_answer():
    operations = Operations()
    with pytest.raises(MessageError, match="does not know the op nothing"):
        operations.run(type("Request", (), {"op": "nothing"})())
