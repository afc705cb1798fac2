"""The rules of the engine, with a clock and a network that do as they are told."""

import pytest

from engine_parts import Clock, Network, event, packet
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, ReceiptState
from twin_edge.sync.engine.engine import LinkEngine
from twin_edge.sync.mqtt.transport import Outbound, Outcome
from twin_edge.sync.wire.history import parse_history
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import PacketHeader

TOPICS = TwinId("org.acme", "cam-01").topics


class Bench:
    """An engine on a bench."""

    def __init__(self, folder=None, **options):
        self.clock = Clock()
        self.network = Network(**{key: options.pop(key) for key in ("inflight", "max_packet_bytes") if key in options})
        self.engine = LinkEngine(EngineConfig(folder, **options), TOPICS, self.network, self.clock)
        self.engine.start()

    def connect(self, *, opened=True):
        self.engine.began()
        if opened:
            self.engine.open()

    def cut(self, after_s=2.0):
        self.clock.tick(after_s)
        self.network.cut()
        self.engine.ended()

    def run(self, turns=50, step_s=0.0):
        for _ in range(turns):
            self.engine.pump()
            self.network.acknowledge()
            self.clock.tick(step_s)

    def put(self, number, delivery=Delivery.CRITICAL):
        return self.engine.put(event(number), delivery)


@pytest.fixture
def bench():
    one = Bench()
    yield one
    one.engine.close()


def test_events_of_an_outage_arrive_in_order_and_their_receipts_tell(bench):
    receipts = [bench.put(number) for number in range(40)]
    assert {receipt.state for receipt in receipts} == {ReceiptState.QUEUED}
    bench.connect()
    bench.engine.pump()
    assert [receipt.state for receipt in receipts] == [ReceiptState.IN_FLIGHT] * 16 + [ReceiptState.QUEUED] * 24
    bench.cut()
    assert {receipt.state for receipt in receipts} == {ReceiptState.QUEUED}
    bench.connect()
    bench.run()
    assert bench.network.payloads("event") == [b"e%d" % number for number in range(40)]
    assert all(receipt.acknowledged for receipt in receipts)
    assert bench.engine.stats().acknowledged == 40


@pytest.mark.parametrize("inflight", [1, 2, 10])
def test_receive_maximum_is_never_exceeded(inflight):
    bench = Bench(inflight=inflight)
    bench.connect()
    for number in range(200):
        bench.put(number)
    for _ in range(500):
        bench.engine.pump()
        bench.network.acknowledge(1)
    assert bench.network.most_flying == inflight
    assert bench.network.payloads("event") == [b"e%d" % number for number in range(200)]


def test_greetings_come_first_and_everything_else_waits_until_it_is_open(bench):
    bench.put(1)
    bench.engine.put(Outbound("state", b"old"), Delivery.STATE)
    bench.connect(opened=False)
    bench.engine.put(Outbound("codec", b"c", 1, retain=True), Delivery.GREETING)
    bench.engine.put(Outbound("block", b"b", 1, retain=True), Delivery.BULK)
    bench.engine.put(Outbound("avail", b"online", 1, retain=True), Delivery.GREETING)
    bench.run(3)
    assert bench.network.topics() == ["codec", "avail", "block"]
    bench.engine.open()
    bench.run(3)
    assert bench.network.topics() == ["codec", "avail", "block", "event", "state"]


def test_only_the_latest_state_of_each_topic_waits(bench):
    first = bench.engine.put(Outbound("a", b"1"), Delivery.STATE)
    bench.engine.put(Outbound("b", b"1"), Delivery.STATE)
    last = bench.engine.put(Outbound("a", b"2"), Delivery.STATE)
    assert first.state is ReceiptState.SUPERSEDED
    bench.connect()
    bench.engine.pump()
    newer = bench.engine.put(Outbound("a", b"3"), Delivery.STATE)
    bench.cut()
    assert last.state is ReceiptState.SUPERSEDED
    bench.connect(opened=False)
    greeting = bench.engine.put(Outbound("a", b"4", 1, retain=True), Delivery.GREETING)
    assert newer.state is ReceiptState.SUPERSEDED
    bench.engine.open()
    bench.run(3)
    assert greeting.acknowledged
    assert [(one.topic, one.payload) for one in bench.network.arrived] == [("a", b"4"), ("b", b"1")]


def test_a_broker_that_dies_right_after_an_acknowledgement_gets_the_event_again(bench):
    bench.connect()
    early, late = bench.put(1), bench.engine.put(Outbound("state", b"s"), Delivery.STATE)
    bench.run(1)
    assert early.acknowledged
    assert late.acknowledged
    bench.clock.tick(0.8)
    bench.put(2)
    bench.run(1)
    bench.put(3)
    bench.engine.pump()
    bench.cut(after_s=0.5)
    assert early.acknowledged
    assert bench.engine.stats().depth == 2, "1 is believed; 2 is doubted, and 3 was never acknowledged"
    bench.connect()
    bench.run()
    assert bench.network.payloads("event") == [b"e1", b"e2", b"e2", b"e3"]
    assert bench.network.payloads("state") == [b"s"]
    assert bench.engine.stats().bytes == 0


