"""Any sequence of what can happen: bounds hold, order is kept, and nothing that was promised is lost."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine_parts import Clock, Network, packet
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, ReceiptState
from twin_edge.sync.engine.engine import LinkEngine
from twin_edge.sync.mqtt.transport import Outbound
from twin_edge.sync.wire.history import parse_history
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import PacketHeader

TOPICS = TwinId("org.acme", "cam-01").topics
CAP = 256 * 1024


class AnySequence(RuleBasedStateMachine):
    """An engine with a real spool on the disk; the process is killed, the link cut, the disk taken away."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.network = Network()
        self.arrived = []
        self.histories = []
        self.receipts = {}
        self.superseded = {}
        self.number = self.seq = 0
        self.connected = False
        self.start()

    def start(self):
        config = EngineConfig(Path(self.folder.name), CAP, free_floor_bytes=0)
        self.engine = LinkEngine(config, TOPICS, self.network, self.clock)
        # The keeper's thread is not started: here the disk is written when a rule says so.
        if self.engine._spool.exists:
            self.engine._backlog.restore(*self.engine._spool.load())

    def write(self):
        self.engine._keeper.write_once()

    def collect(self):
        for message in self.network.arrived:
            if message.topic == "event":
                self.arrived.append(int(message.payload[:6]))
            elif message.topic == TOPICS.history:
                self.histories += [PacketHeader.decode(data).seq for data in parse_history(message.payload)]
        self.network.arrived.clear()

    @rule(size=st.integers(0, 20_000), count=st.integers(1, 5))
    def put_events(self, size, count):
        for _ in range(count):
            payload = b"%06d" % self.number + bytes(size)
            self.receipts[self.number] = self.engine.put(Outbound("event", payload), Delivery.CRITICAL)
            self.number += 1

    @rule(topic=st.sampled_from("ab"), size=st.integers(0, 2000))
    def put_state(self, topic, size):
        self.engine.put(Outbound(topic, bytes(size)), Delivery.STATE)

    @rule(count=st.integers(1, 300), key=st.booleans())
    def put_packets(self, count, key):
        for _ in range(count):
            self.engine.put_packet(packet(self.seq, key=key or self.seq % 50 == 0))
            self.seq += 1

    @rule(seconds=st.floats(0.01, 5))
    def wait(self, seconds):
        self.clock.tick(seconds)

    @rule()
    def write_to_disk(self):
        self.write()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self):
        self.connected = True
        self.engine.began()
        self.engine.open()

    @precondition(lambda self: self.connected)
    @rule(acknowledged=st.integers(0, 20))
    def pump(self, acknowledged):
        self.engine.pump()
        self.network.acknowledge(acknowledged)
        self.collect()

    @precondition(lambda self: self.connected)
    @rule(after_s=st.floats(1.1, 5))
    def cut(self, after_s):
        # The link breaks long after the last message was sent: otherwise that message comes under suspicion.
        self.clock.tick(after_s)
        self.connected = False
        self.network.cut()
        self.engine.ended()

    @rule()
    def kill(self):
        """The process is gone; what a receipt has promised is not."""
        self.network.cut()
        self.connected = False
        self.engine._spool.close()
        self.receipts = {
            number: receipt
            for number, receipt in self.receipts.items()
            if receipt.spooled and receipt.state is not ReceiptState.REJECTED
        }
        self.start()

    @invariant()
    def bounds_hold(self):
        if hasattr(self, "engine"):
            stats = self.engine.stats()
            assert stats.bytes <= 0.75 * CAP
            assert self.network.most_flying <= 16

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        if not self.connected:
            self.connect()
        for _ in range(3000):
            self.engine.pump()
            self.network.acknowledge()
            self.clock.tick(0.5)
            if not self.engine.stats().depth:
                break
        self.collect()
        missing = {
            number for number, receipt in self.receipts.items() if receipt.state is not ReceiptState.REJECTED
        } - set(self.arrived)
        assert not missing
        firsts = list(dict.fromkeys(self.arrived))
        assert firsts == sorted(firsts), "each came first in its turn"
        history = list(dict.fromkeys(self.histories))
        assert history == sorted(history)
        assert self.engine.stats().disk_errors == 0
        self.engine._spool.close()
        self.folder.cleanup()


AnySequence.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_any_sequence = AnySequence.TestCase
