"""Waiting for a socket, in a way that other threads can interrupt."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Any, Final

_READ: Final = select.POLLIN | select.POLLPRI


class Poller:
    """Waits for one socket at a time; `wake` is for any thread, the rest for one."""

    def __init__(self) -> None:
        self._inner: socket.socket | None = None
        self._outer: socket.socket | None = None
        self._poll = select.poll()
        self._woken = False

    def open(self) -> None:
        """Takes the descriptors that it needs; before the first wait."""
        if self._inner is not None:
            return
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self._poll.register(self._inner, _READ)

    def wake(self) -> None:
        """Ends the wait that goes on, or the next one."""
        # A full buffer wakes as well as one byte more would, and a closed one has nobody left to wake.
        outer = self._outer
        # Whoever woke us before has not been noticed yet; what made us call is in place, and will be seen then.
        if outer is not None and not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):
                outer.send(b"\0")

    def wait(self, sock: Any, timeout_s: float, *, write: bool = False) -> tuple[bool, bool]:
        """Waits until a socket is ready, somebody wakes us, or the time is over.

        Args:
            sock: paho's socket; one with bytes in a buffer of its own is ready at once.
            timeout_s: Seconds, 0 or more.
            write: Whether to wait for room to write as well.

        Returns:
            Whether there is something to read, and whether there is room to write.
        """
        pending = getattr(sock, "pending", None)
        if pending is not None and pending() > 0:
            timeout_s = 0.0
        number = sock.fileno()
        if number < 0:
            return True, False
        self._poll.register(number, _READ | (select.POLLOUT if write else 0))
        try:
            ready = dict(self._poll.poll(1000 * timeout_s))
        finally:
            self._poll.unregister(number)
        if self._inner is not None and self._inner.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                self._inner.recv(4096)
            self._woken = False
        events = ready.get(number, 0)
        readable = bool(events & ~select.POLLOUT) or (pending is not None and pending() > 0)
        return readable, bool(events & select.POLLOUT)

    def close(self) -> None:
        """Gives back the descriptors; may be called again."""
        for end in (self._inner, self._outer):
            if end is not None:
                end.close()


def has_room(sock: Any) -> bool:
    """Returns whether a socket takes more without piling it up, see `TCP_NOTSENT_LOWAT` in `connection.tune`."""
    number = -1 if sock is None else sock.fileno()
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(0))
