"""How fast the link is, whether it lives, and how much of it history may have."""

from __future__ import annotations

from typing import Final

DEAD_S: Final = 10.0
"""A message that is not acknowledged for this long, and the time that it takes at the rate measured, ends a link."""
CANARY_S: Final = 4.0
"""After this long without a message of QoS 1, an empty one is sent to see whether it is acknowledged."""
_MEASURED_BYTES: Final = 512
"""Smaller messages tell more about the round trip than about the rate."""
_SMOOTHING: Final = 0.3
_UNKNOWN_RATE: Final = 4096.0
_LEAST_RATE: Final = 1024.0
_MOST_ALLOWANCE_S: Final = 60.0
_SHORTEST_S: Final = 1e-3

_HISTORY_SHARE: Final = 0.25
_HISTORY_RATE: Final = 64 * 1024
"""History never takes more bytes a second than this: each subscriber has to read it beside the live stream."""
_TURN_S: Final = 0.25
_LEAST_BATCH: Final = 2 * 1024
_MOST_BATCH: Final = 32 * 1024 - 512
_STRIKES: Final = 3


class Pulse:
    """Watches what is in flight; not for several threads at once.

    Attributes:
        rate: Bytes a second that the broker has acknowledged lately while some were in flight; None if not known yet.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.began(0.0)

    def began(self, now_s: float) -> None:
        """There is a connection, at a monotonic time in seconds."""
        self._flying_bytes = 0
        self._flying = 0
        self._sent_s = self._heard_s = now_s

    def sent(self, size: int, now_s: float) -> None:
        """A message of QoS 1 was handed over."""
        if not self._flying:
            self._heard_s = now_s
        self._flying += 1
        self._flying_bytes += size
        self._sent_s = now_s

    def acknowledged(self, size: int, sent_s: float, now_s: float) -> None:
        """A message was acknowledged that was handed over at a monotonic time in seconds."""
        if size >= _MEASURED_BYTES:
            rate = size / max(now_s - max(sent_s, self._heard_s), _SHORTEST_S)
            self.rate = rate if self.rate is None else self.rate + _SMOOTHING * (rate - self.rate)
        self._flying = max(0, self._flying - 1)
        self._flying_bytes = max(0, self._flying_bytes - size) if self._flying else 0
        self._heard_s = now_s

    def wants_canary(self, now_s: float) -> bool:
        """Returns whether it is time to find out whether the broker still takes anything."""
        return not self._flying and now_s - self._sent_s >= CANARY_S

    def is_dead(self, now_s: float) -> bool:
        """Returns whether an acknowledgement is overdue."""
        if not self._flying:
            return False
        rate = _UNKNOWN_RATE if self.rate is None else max(self.rate / 2, _LEAST_RATE)
        allowance_s = min(self._flying_bytes / rate, _MOST_ALLOWANCE_S)
        return now_s - self._heard_s > DEAD_S + allowance_s


class HistoryPace:
    """Says when the next piece of history may go, and how large it may be: a quarter of what the link can do."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._most_bytes = _MOST_BATCH
        self._strikes = 0
        self.batch_bytes = _LEAST_BATCH

    def began(self, now_s: float) -> None:
        """There is a connection, at a monotonic time in seconds; nothing is known of it."""
        self._next_s = now_s
        self.batch_bytes = min(_LEAST_BATCH, self._most_bytes)

    def may_send(self, now_s: float) -> bool:
        """Returns whether a piece may go; one at a time is in flight."""
        return now_s >= self._next_s

    def acknowledged(self, size: int, sent_s: float, now_s: float) -> None:
        """The broker has a piece that was handed over at a monotonic time in seconds."""
        took_s = max(now_s - sent_s, _SHORTEST_S)
        self._next_s = now_s + max(took_s * (1 / _HISTORY_SHARE - 1), size / _HISTORY_RATE - took_s)
        fitting = int(size / took_s * _TURN_S)
        # No piece holds up what is live for longer than a turn; growing is gradual, for the first ones tell little.
        self.batch_bytes = min(max(fitting, _LEAST_BATCH), 2 * self.batch_bytes, self._most_bytes)
        self._strikes = 0

    def blame(self, size: int, *, single: bool) -> bool:
        """A connection has ended right after a piece was sent: pieces get smaller, in case that it was too large.

        Args:
            size: Bytes of the piece.
            single: Whether it was a single packet, and cannot be made smaller.

        Returns:
            Whether to give that packet up.
        """
        self._most_bytes = max(size // 2, 1)
        self._strikes = self._strikes + 1 if single else 0
        return self._strikes >= _STRIKES