def test_who_leaves_on_purpose_doubts_nothing(bench):
    bench.connect()
    bench.put(1)
    bench.run(1)
    bench.engine.ended(on_purpose=True)
    bench.connect()
    bench.run()
    assert bench.network.payloads("event") == [b"e1"]


def test_doubted_events_are_safe_on_the_disk(tmp_path):
    bench = Bench(tmp_path)
    bench.connect()
    bench.put(1)
    bench.run(1)
    bench.cut(after_s=0.1)
    bench.engine.close()
    later = Bench(tmp_path)
    later.connect()
    later.run()
    assert later.network.payloads("event") == [b"e1"]
    later.engine.close()


def test_packets_of_an_outage_come_as_history_after_the_events(bench):
    assert not bench.engine.put_packet(packet(0, key=True))
    bench.put(1)
    bench.connect()
    assert bench.engine.wants_key
    assert bench.engine.put_packet(packet(1, key=True))
    bench.run(40, 0.05)
    assert bench.network.topics()[:2] in (["event", TOPICS.stream], [TOPICS.stream, "event"])
    (history,) = bench.network.payloads(TOPICS.history)
    assert [PacketHeader.decode(one).seq for one in parse_history(history)] == [0]
    assert bench.engine.stats().backfilled == 1


def test_packets_that_nobody_confirmed_are_sent_again_as_history(bench):
    bench.connect()
    for seq in range(4):
        assert bench.engine.put_packet(packet(seq, key=seq == 0))
    bench.run(1)
    bench.put(1)
    bench.run(1)
    for seq in range(4, 8):
        bench.engine.put_packet(packet(seq))
    bench.engine.pump()
    bench.cut()
    assert bench.engine.stats().history_states == 8, "four of them again, because the rest hangs on the key"
    bench.connect()
    bench.run(40, 0.05)
    (history,) = bench.network.payloads(TOPICS.history)
    assert [PacketHeader.decode(one).seq for one in parse_history(history)] == list(range(8))


def test_a_confirmed_stream_leaves_nothing_behind(bench):
    bench.connect()
    for seq in range(100):
        bench.engine.put_packet(packet(seq, key=seq % 10 == 0))
        bench.run(1, 0.2)
    bench.put(1)
    bench.run(1)
    bench.cut()
    assert bench.engine.stats().history_states == 0
    assert bench.network.payloads(TOPICS.canary), "after four seconds without anything to be acknowledged"


def test_neither_a_fast_stream_nor_many_events_hold_up_the_other(bench):
    bench.connect()
    for number in range(30):
        bench.put(number)
    for seq in range(10):
        bench.engine.put_packet(packet(seq, key=True))
    bench.engine.pump()
    sent = [message.topic for message in bench.network.arrived]
    assert sent.count(TOPICS.stream) == 10
    assert len(bench.network.flying) == 16


def test_a_socket_that_takes_nothing_makes_history_of_what_gets_old(bench):
    bench.connect()
    bench.engine.put_packet(packet(0, key=True))
    bench.network.flows = False
    bench.engine.pump()
    assert bench.network.wants_room
    bench.clock.tick(1.5)
    bench.engine.pump()
    assert bench.engine.stats().history_states == 1
    assert bench.engine.wants_key
    bench.network.flows = True
    bench.run(1)
    assert bench.network.payloads(TOPICS.stream) == []


def test_the_message_that_ends_connections_is_set_aside_and_the_rest_flows(bench):
    poison = bench.engine.put(Outbound("poison", b"x" * 9000), Delivery.CRITICAL)
    receipts = [bench.put(number) for number in range(3)]
    for _ in range(3):
        assert not poison.state.final
        bench.connect()
        bench.engine.pump()
        bench.cut(0.1)
    assert poison.state is ReceiptState.REJECTED
    assert "ended the connection" in poison.reason
    bench.connect()
    bench.run(10)
    assert all(receipt.acknowledged for receipt in receipts)
    assert bench.network.topics() == ["event"] * 3
    assert (bench.engine.stats().quarantined, bench.engine.stats().depth) == (1, 1)
    bench.clock.tick(61)
    bench.run(3)
    assert bench.network.topics()[-1] == "poison", "it may have been the link: later it is tried once more"
    assert bench.engine.stats().depth == 0


