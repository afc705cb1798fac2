"""What the tests of the link engine share: a clock that stands still, packets, and a network that obeys."""

import numpy as np

from twin_edge.sync.mqtt.transport import Outbound, Outcome
from twin_edge.twin.packet import Codec, Flags, Packet

START_US = 1_700_000_000_000_000


class Clock:
    """Monotonic seconds that only move when told to."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def tick(self, seconds):
        self.now += seconds


def packet(seq, *, key=False, raw=False, states=1, fps=30.0, size=4):
    """A packet whose states hold its number; coded ones have a payload that is none."""
    content = np.full((states, size), seq % 100, np.int8)
    flags = Flags.KEY if key else Flags.NONE
    time_us = START_US + round(1e6 * seq / fps)
    if raw:
        return Packet(7, 1, seq, time_us, content, tuple(range(states)), flags)
    payload = seq.to_bytes(4, "little")
    return Packet(7, 1, seq, time_us, content, tuple(range(states)), flags, Codec.DELTA, payload)


class Network:
    """Takes messages as an `MqttClient` does, and acknowledges them when told to."""

    def __init__(self, inflight=16, max_packet_bytes=0):
        self.wants_room = False
        self.flows = True
        self.max_packet_bytes = max_packet_bytes
        self.max_inflight = inflight
        self.flying = []
        self.arrived = []
        self.abandoned = []
        self.most_flying = 0

    @property
    def room(self):
        return self.max_inflight - len(self.flying)

    def send(self, message, settle=None):
        assert self.flows
        if not message.qos:
            self.arrived.append(message)
            return True
        assert self.room > 0
        self.flying.append((message, settle))
        self.most_flying = max(self.most_flying, len(self.flying))
        return True

    def acknowledge(self, count=None, outcome=None):
        """The broker acknowledges the oldest messages, all of them unless a count is given."""
        outcome = outcome or Outcome()
        for _ in range(len(self.flying) if count is None else min(count, len(self.flying))):
            message, settle = self.flying.pop(0)
            if outcome.accepted:
                self.arrived.append(message)
            settle(outcome)

    def cut(self):
        """The connection ends: what is in flight is forgotten."""
        self.flying.clear()

    def topics(self):
        return [message.topic for message in self.arrived]

    def payloads(self, topic):
        return [message.payload for message in self.arrived if message.topic == topic]

    def abandon(self, why):
        self.abandoned.append(why)

    def wake(self):
        pass

    def revive(self):
        pass


def event(number):
    return Outbound("event", b"e%d" % number, 1)
