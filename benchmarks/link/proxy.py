"""A TCP proxy on the loopback that does to a connection what networks do: stall, cut, lose, slow down, delay.

It knows nothing of MQTT. Everything it holds is bounded, so that a sender feels a slow or stalled link as it would
feel a real one: its writes stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from link.rules import Listening, Rules, Way

_CHUNK: Final = 4096
_SLOW_CHUNK: Final = 512
"""Bytes that pass as one on a slow or lossy link."""
_KERNEL_BUFFER: Final = 4096
"""What the proxy's own sockets may hide from a sender, bytes; the kernel doubles it."""
_SEGMENT: Final = 1448
"""As on Ethernet. The loopback's 64 kB would not fit the buffers, and each segment would wait for a timer."""
_BUFFER: Final = 8192
"""Bytes that one direction of a connection may have under way besides what the delay accounts for."""
_POLL_S: Final = 0.02
"""How soon a rule that was lifted is noticed."""
_RETRANSMIT_S: Final = 1.0
"""What a lost segment costs besides the round trip: the first retransmission timeout of TCP."""
_MAX_CONNECTIONS: Final = 512
_MAX_LOG: Final = 100_000
_START_S: Final = 5.0
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class _Pipe:
    """One direction of one connection."""

    way: Way
    source: socket.socket
    sink: socket.socket
    orphaned: bool = False
    """The path has forgotten the connection: nothing passes, and neither end is told."""
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    held: int = 0
    last_due: float = 0.0
    ended: bool = False
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Proxy:
    """Listens on a free port of the loopback and passes on to another; a context manager.

    Its methods are for any thread.

    Args:
        target: Port on the loopback to pass on to.
        tap: Called with connection number, direction and bytes as they are passed on, in the proxy's thread.
        seed: Of the random losses.

    Attributes:
        port: Where it listens; the same for its whole life.
        rules: What happens to the bytes, by direction.
        attempts: Monotonic times of connections that came in, those that were reset included.
        bytes: Bytes passed on, by direction.
    """

    def __init__(self, target: int, tap: Callable[[int, Way, bytes], None] | None = None, seed: int = 1) -> None:
        self._target = target
        self._tap = tap
        self._random = random.Random(seed)
        self._listening = Listening.ACCEPT
        self._server: socket.socket | None = _listen(0)
        self.port: int = self._server.getsockname()[1]
        self.rules = {Way.UP: Rules(), Way.DOWN: Rules()}
        self.attempts: list[float] = []
        self.bytes = {Way.UP: 0, Way.DOWN: 0}
        self._pipes: dict[int, tuple[_Pipe, _Pipe]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._accepting: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._pipes)

    def listen(self, how: Listening) -> None:
        """Changes what becomes of new connections."""
        self._do(lambda: self._listen(how))

    def cut(self) -> None:
        """Resets every connection."""
        self._do(self._cut_all)

    def down(self) -> None:
        """Resets every connection and refuses new ones, as a broker that is not there."""
        self.listen(Listening.REFUSE)
        self.cut()

    def up(self) -> None:
        """Accepts connections again."""
        self.listen(Listening.ACCEPT)

    def orphan(self) -> None:
        """Forgets every connection without telling either end, as a NAT does; new ones pass."""
        for pair in list(self._pipes.values()):
            for pipe in pair:
                pipe.orphaned = True

    def slow(self, *, kbit_s: float = 0.0, round_trip_s: float = 0.0, loss: float = 0.0) -> None:
        """Slows both directions down; without arguments, no more."""
        for rules in self.rules.values():
            rules.kbit_s, rules.delay_s, rules.loss = kbit_s, round_trip_s / 2, loss

    # The proxy's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        if not done.wait(_START_S):
            raise TimeoutError("the proxy does not answer")

    def _open(self) -> None:
        if self._server is None:
            self._server = _listen(self.port)
        self._accepting = self._loop.create_task(self._accept(self._server))

    def _listen(self, how: Listening) -> None:
        self._listening = how
        if how is Listening.REFUSE:
            if self._accepting is not None:
                self._accepting.cancel()
            if self._server is not None:
                self._server.close()
            self._server = None
        elif self._server is None:
            self._open()

    def _cut_all(self) -> None:
        for number in list(self._pipes):
            self._end(number, reset=True)

    def _close_all(self) -> None:
        self._listen(Listening.REFUSE)
        self._cut_all()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, server: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(server)
            if len(self.attempts) < _MAX_LOG:
                self.attempts.append(time.monotonic())
            if self._listening is Listening.RESET or len(self._pipes) >= _MAX_CONNECTIONS:
                _reset(client)
            else:
                self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        client.setblocking(False)
        broker = socket.socket()
        broker.setblocking(False)
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        for sock in (client, broker):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(broker, ("127.0.0.1", self._target))
        except OSError:
            _reset(client)
            broker.close()
            return
        number = self._count
        self._count += 1
        pair = _Pipe(Way.UP, client, broker), _Pipe(Way.DOWN, broker, client)
        self._pipes[number] = pair
        for pipe in pair:
            pipe.tasks = [self._spawn(self._read(number, pipe)), self._spawn(self._write(number, pipe))]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read(self, number: int, pipe: _Pipe) -> None:
        rules = self.rules[pipe.way]
        try:
            while True:
                # Rules are plain values, set by any thread.
                while (rules.stalled and not pipe.orphaned) or pipe.held >= _capacity(rules):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
                data = await self._loop.sock_recv(pipe.source, _SLOW_CHUNK if rules.kbit_s or rules.loss else _CHUNK)
                if pipe.orphaned:
                    if not data:
                        return
                    continue
                if not data:
                    pipe.ended = True
                    pipe.filled.set()
                    return
                if not rules.dropped:
                    self._schedule(pipe, rules, data)
        except OSError:
            self._end(number, reset=True)

    def _schedule(self, pipe: _Pipe, rules: Rules, data: bytes) -> None:
        now = time.monotonic()
        due = max(now, pipe.last_due - rules.delay_s) if rules.kbit_s else now
        if rules.kbit_s:
            due += len(data) * 8e-3 / rules.kbit_s
        due += rules.delay_s
        if rules.loss and self._random.random() < rules.loss:
            due += 2 * rules.delay_s + _RETRANSMIT_S
        # What comes after a late segment waits for it.
        pipe.last_due = due = max(due, pipe.last_due)
        pipe.queue.append((due, data))
        pipe.held += len(data)
        pipe.filled.set()

    async def _write(self, number: int, pipe: _Pipe) -> None:
        rules = self.rules[pipe.way]
        try:
            while not (pipe.ended and not pipe.queue):
                if not pipe.queue:
                    pipe.filled.clear()
                    await pipe.filled.wait()
                    continue
                wait_s = pipe.queue[0][0] - time.monotonic()
                if rules.stalled or wait_s > 0:
                    await asyncio.sleep(max(_POLL_S, wait_s) if rules.stalled else wait_s)
                    continue
                _, data = pipe.queue.popleft()
                pipe.held -= len(data)
                if pipe.orphaned or rules.dropped:
                    continue
                if not await self._pass_on(number, pipe, rules, data):
                    return
            self._end(number, reset=False)
        except OSError:
            self._end(number, reset=True)

    async def _pass_on(self, number: int, pipe: _Pipe, rules: Rules, data: bytes) -> bool:
        """Passes bytes on; returns whether the connection goes on."""
        cut = rules.cut_after is not None and rules.cut_after <= len(data)
        if rules.cut_after is not None:
            data = data[: rules.cut_after]
            rules.cut_after = None if cut else rules.cut_after - len(data)
        if data:
            await self._loop.sock_sendall(pipe.sink, data)
            self.bytes[pipe.way] += len(data)
            if self._tap is not None:
                self._tap(number, pipe.way, data)
        if cut:
            # What was passed on must be read before the reset takes it away.
            await asyncio.sleep(0.02)
            self._end(number, reset=True)
        return not cut

    def _end(self, number: int, *, reset: bool) -> None:
        for pipe in self._pipes.pop(number, ()):
            for task in pipe.tasks:
                if task is not asyncio.current_task(self._loop):
                    task.cancel()
            # The loop must forget the descriptor before another socket gets the same number.
            self._loop.remove_reader(pipe.source)
            self._loop.remove_writer(pipe.source)
            if reset:
                _reset(pipe.source)
            else:
                pipe.source.close()


def _listen(port: int) -> socket.socket:
    server = socket.create_server(("127.0.0.1", port), backlog=256)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
    server.setblocking(False)
    return server


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def _capacity(rules: Rules) -> float:
    """Returns how many bytes may be under way in one direction."""
    if rules.kbit_s:
        return _BUFFER / 8 + rules.delay_s * rules.kbit_s * 125
    return 64 * _BUFFER
