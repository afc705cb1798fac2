"""A small MQTT broker inside of this process, for trying things without installing one.

It is amqtt (extra `broker`), which speaks MQTT 3.1.1 only, keeps retained messages in memory and knows no users. We
listen ourselves and hand it the connections: so the port may be 0, an address in use has a clear error, and the length
of a packet is bounded before amqtt allocates it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import logging
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self

from twin_edge.errors import ConfigError, SyncError

MAX_PACKET_BYTES: Final = 1024 * 1024
"""Longest MQTT packet that is read; a client that sends a longer one is disconnected."""
MAX_CONNECTIONS: Final = 64
_START_S: Final = 10.0
_STOP_S: Final = 5.0
_SHUTDOWN_S: Final = 1.0
_CONNECT_S: Final = 5.0
_LISTENER: Final = "default"
_CONNECT: Final = 0x10
_MAX_FIXED_HEADER: Final = 5
_PROTOCOL_NAME: Final = b"\x00\x04MQTT"
_MQTT_3_1_1: Final = 4
_REFUSED_VERSION: Final = b"\x20\x03\x00\x84\x00"
"""CONNACK of MQTT 5: unsupported protocol version."""

_LOGGER = logging.getLogger(__name__)


class EmbeddedBroker:
    """Runs a broker in a thread of its own, from `start` to `stop`, or as a context manager.

    Args:
        host: Address to listen on. Loopback unless given; on any other, everyone who can reach it can read and write.
        port: TCP port, 0-65535; 0 takes a free one.

    Raises:
        ConfigError: amqtt is not installed, or the port is out of range.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of TCP ports
            raise ConfigError(f"{port} is not a TCP port", fix="give a port from 0 (any free one) to 65535")
        self._host, self._port = host, port
        try:
            self._amqtt: Any = importlib.import_module("amqtt.broker")
            self._adapters: Any = importlib.import_module("amqtt.adapters")
        except ImportError as error:
            raise ConfigError(
                "the embedded broker needs the package amqtt", fix="pip install 'twin-edge[broker]'"
            ) from error
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Its URL, such as `mqtt://127.0.0.1:1883`; the port is known once it has started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"mqtt://{host}:{self._port}"

    @property
    def port(self) -> int:
        """The TCP port; 0 until it has started when 0 was asked for."""
        return self._port

    def start(self) -> Self:
        """Starts listening; does nothing when it already does.

        Raises:
            ConfigError: The address cannot be listened on.
            SyncError: It did not start in time.
        """
        if self._thread is not None:
            return self
        _quiet()
        if not _is_loopback(self._host):
            _LOGGER.warning("the broker listens on %s without users: all who reach it can use it", self._host)
        started: Future[int] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="twin-broker", daemon=True)
        self._thread.start()
        try:
            self._port = started.result(_START_S)
        except OSError as error:
            self._thread.join(_STOP_S)
            self._thread = None
            raise ConfigError(
                f"cannot listen on {self._host}:{self._port} ({error.strerror or error})",
                fix="choose another port, or stop what listens there",
            ) from error
        except Exception as error:
            self.stop()
            raise SyncError(f"the embedded broker did not start ({str(error) or type(error).__name__})") from error
        return self

    def stop(self) -> None:
        """Stops listening, closes every connection and forgets every message; may be called again."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(_STOP_S)
        if thread.is_alive():
            _LOGGER.warning("the embedded broker is still closing")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _main(self, started: Future[int]) -> None:
        try:
            asyncio.run(self._serve(started))
        except Exception as error:  # noqa: BLE001 - goes to the thread that waits for the start
            if not started.done():
                started.set_exception(error)
            else:
                _LOGGER.warning("the embedded broker ended (%s)", type(error).__name__)

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_log_loop_error)
        server = await asyncio.start_server(self._connected, self._host, self._port)
        try:
            broker = self._amqtt.Broker(
                {
                    "listeners": {_LISTENER: {"type": "external", "max_connections": MAX_CONNECTIONS}},
                    "plugins": {
                        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
                    },
                }
            )
            await broker.start()
            self._broker = broker
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stop.wait()
            server.close()
            # amqtt waits for clients that are slow to go; here nobody is asked.
            for writer in list(self._writers):
                writer.transport.abort()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(broker.shutdown(), _SHUTDOWN_S)
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            start = await _read_start(reader)
            if start[-1] != _MQTT_3_1_1:
                writer.write(_REFUSED_VERSION)
                await writer.drain()
                return
            inbound = self._adapters.StreamReaderAdapter(_BoundedReader(reader, start))
            outbound = self._adapters.StreamWriterAdapter(writer)
            await self._broker.external_connected(inbound, outbound, _LISTENER)
        except asyncio.CancelledError:
            # The server's own callback would log the cancellation as an error.
            pass
        except Exception as error:  # noqa: BLE001 - whatever one client does, the others go on
            _LOGGER.debug("a connection ended (%s)", type(error).__name__)
        finally:
            self._writers.discard(writer)
            writer.close()


class _BoundedReader:
    """A stream that refuses to read more at once than a packet may have.

    Args:
        reader: The stream.
        start: What has been read of it already.
    """

    def __init__(self, reader: asyncio.StreamReader, start: bytes) -> None:
        self._reader = reader
        self._start = start

    async def readexactly(self, count: int) -> bytes:
        _check_length(count)
        head, self._start = self._start[:count], self._start[count:]
        return head + (await self._reader.readexactly(count - len(head)) if count > len(head) else b"")

    read = readexactly

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _read_start(reader: asyncio.StreamReader) -> bytes:
    """Reads a CONNECT packet up to its protocol level, the last byte of the result.

    amqtt reads an MQTT 5 CONNECT as one of 3.1.1, and with a will waits for bytes that never come, so that the client
    has to time out before it tries 3.1.1.
    """
    async with asyncio.timeout(_CONNECT_S):
        start = await reader.readexactly(2)
        while start[-1] & 0x80 and len(start) < _MAX_FIXED_HEADER:
            start += await reader.readexactly(1)
        _check_length(sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(start[1:])))
        name = await reader.readexactly(len(_PROTOCOL_NAME))
        if start[0] != _CONNECT or name != _PROTOCOL_NAME:
            raise ValueError("no MQTT CONNECT")
        return start + name + await reader.readexactly(1)


def _check_length(count: int) -> None:
    # amqtt goes on reading after its own errors, and closes the connection after any other.
    if count > MAX_PACKET_BYTES:
        raise ValueError(f"a packet of {count} bytes")


def _quiet() -> None:
    """Keeps amqtt's chatter, one warning for each odd packet, out of our log."""
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _log_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _LOGGER.debug("embedded broker: %s", context.get("message"))
