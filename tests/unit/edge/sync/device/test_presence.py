"""Who else says that the twin is there: earlier runs, late wills, and others of the same name."""

import pytest

from twin_edge.sync import TwinId
from twin_edge.sync.device.presence import Presence
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.messages import Availability, build_avail

TWIN = TwinId("org.acme", "cam-01")


@pytest.fixture
def rivals():
    return []


@pytest.fixture
def presence(rivals):
    clock = iter(range(0, 1000, 10))
    return Presence(TWIN, 7, lambda _message, _delivery: None, lambda: rivals.append(1), lambda: next(clock))


def hear(presence, session, status="offline"):
    presence.hear(Inbound(TWIN.topics.avail, build_avail(TWIN, Availability(status, session))))


def test_earlier_run_is_no_rival_however_often_it_is_heard(presence, rivals):
    for _ in range(3):
        hear(presence, 6)
        presence.ended()
    assert not rivals


def test_what_replaces_our_own_word_is_a_rival(presence, rivals):
    presence.say_online()
    presence.ended()
    hear(presence, 6, "online")
    assert len(rivals) == 1


def test_session_that_comes_up_between_our_connections_is_a_rival_even_if_we_never_said_anything(presence, rivals):
    hear(presence, 6)
    presence.ended()
    hear(presence, 8)
    assert len(rivals) == 1


def test_own_will_that_comes_late_is_denied_and_no_rival(presence, rivals):
    presence.say_online()
    hear(presence, 7, "offline")
    assert not presence.online
    assert not rivals
