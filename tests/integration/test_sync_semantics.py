"""Settings, Eclipse Ditto and Home Assistant over a real broker; a plain client speaks for the latter two."""

import json
import time

import pytest

from brokers import eventually
from twin_edge import strict_json
from twin_edge.config import RunConfig
from twin_edge.errors import BrokerUnreachableError
from twin_edge.runtime.applying import SettingsApplier
from twin_edge.runtime.parts import DeviceParts
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, StateReport, TwinId
from twin_edge.twin import Codec
from twin_edge.unpairing import unpair

pytestmark = pytest.mark.broker

TWIN = TwinId("org.acme", "cam-01")
TOPICS = TWIN.topics
DISCOVERY = "homeassistant/device/cam-01/config"
DESIRED = "/features/config/desiredProperties"


class Device:
    """A link with all its parts, and what a runtime does with settings."""

    def __init__(self, url, bundle, session=1, **config):
        self.config = RunConfig(twin=str(TWIN), **config)
        self.parts = DeviceParts(self.config, TWIN, bundle, session, Codec.DELTA)
        self.link = DeviceLink(
            LinkConfig(BrokerConfig.from_url(url)), TWIN, bundle, session, self.parts.all, self.parts.operations
        )
        self.applied = []
        keys = [one.key for one in self.parts.settings.all]
        record = {key: lambda value, key=key: self.applied.append((key, value)) for key in keys}
        self.applier = SettingsApplier(self.parts.settings, record)

    def carries_out(self, count):
        """Works as a twin thread would, until so many settings were applied, and a moment longer."""

        def work():
            self.applier.apply_wishes()
            return len(self.applied) >= count

        assert eventually(work)
        deadline_s = time.monotonic() + 0.4
        while time.monotonic() < deadline_s:
            self.applier.apply_wishes()
            time.sleep(0.02)
        return self.applied

    def __enter__(self):
        self.link.start()
        return self

    def __exit__(self, *_):
        self.link.stop()


@pytest.fixture
def device(mosquitto, twin_bundle, raw_client):
    raw_client.subscribe("twin/v1/#", 1)
    raw_client.subscribe("homeassistant/#", 1)
    with Device(mosquitto.url, twin_bundle) as made:
        yield made


def hears(client, topic, payload=None):
    def heard():
        return client.last(topic) is not None and payload in {None, client.last(topic)}

    assert eventually(heard), f"{topic}: {client.last(topic)!r}"
    return client.last(topic)


def asked(client):
    return json.loads(hears(client, TOPICS.ditto_out))


def event(client, value, revision, **options):
    tree = {
        "topic": "org.acme/cam-01/things/twin/events/modified",
        "path": f"{DESIRED}/fps",
        "headers": {"correlation-id": "x"},
        "revision": revision,
        "value": value,
    }
    client.publish(TOPICS.ditto_in, strict_json.dump(tree), qos=1, **options)


def test_a_setting_is_applied_once_and_reported(device, raw_client):
    hears(raw_client, TOPICS.reported("fps"), b"0")
    for _ in range(5):
        raw_client.publish(TOPICS.setting("fps"), b"15", qos=1)
    assert device.carries_out(1) == [("fps", 15.0)]
    hears(raw_client, TOPICS.reported("fps"), b"15")
    raw_client.publish(TOPICS.setting("run"), b"OFF", qos=1)
    assert device.carries_out(2) == [("fps", 15.0), ("run", False)]
    hears(raw_client, TOPICS.reported("run"), b"OFF")


def test_a_retained_wish_of_long_ago_is_not_carried_out(mosquitto, twin_bundle, raw_client):
    raw_client.subscribe("twin/v1/#", 1)
    raw_client.publish(TOPICS.setting("fps"), b"99", qos=1, retain=True)
    time.sleep(0.3)
    with Device(mosquitto.url, twin_bundle, ditto=False) as device:
        hears(raw_client, TOPICS.reported("fps"), b"0")
        raw_client.publish(TOPICS.setting("fps"), b"15", qos=1)
        assert device.carries_out(1) == [("fps", 15.0)]


