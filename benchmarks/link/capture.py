"""A capture of the loopback: the bytes of one port as they are on the wire, IP and TCP headers included."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self

_ETH_P_IP: Final = 0x0800
_POLL_S: Final = 0.1


class Capture:
    """Counts what goes to a port of the loopback and comes back from it; a context manager.

    Args:
        port: Of the broker.

    Raises:
        PermissionError: Only root may capture.

    Attributes:
        up: Bytes to the port.
        down: Bytes from it.
        packets_up: Packets to it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.up = self.down = self.packets_up = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.settimeout(_POLL_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    # A socket for one protocol sees what comes in, and so each packet of the loopback once.

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                self._count(self._socket.recv(128))

    def _count(self, data: bytes) -> None:
        header = (data[0] & 15) * 4
        length = int.from_bytes(data[2:4], "big")
        if data[9] != socket.IPPROTO_TCP:
            return
        source, target = struct.unpack_from(">HH", data, header)
        if target == self._port:
            self.up += length
            self.packets_up += 1
        elif source == self._port:
            self.down += length
