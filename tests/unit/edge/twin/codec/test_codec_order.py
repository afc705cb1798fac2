"""The order in which the states of a payload are coded."""

from __future__ import annotations

import pytest

from twin_edge.twin.codec.coder import MAX_STATES
from twin_edge.twin.codec.order import CLASSES, GROUP, INTRA, KINDS, SHIFTS, turns


@pytest.mark.parametrize("key", [True, False])
def test_every_state_has_its_turn_when_what_it_needs_is_known(*, key: bool) -> None:
    for count in range(1, MAX_STATES + 1):
        known = set() if key else {-1}
        for turn in turns(count, key=key):
            assert turn.place not in known
            if not turn.is_intra:
                assert turn.before in known
                assert turn.before < turn.place
            if turn.after is not None:
                assert turn.after in known
                assert turn.before < turn.place < turn.after <= turn.before + GROUP
            known.add(turn.place)
        assert known - {-1} == set(range(count))


def test_one_state_comes_after_the_other_where_nothing_waits() -> None:
    (only,) = turns(1, key=False)
    assert (only.before, only.after, only.reach, only.scale) == (-1, None, 0, 16)
    (first,) = turns(1, key=True)
    assert first.is_intra


def test_what_others_hang_on_is_finer() -> None:
    scales = {turn.place: turn.scale for turn in turns(8, key=False)}
    assert scales[7] < scales[3] < scales[1] < scales[0]


def test_kinds_are_by_reach_and_a_shift_moves_them_up() -> None:
    for count in (1, 3, 8, 20):
        for turn in turns(count, key=True):
            kinds = [turn.kind(shift) for shift in range(SHIFTS)]
            assert kinds == sorted(kinds)
            assert all(0 <= kind < KINDS for kind in kinds)
            assert (kinds[0] == INTRA) == turn.is_intra
            if not turn.is_intra:
                assert all((kind <= CLASSES) == (turn.after is None) for kind in kinds)
    (near,) = turns(1, key=False)
    assert [near.kind(shift) for shift in range(SHIFTS)] == [1, 2, 3, 4]
    assert turns(3, key=False)[-1].kind(0) == CLASSES + 1