def test_what_ditto_desires_comes_before_what_is_said(device, raw_client):
    question = asked(raw_client)
    assert raw_client.last(TOPICS.reported("fps")) is None
    answer = {**question, "status": 200, "value": {"_revision": 40, "features": {"config": {
        "desiredProperties": {"fps": 12}}}}}  # fmt: skip
    raw_client.publish(TOPICS.ditto_in, strict_json.dump(answer), qos=1)
    device.carries_out(1)
    hears(raw_client, TOPICS.reported("fps"), b"12")
    assert raw_client.all(TOPICS.reported("fps")) == [b"12"]
    event(raw_client, 13, 41)
    assert device.carries_out(2)[-1] == ("fps", 13.0)
    for value, revision in ((13, 41), (14, 39), (15, 41), (16, 99)):
        event(raw_client, value, revision)
    assert device.carries_out(3) == [("fps", 12.0), ("fps", 13.0), ("fps", 16.0)]
    assert device.parts.settings.stale == 3


def test_what_is_reported_is_in_the_thing_too(device, raw_client):
    hears(raw_client, TOPICS.reported("fps"), b"0")
    report = StateReport(7, 3, time.time_ns() // 1000, settings=device.parts.settings.reported(), probes=True)
    device.link.report(report)
    tree = json.loads(hears(raw_client, TOPICS.state))
    assert tree["value"]["config"]["properties"]["fps"] == 0.0
    assert tree["value"]["config"]["properties"]["run"] is True
    assert tree["headers"]["response-required"] is True
    assert tree["headers"]["reply-to"] == TOPICS.ditto_in


def test_a_missing_thing_is_made_again(device, raw_client):
    asked(raw_client)
    raw_client.forget()
    device.parts.all[1]._born_s -= 60.0  # as if the last birth were long ago
    value = {"status": 404, "error": "things:thing.notfound", "message": "not found"}
    error = {
        "topic": "org.acme/cam-01/things/twin/errors",
        "path": "/",
        "headers": {"correlation-id": "1-3"},
        "value": value,
        "status": 404,
    }
    raw_client.publish(TOPICS.ditto_in, strict_json.dump(error), qos=1)
    birth = json.loads(hears(raw_client, TOPICS.birth))
    assert birth["value"]["thingId"] == "org.acme:cam-01"
    assert birth["value"]["attributes"]["bundle"]


@pytest.mark.usefixtures("device")
def test_operations_by_request_and_by_live_message(raw_client):
    hears(raw_client, TOPICS.avail)
    raw_client.publish(TOPICS.request, strict_json.dump({"id": "1", "op": "ping"}), qos=1)
    assert json.loads(hears(raw_client, TOPICS.answer))["ok"] is True
    raw_client.publish(TOPICS.request, strict_json.dump({"id": "2", "op": "dance"}), qos=1)
    assert eventually(lambda: len(raw_client.all(TOPICS.answer)) == 2)
    answer = json.loads(raw_client.last(TOPICS.answer))
    assert (answer["ok"], answer["error"]) == (False, "this device does not know the op dance")
    asked(raw_client)
    raw_client.forget()
    message = {
        "topic": "org.acme/cam-01/things/live/messages/ping",
        "path": "/inbox/messages/ping",
        "headers": {"correlation-id": "c-1", "content-type": "text/plain"},
        "value": "are you there?",
    }
    raw_client.publish(TOPICS.ditto_in, strict_json.dump(message), qos=1)
    live = json.loads(hears(raw_client, TOPICS.ditto_out))
    assert (live["status"], live["path"], live["headers"]["correlation-id"]) == (200, "/outbox/messages/ping", "c-1")


@pytest.mark.usefixtures("device")
def test_home_assistant_finds_the_device_and_again_when_it_starts(raw_client):
    first = hears(raw_client, DISCOVERY)
    raw_client.forget()
    raw_client.publish("homeassistant/status", b"online")
    assert eventually(lambda: raw_client.last(DISCOVERY) is not None, 8)
    assert raw_client.all(DISCOVERY) == [first]


def test_a_new_listener_finds_the_announcement_until_it_is_unpaired(mosquitto, twin_bundle, raw_client):
    with Device(mosquitto.url, twin_bundle) as device:
        assert device.link.wait_ready(10)
    broker = BrokerConfig.from_url(mosquitto.url)
    assert unpair(broker, TWIN) == 1
    raw_client.subscribe("#", 1)
    hears(raw_client, TOPICS.avail)
    assert raw_client.last(DISCOVERY) is None
    assert unpair(broker, TWIN, everything=True) > 5
    assert unpair(broker, TWIN, everything=True) == 0
    raw_client.forget()
    raw_client.subscribe("twin/v1/org.acme/cam-01/#", 1)
    time.sleep(0.5)
    assert raw_client.heard == []


def test_unpairing_without_a_broker_says_so(free_port):
    with pytest.raises(BrokerUnreachableError):
        unpair(BrokerConfig.from_url(f"mqtt://127.0.0.1:{free_port()}"), TWIN)
