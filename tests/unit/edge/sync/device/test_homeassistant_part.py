import json

import pytest

from part_publisher import Clock, Published
from twin_edge.sync.device.homeassistant import HomeAssistantPart
from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.homeassistant import STATUS_TOPIC, DeviceAbout
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def part(clock, published):
    made = HomeAssistantPart(TWIN, DeviceAbout("rig", "twin-edge 1"), (), clock=clock)
    made.attach(published)
    made.connected()
    return made


def hear(part, payload, *, retained=False):
    part.hear(Inbound(STATUS_TOPIC, payload, retained=retained))


def test_it_announces_with_each_connect(part, published):
    ((message, delivery),) = published.all
    assert message.topic == "homeassistant/device/cam-01/config"
    assert (message.qos, message.retain, delivery) == (1, True, Delivery.GREETING)
    part.connected()
    assert len(published.all) == 2


def test_it_announces_once_and_not_at_once_when_home_assistant_starts(part, published, clock):
    published.take()
    waits = []
    for _ in range(30):
        hear(part, b"online")
        hear(part, b"online")
        began_s = clock.now_s
        while not published.all:
            clock.now_s += 0.1
            part.tick(clock.now_s)
            assert clock.now_s - began_s < 5.2
        waits.append(clock.now_s - began_s)
        part.tick(clock.now_s + 100)
        assert len(published.take()) == 1
    assert max(waits) - min(waits) > 1.0


def test_other_words_of_home_assistant_are_ignored(part, published, clock):
    published.take()
    hear(part, b"offline")
    hear(part, b"online", retained=True)
    hear(part, b"\xff" * 1000)
    part.tick(clock.now_s + 100)
    assert published.all == []


def test_properties_that_come_up_are_announced(part, published, clock):
    published.take()
    part.show({"level": 63.0})
    part.tick(clock.now_s)
    part.show({"level": 64.0})
    part.tick(clock.now_s)
    (message,) = published.take()
    assert "property-level" in json.loads(message.payload)["cmps"]
