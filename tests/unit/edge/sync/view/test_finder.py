from __future__ import annotations

from twin_edge.sync import Availability, TwinId
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.view.finder import TwinFinder
from twin_edge.sync.wire.messages import build_avail


class Deaf:
    """Takes what a finder sends."""

    def subscribe(self, _topics):
        pass

    def unsubscribe(self, _topics):
        pass


def test_a_flood_of_forged_twins_takes_bounded_memory():
    finder = TwinFinder(Deaf())
    for number in range(5000):
        twin = TwinId("org.acme", f"forged-{number}")
        finder.heard(Inbound(twin.topics.avail, build_avail(twin, Availability("online", 1))), 0.0)
    assert len(finder._online) == 1024
    assert finder.decide(10.0) is None