def test_a_greeting_that_ends_connections_is_kept_out(bench):
    bench.put(1)
    for _ in range(3):
        bench.connect()
        bench.engine.put(Outbound("greeting", b"x"), Delivery.GREETING)
        bench.engine.pump()
        bench.cut(0.1)
    bench.connect()
    barred = bench.engine.put(Outbound("greeting", b"x"), Delivery.GREETING)
    assert barred.state is ReceiptState.REJECTED
    bench.run(3)
    assert bench.network.topics() == ["event"]


def test_innocent_messages_are_not_set_aside_with_the_guilty_one(bench):
    receipts = [bench.put(number) for number in range(5)]
    bench.engine.put(Outbound("poison", b"x"), Delivery.CRITICAL)
    after = [bench.put(number) for number in range(5, 10)]
    for _ in range(6):
        bench.connect()
        for _ in range(20):
            bench.engine.pump()
            if any(message.topic == "poison" for message, _ in bench.network.flying):
                break
            bench.network.acknowledge()
        bench.cut(0.1)
    bench.connect()
    bench.run(5)
    assert all(receipt.acknowledged for receipt in receipts + after)
    assert bench.engine.stats().quarantined == 1


def test_what_the_broker_refuses_is_told_and_critical_messages_are_kept_aside(bench):
    bench.connect()
    critical = bench.put(1)
    state = bench.engine.put(Outbound("state", b"s"), Delivery.STATE)
    bench.engine.pump()
    bench.network.acknowledge(2, Outcome(0x87, "Not authorized"))
    assert (critical.state, state.state) == (ReceiptState.REJECTED, ReceiptState.REJECTED)
    assert "not authorized" in critical.reason
    assert (bench.engine.stats().depth, bench.engine.stats().rejected) == (1, 2)


