"""The proxy of the fault harness does what it says: it is what the other tests of faults stand on."""

import contextlib
import socket
import threading
import time

import pytest

from link.proxy import Proxy
from link.rules import Listening, Way


@pytest.fixture
def echo():
    """Gives the port of a server that sends back whatever comes."""
    server = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()
    server.settimeout(0.1)

    def talk(peer):
        with peer, contextlib.suppress(OSError):
            while data := peer.recv(4096):
                peer.sendall(data)

    def serve():
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    stop.set()
    thread.join()
    server.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


def connect(proxy):
    peer = socket.create_connection(("127.0.0.1", proxy.port), 2)
    peer.settimeout(2)
    return peer


def connect_and_listen(proxy):
    with connect(proxy) as peer:
        receive(peer, 1)


def ask(peer, data, count=None):
    peer.sendall(data)
    return receive(peer, len(data) if count is None else count)


def receive(peer, count):
    data = b""
    while len(data) < count and (more := peer.recv(count - len(data))):
        data += more
    return data


def is_silent(peer, seconds=0.3):
    peer.settimeout(seconds)
    try:
        peer.recv(1)
    except TimeoutError:
        return True
    finally:
        peer.settimeout(2)
    return False


def test_passes_and_counts_bytes(proxy, until):
    data = bytes(range(256)) * 400
    with connect(proxy) as one, connect(proxy) as other:
        assert ask(one, data) == data
        assert ask(other, b"x") == b"x"
        assert proxy.connections == 2
    # A byte is counted after it has been passed on.
    assert until(lambda: proxy.bytes == {Way.UP: len(data) + 1, Way.DOWN: len(data) + 1})
    assert len(proxy.attempts) == 2


def test_end_of_one_side_reaches_the_other(proxy, until):
    peer = connect(proxy)
    assert ask(peer, b"x") == b"x"
    peer.close()
    assert until(lambda: proxy.connections == 0)


@pytest.mark.parametrize("way", list(Way))
def test_stall_holds_back_and_bounds_the_sender(proxy, way):
    with connect(proxy) as peer:
        assert ask(peer, b"x") == b"x"
        proxy.rules[way].stalled = True
        peer.sendall(b"held")
        assert is_silent(peer)
        proxy.rules[way].stalled = False
        assert receive(peer, 4) == b"held"
        proxy.rules[Way.UP].stalled = True
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.sendall(bytes(8_000_000))


@pytest.mark.parametrize("way", list(Way))
def test_drop_loses_one_direction_only(proxy, way):
    with connect(proxy) as peer:
        assert ask(peer, b"x") == b"x"
        proxy.rules[way].dropped = True
        peer.sendall(b"lost")
        assert is_silent(peer)
        passed = {Way.UP: 1, Way.DOWN: 1} if way is Way.UP else {Way.UP: 5, Way.DOWN: 1}
        assert proxy.bytes == passed
        proxy.rules[way].dropped = False
        assert ask(peer, b"back") == b"back"


@pytest.mark.parametrize("count", [0, 1, 7, 4096, 10_000])
def test_cuts_after_exactly_so_many_bytes(proxy, count):
    with connect(proxy) as peer:
        proxy.rules[Way.DOWN].cut_after = count
        with contextlib.suppress(ConnectionResetError):
            peer.sendall(bytes(20_000))
            while peer.recv(1000):
                pass
    assert proxy.bytes[Way.DOWN] == count
    with connect(proxy) as peer:
        assert ask(peer, b"next") == b"next"


def test_cut_resets_and_down_refuses_until_it_is_up_again(proxy):
    with connect(proxy) as peer:
        assert ask(peer, b"x") == b"x"
        proxy.down()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.up()
    with connect(proxy) as peer:
        assert ask(peer, b"again") == b"again"


def test_reset_counts_attempts(proxy):
    proxy.listen(Listening.RESET)
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            connect_and_listen(proxy)
    assert len(proxy.attempts) == 3


def test_orphans_hear_nothing_and_new_connections_pass(proxy):
    with connect(proxy) as old:
        assert ask(old, b"x") == b"x"
        proxy.orphan()
        old.sendall(b"into the void")
        with connect(proxy) as new:
            assert ask(new, b"new") == b"new"
        assert is_silent(old)


def test_round_trip_and_rate(proxy):
    proxy.slow(round_trip_s=0.4)
    with connect(proxy) as peer:
        began = time.monotonic()
        assert ask(peer, b"x") == b"x"
        assert 0.4 <= time.monotonic() - began < 0.8
        proxy.slow()
        proxy.rules[Way.UP].kbit_s = 80  # 10,000 bytes a second
        began = time.monotonic()
        assert ask(peer, bytes(10_000)) == bytes(10_000)
        assert 0.8 <= time.monotonic() - began < 1.6


def test_a_slow_link_is_felt_by_the_sender(proxy):
    """No hidden megabytes: what a sender can get rid of in a second is about what passes, and some kilobytes."""
    proxy.rules[Way.UP].kbit_s = 8
    with connect(proxy) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.setblocking(False)
        sent, until = 0, time.monotonic() + 1
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sent += peer.send(bytes(1000))
            time.sleep(0.005)
    assert sent < 80_000


def test_loss_delays_and_keeps_the_order(echo):
    with Proxy(echo, seed=3) as proxy:
        proxy.slow(round_trip_s=0.02, loss=0.3)
        with connect(proxy) as peer:
            peer.settimeout(10)
            began = time.monotonic()
            for number in range(6):
                assert ask(peer, bytes([number])) == bytes([number])
            assert time.monotonic() - began > 1
