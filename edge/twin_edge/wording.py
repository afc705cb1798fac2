"""Words for people."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, such as `1 frame` and `2 frames`.

    Args:
        number: How many.
        noun: What, one of it.
        plural: What, several of it; with an s when empty.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
