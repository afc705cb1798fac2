from hypothesis import given
from hypothesis import strategies as st

from twin_edge.sync.view.coverage import Coverage

RANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 9)), max_size=40)


@given(RANGES)
def test_it_has_what_was_added_and_nothing_else(ranges):
    coverage, expected = Coverage(), set()
    for session, first, more in ranges:
        coverage.add(session, first, first + more)
        expected |= {(session, seq) for seq in range(first, first + more + 1)}
    for session in range(3):
        for seq in range(80):
            assert coverage.has(session, seq) == ((session, seq) in expected)


def test_numbers_wrap_around():
    coverage = Coverage()
    coverage.add(1, 2**32 - 2, 1)
    assert [coverage.has(1, seq) for seq in (2**32 - 3, 2**32 - 1, 0, 1, 2)] == [False, True, True, True, False]


def test_memory_is_bounded_and_nothing_old_is_let_through():
    coverage = Coverage()
    for seq in range(0, 4000, 2):
        coverage.add(1, seq, seq)
    assert len(coverage._sessions[1]._firsts) == 256
    assert coverage.has(1, 1)
    assert not coverage.has(1, 3997)
    for session in range(2, 100):
        coverage.add(session, 0, 5)
    assert len(coverage._sessions) == 8
    assert coverage.has(50, 77)
    assert not coverage.has(99, 77)
    coverage.add(50, 3, 4)
    assert len(coverage._sessions) == 8
