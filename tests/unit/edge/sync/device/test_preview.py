import cv2
import numpy as np
import pytest

from part_publisher import Clock, Published
from twin_edge.sync.device.preview import EVERY_S, MAX_BYTES, PreviewPart, encode_preview
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
IMAGE = np.full((64, 64, 3), (10, 20, 200), np.uint8)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def part(clock, published):
    made = PreviewPart(TWIN, clock=clock)
    made.attach(published)
    made.connected()
    made.tick(0)
    return made


def test_off_by_default_and_what_is_left_of_earlier_is_cleared(part, published):
    (message,) = published.take()
    assert (message.topic, message.payload, message.retain) == (TWIN.topics.preview, b"", True)
    assert not part.is_due()
    part.put(IMAGE)
    part.tick(0)
    assert published.take() == []


def test_on_it_sends_one_in_five_seconds(part, published, clock):
    published.take()
    part.switch(True)
    sent = 0
    for _ in range(200):
        if part.is_due():
            part.put(IMAGE)
        part.tick(clock.now_s)
        sent += len(published.all)
        for message in published.take():
            assert (message.qos, message.retain) == (0, True)
            shown = cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR)
            assert np.abs(shown.astype(int) - IMAGE).max() < 8
        clock.now_s += 0.1
    assert sent == 20 / EVERY_S


def test_switched_off_the_last_one_is_taken_back(part, published):
    part.switch(True)
    part.put(IMAGE)
    part.switch(False)
    published.take()
    part.tick(0)
    part.tick(0)
    assert [message.payload for message in published.take()] == [b""]


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (64, 64, 3), (3000, 40, 3)])
def test_any_picture_becomes_a_small_one(shape):
    noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = encode_preview(noise)
    assert len(data) <= MAX_BYTES
    assert max(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape) <= 640
