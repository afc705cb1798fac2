"""aiomqtt as its guides show it: a client in a reconnect loop, one task that listens, one that publishes.

More careful than most: an event leaves the queue only after `publish` has returned, so a lost connection loses none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from link.clients.base import Setup, Status, answer_payload, avail_payload, report_payload
from link.workload import ANSWER, AVAIL, CODEC, EVENT, KEY, REPORT, REQUEST, ROOT, STREAM
from twin_edge.twin.packet import Flags, Packet

try:
    import aiomqtt
except ImportError:  # it is an extra: the other clients can do without
    aiomqtt = None  # type: ignore[assignment]

_RETRY_S = 5
"""As in the guide on reconnecting."""


class AiomqttClient:
    """See the module."""

    def __init__(self, setup: Setup) -> None:
        if aiomqtt is None:
            raise ModuleNotFoundError("aiomqtt is not installed: pip install 'twin-edge[bench]'")
        self.setup = setup
        self._root = ROOT.replace("cam-01", setup.device)
        self._kept: deque[tuple[int, str, bytes, bool]] = deque()
        self._acked: set[int] = set()
        self._numbers: set[int] = set()
        self._problems: list[str] = []
        self._client: aiomqtt.Client | None = None
        self._loop = asyncio.new_event_loop()
        self._some = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="aiomqtt", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stream(self, packet: Packet) -> None:
        data = packet.encode()
        if packet.flags & Flags.KEY:
            self._put(-1, KEY, data, retain=True)
        self._loop.call_soon_threadsafe(self._publish_now, self._root + STREAM, data)

    def event(self, number: int, payload: bytes) -> None:
        self._numbers.add(number)
        self._put(number, EVENT, payload)

    def report(self, number: int) -> None:
        self._put(-1, REPORT, report_payload(number), retain=True)

    def fate(self, number: int) -> str:
        if number not in self._numbers:
            return ""
        return "acknowledged" if number in self._acked else "queued"

    def status(self) -> Status:
        return Status(self._client is not None, self._thread.is_alive(), len(self._kept), tuple(self._problems))

    def stop(self) -> None:
        self._put(-1, AVAIL, avail_payload("offline", self.setup.session, "stopped"), retain=True)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            asyncio.run_coroutine_threadsafe(self._flush(), self._loop).result(3)
        if self._main is not None:
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join(3)

    def _put(self, number: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._kept.append((number, self._root + topic, payload, retain))
        with contextlib.suppress(RuntimeError):  # the program has ended
            self._loop.call_soon_threadsafe(self._some.set)

    async def _flush(self) -> None:
        while self._kept and self._client is not None:  # noqa: ASYNC110 - the queue has no event for being empty
            await asyncio.sleep(0.01)

    def _publish_now(self, topic: str, data: bytes) -> None:
        if self._client is not None:
            task = self._loop.create_task(self._client.publish(topic, data))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._main = self._loop.create_task(self._reconnect())
        try:
            self._loop.run_until_complete(self._main)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - what ends the program is a result
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            self._problems.append(f"the program ended with {type(error).__name__}: {error}"[:200])

    async def _reconnect(self) -> None:
        while True:
            try:
                await self._session()
            except aiomqtt.MqttError as error:
                self._problems.append(f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(_RETRY_S)

    async def _session(self) -> None:
        setup = self.setup
        tls = ssl.create_default_context(cafile=str(setup.ca_file)) if setup.ca_file is not None else None
        protocol = aiomqtt.ProtocolVersion.V5 if setup.version == "5" else aiomqtt.ProtocolVersion.V311
        will = aiomqtt.Will(self._root + AVAIL, avail_payload("offline", setup.session), 1, retain=True)
        async with aiomqtt.Client(
            setup.host,
            setup.port,
            identifier=setup.device,
            username=setup.user or None,
            password=setup.password or None,
            protocol=protocol,
            will=will,
            tls_context=tls,
        ) as client:
            self._judge(await client.subscribe(self._root + "down/#", 1))
            await client.publish(self._root + CODEC, setup.bundle.digest, 1, retain=True)
            await client.publish(self._root + AVAIL, avail_payload("online", setup.session), 1, retain=True)
            self._client = client
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._listen(client))
                    tasks.create_task(self._send(client))
            except* aiomqtt.MqttError as group:
                raise group.exceptions[0] from None
            finally:
                self._client = None

    def _judge(self, granted: Sequence[Any]) -> None:
        for code in granted:
            value = getattr(code, "value", code)
            if value != 1:
                self._problems.append(f"the subscription to {self._root}down/# was answered with {code}")

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            self._some.clear()
            while self._kept:
                number, topic, payload, retain = self._kept[0]
                await client.publish(topic, payload, 1, retain=retain)
                self._kept.popleft()
                self._acked.add(number)
            await self._some.wait()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = bytes(message.payload)
            if str(message.topic) == self._root + REQUEST:
                self._put(-1, ANSWER, answer_payload(payload))
            elif self.setup.on_command is not None:
                self.setup.on_command(payload)
