"""The least that an MQTT client takes for a broker: it acknowledges everything and passes nothing on.

For measuring what publishing costs a device, with a real client and a real socket, where no broker is installed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import BinaryIO, Final, Self

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING, _DISCONNECT = 1, 3, 8, 12, 14
_SUBACK, _PUBACK, _CONNACK, _PONG = b"\x90", b"\x40\x02", b"\x20", b"\xd0\x00"
_MQTT_5: Final = 5
_VERSION_AT: Final = 6
_LENGTH_BYTES: Final = 4
_QOS_1: Final = 0x02


class NullBroker:
    """Listens on a free port of the loopback, for one client, from `start` to `stop` or as a context manager.

    Attributes:
        received: Messages that have been published so far.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="twin-null-broker", daemon=True)
        self._client: socket.socket | None = None
        self.received = 0

    @property
    def url(self) -> str:
        """Where to connect, such as `mqtt://127.0.0.1:40000`."""
        return f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> Self:
        """Begins to listen."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes everything."""
        for sock in (self._listener, self._client):
            if sock is not None:
                # Closing alone would not wake the thread that waits for it.
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self._thread.join(1.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        # The client closes when it is done, and `stop` closes whatever is left; what is no MQTT ends it as well.
        with contextlib.suppress(OSError, EOFError, IndexError):
            self._client, _ = self._listener.accept()
            with self._client, self._client.makefile("rb") as stream:
                version = 0
                while True:
                    head = _exactly(stream.read(1), 1)[0]
                    body = _exactly(stream.read(length := _read_length(stream)), length)
                    kind = head >> 4
                    if kind == _CONNECT:
                        version = body[_VERSION_AT]
                        answer = _CONNACK + (b"\x03\0\0\0" if version == _MQTT_5 else b"\x02\0\0")
                    elif kind == _SUBSCRIBE:
                        properties = b"\0" if version == _MQTT_5 else b""
                        granted = body[:2] + properties + bytes([1]) * _count_filters(body, version)
                        answer = _SUBACK + bytes([len(granted)]) + granted
                    elif kind == _PUBLISH:
                        self.received += 1
                        topic_ends = 2 + int.from_bytes(body[:2], "big")
                        answer = _PUBACK + body[topic_ends : topic_ends + 2] if head & _QOS_1 else b""
                    elif kind == _DISCONNECT:
                        return
                    else:
                        answer = _PONG if kind == _PING else b""
                    if answer:
                        self._client.sendall(answer)


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise EOFError
    return data


def _read_length(stream: BinaryIO) -> int:
    length = 0
    for place in range(_LENGTH_BYTES):
        byte = _exactly(stream.read(1), 1)[0]
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that another byte follows
            return length
    raise EOFError


def _count_filters(body: bytes, version: int) -> int:
    """Counts the topics of a SUBSCRIBE, whose properties are taken to be empty."""
    at, count = (3 if version == _MQTT_5 else 2), 0
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    return count
