import pytest
from hypothesis import given
from hypothesis import strategies as st

from part_publisher import Clock, Published
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.device.wishes import PATIENCE_S, WishesPart
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.setting import Kind, Setting
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
ALL = (Setting("run", "Run"), Setting("fps", "Frame rate", Kind.NUMBER, 0, 1000))


class Device:
    def __init__(self):
        self.clock, self.published = Clock(), Published()
        self.settings = Settings(ALL, {"run": True, "fps": 30.0})
        self.part = WishesPart(TWIN, self.settings, clock=self.clock)
        self.part.attach(self.published)
        self.part.connected()

    def wish(self, key, payload, *, retained=False):
        self.part.hear(Inbound(TWIN.topics.setting(key), payload, retained=retained))

    def tick(self, seconds=0.0):
        self.clock.now_s += seconds
        self.part.tick(self.clock.now_s)

    def carry_out(self):
        wishes = self.settings.take_wishes()
        for key, wish in wishes:
            self.settings.settle(key, wish, done=True)
        return wishes

    def said(self):
        return {message.topic.rsplit("/", 1)[1]: message.payload for message in self.published.take()}


@pytest.fixture
def device():
    made = Device()
    made.tick(PATIENCE_S)
    made.said()
    return made


def test_all_is_said_after_each_connect_but_not_before_its_time():
    device = Device()
    device.tick(PATIENCE_S - 0.1)
    assert device.said() == {}
    device.tick(0.1)
    (message, _), _ = device.published.all
    assert (message.qos, message.retain) == (1, True)
    assert device.said() == {"run": b"ON", "fps": b"30"}
    device.part.connected()
    device.tick()
    assert device.said() == {}
    device.settings.release()
    device.tick()
    assert set(device.said()) == {"run", "fps"}


def test_a_wish_is_followed_and_said(device):
    device.wish("fps", b" 15 ")
    device.tick()
    assert device.carry_out() == [("fps", 15.0)]
    device.tick()
    assert device.said() == {"fps": b"15"}


def test_a_flood_of_wishes_is_thinned_and_the_last_one_kept(device):
    for value in range(1, 501):
        device.wish("fps", str(value).encode())
        device.tick()
    assert device.carry_out() == [("fps", 10.0)]
    device.tick(1.0)
    assert device.carry_out() == [("fps", 500.0)]


def test_what_is_refused_is_contradicted(device):
    for payload in (b"fast", b"\xff\xfe", b"1e9"):
        device.wish("fps", payload)
        device.tick()
    assert device.settings.refused == 3
    assert device.said() == {"fps": b"30"}
    assert device.carry_out() == []


def test_retained_long_empty_and_unknown_ones_are_ignored(device):
    device.wish("fps", b"15", retained=True)
    device.wish("fps", b"1" * 65)
    device.wish("fps", b"")
    device.wish("speed", b"15")
    device.wish("fps/x", b"15")
    device.tick()
    assert (device.part.ignored, device.carry_out()) == (5, [])


@given(st.sampled_from(["fps", "run", "x", "+", ""]), st.binary(max_size=70))
def test_any_bytes_are_a_wish_or_refused(key, payload):
    device = Device()
    device.wish(key, payload)
    device.tick(PATIENCE_S)
    for name, value in device.carry_out():
        assert name in {"fps", "run"}
        assert 0 <= value <= 1000
