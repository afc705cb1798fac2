"""In which order the states of a payload are coded, and what each is predicted from.

States that wait for each other need not be coded one after the other: the last of a group comes first, predicted from
the group before, and then those between, each from a decoded state on either side. Such hierarchies are what video
codecs gained most by (Schwarz, Marpe, Wiegand, "Analysis of hierarchical B pictures and MCTF", ICME 2006). The ends of
a group are what everything else hangs on, so they are coded in finer steps, and those that nothing hangs on in coarser.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

GROUP: Final = 8
"""States of a group at most: with more, the first prediction reaches too far."""
CLASSES: Final = 4
"""How far a prediction reaches: 1, 2, 3-4, and 5 or more states."""
INTRA: Final = 0
"""The kind of a state without any before it."""
KINDS: Final = 1 + 2 * CLASSES
"""Kinds of predictions: none, from the state before by class, between two by class."""
SHIFTS: Final = 4
"""A payload may say that its states are further apart than the tables took them to be: 0 to 3 classes."""
SCALE_BITS: Final = 4
_SAME_SCALE: Final = 1 << SCALE_BITS
_FORWARD_SCALES: Final = (16, 13, 13, 11)
_BETWEEN_SCALES: Final = (26, 18, 13)
"""Steps by class, the nearest first, sixteenths of those of the level."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One state of a payload, when it is its turn."""

    place: int
    """Which state it is, in time order from 0."""
    before: int
    """The state it is predicted from; -1 is the last one of the payload before."""
    after: int | None
    """The other state it is predicted from, later than itself, if there is one."""
    reach: int
    """How far the prediction reaches, as a class from 0."""
    is_intra: bool = False
    """Whether it is predicted from nothing."""

    @property
    def scale(self) -> int:
        """Its steps, sixteenths of those of the level."""
        if self.is_intra:
            return _SAME_SCALE
        return _FORWARD_SCALES[self.reach] if self.after is None else _BETWEEN_SCALES[self.reach - 1]

    def kind(self, shift: int) -> int:
        """Returns the kind of its prediction in a payload with such a shift, 0-3."""
        if self.is_intra:
            return INTRA
        # Between two states there is one at least, so that there is no such prediction of the class 0.
        reach = self.reach + shift
        return 1 + min(reach, CLASSES - 1) if self.after is None else CLASSES + min(reach, CLASSES)


FIRST: Final = Turn(0, 0, None, 0, is_intra=True)
"""The first state of a key."""
NEXT: Final = Turn(0, -1, None, 0)
"""A state that comes right after the last one known."""


@lru_cache(maxsize=256)
def turns(count: int, *, key: bool) -> tuple[Turn, ...]:
    """Returns how the states of a payload are coded, in this order.

    Args:
        count: States in it, at least 1.
        key: Whether its first state has none before it.
    """
    order = [FIRST] if key else []
    first = 0 if key else -1
    left = count - 1 - first
    groups = -(-left // GROUP)
    ends = [first + left * number // groups for number in range(groups + 1)] if groups else []
    for begin, end in pairwise(ends):
        order.append(Turn(end, begin, None, _class(end - begin)))
        spans = [(begin, end)]
        while spans:
            halves = []
            for before, after in spans:
                middle = (before + after) >> 1
                if middle > before:
                    order.append(Turn(middle, before, after, _class(after - before)))
                    halves += [(before, middle), (middle, after)]
            spans = halves
    return tuple(order)


def _class(states: int) -> int:
    """Returns the class of a prediction that spans so many steps from state to state."""
    return min((states - 1).bit_length(), CLASSES - 1)