def test_a_broker_that_has_had_enough_is_asked_again_later(bench):
    bench.connect()
    receipt = bench.put(1)
    bench.engine.pump()
    bench.network.acknowledge(1, Outcome(0x97, "Quota exceeded"))
    assert not receipt.state.final
    bench.run(3)
    assert not receipt.state.final
    bench.clock.tick(6)
    bench.run(1)
    assert receipt.acknowledged


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Outbound("a/#", b""), "no topic"),
        (Outbound("", b""), "no topic"),
        (Outbound("a\0", b""), "no topic"),
        (Outbound("\ud800", b""), "no topic"),
        (Outbound("a", bytes(200_000)), "more than the 131072"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(bench, message, reason):
    receipt = bench.engine.put(message, Delivery.CRITICAL)
    assert receipt.state is ReceiptState.REJECTED
    assert reason in receipt.reason


def test_what_is_longer_than_the_broker_takes_is_isolated():
    bench = Bench(max_packet_bytes=5000)
    long = bench.engine.put(Outbound("long", bytes(6000)), Delivery.CRITICAL)
    short = bench.put(1)
    for seq in range(300):
        bench.engine.put_packet(packet(seq, key=True))
    bench.connect()
    bench.run(400, 0.05)
    assert "more than the 5000" in long.reason
    assert short.acknowledged
    assert max(len(payload) for payload in bench.network.payloads(TOPICS.history)) < 5000
    assert bench.engine.stats().backfilled == 300


def test_a_link_without_acknowledgements_is_given_up_within_fifteen_seconds(bench):
    bench.connect()
    for _ in range(150):
        bench.engine.pump()
        if bench.network.abandoned:
            break
        bench.clock.tick(0.1)
    assert bench.network.abandoned
    assert bench.clock.now < 1015
    assert bench.engine.stats().dead_links == 1


def test_a_slow_link_is_not_taken_for_a_dead_one(bench):
    bench.connect()
    bench.engine.put(Outbound("block", bytes(32_000), 1), Delivery.BULK)
    bench.engine.pump()
    bench.clock.tick(16)
    bench.engine.pump()
    assert not bench.network.abandoned
    bench.network.acknowledge()
    bench.engine.put(Outbound("block", bytes(32_000), 1), Delivery.BULK)
    bench.engine.pump()
    bench.clock.tick(35)
    bench.engine.pump()
    assert not bench.network.abandoned, "at the rate measured it takes that long"


def test_history_takes_no_more_than_its_share(bench):
    for seq in range(20_000):
        bench.engine.put_packet(packet(seq, raw=True, size=80))
    bench.connect()
    for _ in range(1000):
        bench.engine.pump()
        bench.clock.tick(0.02)
        bench.network.acknowledge()
    sent = sum(map(len, bench.network.payloads(TOPICS.history)))
    assert 0.5 * 20 * 64 * 1024 < sent <= 20 * 64 * 1024
    assert bench.engine.stats().history_states < 20_000


def test_critical_messages_expire_by_running_time(bench):
    bench.engine.close()
    bench = Bench(ttl_s=100.0)
    old = bench.put(1)
    bench.clock.tick(60)
    young = bench.put(2)
    bench.clock.tick(60)
    bench.connect()
    bench.run(1)
    assert old.state is ReceiptState.EXPIRED
    assert young.acknowledged
    assert bench.engine.stats().expired == 1


def test_a_full_spool_refuses_what_is_new_and_keeps_what_it_has_taken():
    bench = Bench(max_bytes=256 * 1024)
    message = Outbound("event", bytes(1000))
    receipts = [bench.engine.put(message, Delivery.CRITICAL) for _ in range(300)]
    taken = [receipt for receipt in receipts if not receipt.state.final]
    assert len(taken) == pytest.approx(EngineConfig(max_bytes=256 * 1024).payload_bytes / message.size, rel=0.1)
    assert all(receipt.reason == "the spool is full" for receipt in receipts[len(taken) :])
    bench.connect()
    bench.run()
    assert all(receipt.acknowledged for receipt in taken)


def test_events_push_history_out_of_a_full_spool():
    bench = Bench(max_bytes=256 * 1024)
    for seq in range(8000):
        bench.engine.put_packet(packet(seq, key=True))
    full = bench.engine.stats()
    assert full.bytes <= 192 * 1024
    for _ in range(100):
        assert not bench.engine.put(Outbound("event", bytes(1000)), Delivery.CRITICAL).state.final
    stats = bench.engine.stats()
    assert stats.bytes <= 192 * 1024
    assert stats.history_states < full.history_states
    assert stats.history_states + stats.decimated + stats.dropped == 8000


def test_a_receipt_says_spooled_when_it_is_on_the_disk_and_the_next_process_sends_it(tmp_path):
    bench = Bench(tmp_path)
    receipts = [bench.put(number) for number in range(20)]
    assert all(receipt.wait_safe(5) for receipt in receipts)
    assert {receipt.state for receipt in receipts} == {ReceiptState.SPOOLED}
    bench.engine.put(Outbound("state", b"1", 1, retain=True), Delivery.STATE)
    bench.engine.put_packet(packet(1, key=True))
    bench.engine.close()
    again = Bench(tmp_path)
    assert again.engine.stats().depth == 22
    late = again.put(20)
    again.connect()
    again.run(40, 0.05)
    assert late.acknowledged
    assert again.network.payloads("event") == [b"e%d" % number for number in range(21)]
    assert again.network.payloads("state") == [b"1"]
    assert len(again.network.payloads(TOPICS.history)) == 1
    again.engine.close()
    assert Bench(tmp_path).engine.stats().depth == 0


def test_nothing_is_written_while_all_is_acknowledged(tmp_path):
    bench = Bench(tmp_path)
    bench.connect()
    for number in range(50):
        bench.put(number)
        bench.engine.put_packet(packet(number, key=True))
        bench.run(2, 0.1)
    bench.engine.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_acknowledged_for_two_seconds_goes_to_the_disk(tmp_path):
    bench = Bench(tmp_path)
    bench.connect()
    receipt = bench.put(1)
    bench.engine.pump()
    bench.clock.tick(1.0)
    bench.engine.pump()
    assert not receipt.spooled
    bench.clock.tick(1.5)
    bench.engine.pump()
    assert receipt.wait_safe(5)
    assert receipt.spooled
    assert receipt.state is ReceiptState.IN_FLIGHT
    bench.network.acknowledge()
    assert receipt.acknowledged
    bench.engine.close()
    assert Bench(tmp_path).engine.stats().depth == 0


def test_a_disk_that_fails_stops_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    bench = Bench(tmp_path / "file")
    receipt = bench.put(1)
    assert not receipt.wait_safe(0.5)
    stats = bench.engine.stats()
    assert stats.degraded
    assert stats.disk_errors >= 1
    bench.connect()
    bench.run(1)
    assert receipt.acknowledged
    bench.engine.close()


def test_a_damaged_spool_is_begun_anew_with_what_waits(tmp_path):
    (tmp_path / "spool.sqlite3").write_bytes(os_rubbish())
    bench = Bench(tmp_path)
    receipt = bench.put(1)
    assert receipt.wait_safe(5)
    assert (tmp_path / "spool.sqlite3.corrupt").exists()
    bench.engine.close()
    assert Bench(tmp_path).engine.stats().depth == 1


def os_rubbish():
    return b"no database at all, by any means " * 300


def test_suspicion_ends_with_what_was_under_it(bench):
    bench.connect()
    bench.engine.put(Outbound("greeting", b"1"), Delivery.GREETING)
    bench.engine.pump()
    bench.cut(0.1)
    bench.connect()
    for number in range(10):
        bench.put(number)
    bench.engine.pump()
    assert len(bench.network.flying) == 1, "one at a time while anything is under suspicion"
    bench.run(12)
    for number in range(10):
        bench.put(number)
    bench.engine.pump()
    assert len(bench.network.flying) == 10
