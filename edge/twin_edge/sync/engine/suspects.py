"""Finding the message for which a broker ends the connection, so that it does not hold up all the others.

Every message that was handed over less than a second before a connection ended is a suspect. While there are any, one
message at a time is in flight: so the innocent ones are acknowledged, and the guilty one collects its strikes alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from twin_edge.sync.engine.item import Item

STRIKES: Final = 3
AT_ONCE_S: Final = 1.0
"""A connection that ends within this time after a message may have ended for it."""
RETRY_S: Final = (60.0, 600.0, 3600.0, 6 * 3600.0)
"""A message that was set aside is tried again after these times: it may have been the link after all."""
_MAX_KNOWN: Final = 256


@dataclass(frozen=True, slots=True)
class Aside:
    """A message that was set aside."""

    item: Item
    """The message."""
    reason: str
    """Why."""
    retry_s: float | None
    """When it is tried again, monotonic seconds; None for never."""


class Suspects:
    """Strikes of messages; not for several threads at once."""

    def __init__(self) -> None:
        self._strikes: dict[int, int] = {}
        self._barred: dict[int, float] = {}

    @property
    def cautious(self) -> bool:
        """Whether only one message may be in flight."""
        return bool(self._strikes)

    def ended(self, flying: Iterable[Item], now_s: float) -> list[Item]:
        """A connection has ended.

        Args:
            flying: What the broker had not acknowledged.
            now_s: Monotonic time, seconds.

        Returns:
            The messages for which this was the third time.
        """
        guilty = []
        for item in flying:
            if now_s - item.sent_s > AT_ONCE_S:
                continue
            strikes = self._strikes.pop(item.key, STRIKES - 1 if item.failures else 0) + 1
            if strikes >= STRIKES:
                item.failures += 1
                guilty.append(item)
            elif len(self._strikes) < _MAX_KNOWN:
                self._strikes[item.key] = strikes
        return guilty

    def cleared(self, item: Item) -> None:
        """The broker has taken a message, or it will not be sent any more."""
        self._strikes.pop(item.key, None)

    def relax(self) -> None:
        """Nothing that was under suspicion is left: a connection holds, and all was acknowledged."""
        self._strikes.clear()

    def bar(self, item: Item, now_s: float) -> None:
        """Keeps a message out that is said anew on each connect."""
        if len(self._barred) < _MAX_KNOWN:
            self._barred[item.key] = now_s + RETRY_S[min(item.failures, len(RETRY_S)) - 1]

    def is_barred(self, item: Item, now_s: float) -> bool:
        """Returns whether a message is to be kept out for now."""
        until_s = self._barred.get(item.key)
        if until_s is None:
            return False
        if now_s < until_s:
            return True
        del self._barred[item.key]
        return False


def retry_at(item: Item, now_s: float) -> float | None:
    """Returns when a message that was set aside is tried again, monotonic seconds; None for never."""
    return now_s + RETRY_S[item.failures - 1] if 1 <= item.failures <= len(RETRY_S) else None
