import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.sync.view.stream import Stream


def drain(stream):
    return list(stream.within(0.0))


def test_lanes_take_turns_and_keep_their_order():
    stream = Stream(10, 100)
    stream.put("a", ["a1", "a2", "a3"])
    stream.put("b", ["b1"])
    stream.put("c", ["c1", "c2"])
    assert drain(stream) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert (stream.taken, stream.waiting) == (6, 0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.booleans()), max_size=40),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_nothing_is_unaccounted_for_and_memory_is_bounded(puts, most, most_in_all):
    dropped, got = [], []
    stream = Stream(most, most_in_all, lambda oldest, follows: dropped.append((oldest, follows)))
    made = dict.fromkeys("abc", 0)
    for lane, count, fetches in puts:
        stream.put(lane, [(lane, made[lane] + n) for n in range(count)])
        made[lane] += count
        assert stream.waiting <= most_in_all
        if fetches:
            got.append(stream.take(0.0))
    got += drain(stream)
    lost = [oldest for oldest, _ in dropped]
    assert sorted(got + lost) == sorted((lane, n) for lane, count in made.items() for n in range(count))
    assert stream.dropped == len(lost)
    for lane in "abc":
        numbers = [n for name, n in got if name == lane]
        assert numbers == sorted(numbers)
    assert all(follows is None or (follows[0] == oldest[0] and follows > oldest) for oldest, follows in dropped)


def test_a_stream_that_keeps_none_drops_nothing():
    stream = Stream(0, 100)
    stream.put("a", [1])
    assert (stream.take(0.0), stream.dropped) == (None, 0)


def test_a_thread_waits_and_is_woken_by_items_and_by_the_end():
    stream, got = Stream(10, 10), []
    reader = threading.Thread(target=lambda: got.extend(stream))
    reader.start()
    stream.put("a", [1])
    deadline = time.monotonic() + 5
    while got != [1] and time.monotonic() < deadline:
        time.sleep(0.01)
    stream.put("a", [2])
    while got != [1, 2] and time.monotonic() < deadline:
        time.sleep(0.01)
    stream.close()
    reader.join(5)
    assert not reader.is_alive()
    assert got == [1, 2]
    stream.put("a", [3])
    assert stream.take(0.1) is None


def test_asyncio_gets_everything_from_another_thread():
    stream, got = Stream(10_000, 10_000), []

    def feed():
        for n in range(500):
            stream.put("a", [2 * n, 2 * n + 1])
            if n % 50 == 0:
                time.sleep(0.002)
        time.sleep(0.05)
        stream.close()

    async def read():
        threading.Thread(target=feed).start()
        async for item in stream:
            got.append(item)
            if len(got) == 1000:
                break

    asyncio.run(read())
    assert got == list(range(1000))


def test_asyncio_lets_others_run_while_plenty_waits():
    stream, turns = Stream(1000, 1000), []
    stream.put("a", list(range(1000)))

    async def count_turns():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def read():
        other = asyncio.create_task(count_turns())
        count = 0
        async for _ in stream:
            count += 1
            if count == 1000:
                break
        other.cancel()

    asyncio.run(read())
    assert len(turns) > 5


def test_a_cancelled_reader_leaves_nothing_behind():
    stream = Stream(10, 10)

    async def read():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.next(), 0.02)
        assert stream._wakers == []
        stream.put("a", [1])
        assert await stream.next() == 1
        waiting = asyncio.create_task(stream.next())
        await asyncio.sleep(0)
        stream.close()
        assert await waiting is None

    asyncio.run(read())
