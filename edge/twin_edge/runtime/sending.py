"""Sending states: in packets of several, with key packets in time, and no more than the rate allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from twin_edge.bundle import Bundle
from twin_edge.errors import ConfigError
from twin_edge.twin.codec import CodecTables, PacketWriter
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, Packet

KEY_EVERY_S: Final = 10.0
DEFAULT_QUALITY: Final = 1
_ADJUST_EVERY_S: Final = 3.0
_ROOM: Final = 0.85
"""A finer level must fit into this share of the rate, or it would be left again at once."""

State = npt.NDArray[np.int8]


class PacketSink(Protocol):
    """Where packets go: the device's link."""

    def publish(self, packet: Packet) -> bool:
        """Sends a packet, without ever waiting."""

    @property
    def stands_alone(self) -> bool:
        """Whether a packet must be a key packet, because what comes before it did not go live."""

    def take_resync(self) -> bool:
        """Returns whether a key packet is wanted since this was last asked."""


@dataclass(frozen=True, slots=True)
class SendingConfig:
    """How states are sent."""

    codec: Codec = Codec.DELTA
    """How they are coded."""
    batch_ms: float = 250.0
    """How long a state may wait for others, milliseconds, 0-10000; 0 sends each one at once."""
    quality: int = DEFAULT_QUALITY
    """Level of the codec to send with, or to begin with when there is a rate; 0 is the finest."""
    kbps: float | None = None
    """Rate to keep to on average, headers included, kbit/s, above 0; None keeps to the level."""


class RateControl:
    """Chooses the level by what was really sent: every 3 s, coarser at once, finer one by one and with room to spare.

    Args:
        tables: Codec tables of the bundle.
        level: The level to begin with.
        kbps: Rate to keep to, kbit/s, above 0.
    """

    def __init__(self, tables: CodecTables, level: int, kbps: float) -> None:
        self._bits = [max(one.bits, 1e-3) for one in tables.levels]
        self._kbps = kbps
        self.level = level
        self._since_s: float | None = None
        self._header_bytes = self._payload_bytes = 0

    def add(self, packet: Packet, now_s: float) -> int:
        """Takes a packet that was made at a monotonic time in seconds; returns the level for the next one."""
        if self._since_s is None:
            # What went before it, and how long that took, is not known.
            self._since_s = now_s
            return self.level
        self._header_bytes += HEADER_BYTES
        self._payload_bytes += len(packet.payload)
        passed_s = now_s - self._since_s
        if passed_s >= _ADJUST_EVERY_S:
            headers, payload = (8e-3 * n / passed_s for n in (self._header_bytes, self._payload_bytes))
            self._adjust(headers, payload)
            self._since_s = now_s
            self._header_bytes = self._payload_bytes = 0
        return self.level

    def _adjust(self, headers_kbps: float, payload_kbps: float) -> None:
        level, bits = self.level, self._bits
        expected = [headers_kbps + payload_kbps * one / bits[level] for one in bits]
        if expected[level] > self._kbps:
            fitting = [n for n in range(level + 1, len(bits)) if expected[n] <= self._kbps]
            self.level = fitting[0] if fitting else len(bits) - 1
        elif level and expected[level - 1] <= _ROOM * self._kbps:
            self.level = level - 1


def check_quality(quality: int, levels: int) -> None:
    """Refuses a quality that a bundle with so many levels does not have.

    Raises:
        ConfigError: It is not from 0 to `levels` - 1.
    """
    if quality >= levels:
        raise ConfigError(f"quality is {quality}, the bundle has the levels 0-{levels - 1}", fix="choose one of them")


class StateSender:
    """Sends the states of one session; for one thread.

    Args:
        sink: Where packets go.
        bundle: What the states are made with.
        session: Number of this process start.
        config: How to send them.

    Raises:
        ConfigError: The bundle has no such level.

    Attributes:
        states: States in the packets that were made.
        packets: Packets that were made.
        payload_bytes: Bytes of their payloads, the headers of 24 bytes not included.
    """

    def __init__(self, sink: PacketSink, bundle: Bundle, session: int, config: SendingConfig) -> None:
        self._levels = len(bundle.codec.levels)
        self._sink = sink
        self._tables = tables = bundle.codec if config.codec == Codec.DELTA else None
        self._writer = PacketWriter(bundle.model_id, session, tables, batch_ms=config.batch_ms)
        self._kbps: float | None = None
        self._rate: RateControl | None = None
        self._is_coded = tables is not None
        self.set_quality(config.quality)
        self.set_kbps(config.kbps)
        self._key_s = -np.inf
        self._waiting_since_s: float | None = None
        self.states = self.packets = self.payload_bytes = 0

    @property
    def level(self) -> int:
        """Level of the next packet."""
        return self._writer.level

    @property
    def batch_ms(self) -> float:
        """How long a state may wait for others, milliseconds."""
        return self._writer.batch_ms

    def set_batch_ms(self, batch_ms: float) -> None:
        """Changes how long a state may wait for others, milliseconds, 0-10000."""
        self._writer.batch_ms = batch_ms

    def set_quality(self, quality: int) -> None:
        """Changes the level, or that from which a rate is kept to.

        Raises:
            ConfigError: The bundle has no such level.
        """
        check_quality(quality, self._levels)
        self._writer.level = quality
        self.set_kbps(self._kbps)

    def set_kbps(self, kbps: float | None) -> None:
        """Changes the rate to keep to, kbit/s, above 0; None keeps to the level that there is now."""
        self._kbps = kbps
        tables = self._tables
        self._rate = None if tables is None or kbps is None else RateControl(tables, self._writer.level, kbps)

    @property
    def packet_bytes(self) -> int:
        """Bytes of the packets that were made, headers included."""
        return self.payload_bytes + HEADER_BYTES * self.packets

    def put(self, state: State, seq: int, time_us: int, now_s: float) -> None:
        """Takes a state, and sends the packets that are ready.

        Args:
            state: int8 of shape (length,); it must not be changed afterwards.
            seq: Its number, u32.
            time_us: When its frame was captured, microseconds since the epoch.
            now_s: Monotonic time, seconds.
        """
        key = self._wants_key(now_s)
        self._sent(self._writer.put(state, seq, time_us, key=key), now_s, key=key)

    def send_last(self, state: State, seq: int, time_us: int, now_s: float) -> None:
        """Sends what waits, and a state once more in a key packet of its own, for those who come when we have gone."""
        self._sent(self._writer.put(state, seq, time_us, key=True), now_s, key=True)
        self._publish(self._writer.flush(), now_s)

    def send_overdue(self, now_s: float) -> None:
        """Sends what has waited long enough, because no frame comes that would send it."""
        if self._waiting_since_s is not None and now_s - self._waiting_since_s >= self.batch_ms / 1e3:
            self._waiting_since_s = None
            self._publish(self._writer.flush(), now_s)

    def _wants_key(self, now_s: float) -> bool:
        since_s = now_s - self._key_s
        if self._sink.take_resync() or since_s >= KEY_EVERY_S:
            return True
        # Raw packets can be read by themselves anyway.
        return self._is_coded and not self._writer.waiting and self._sink.stands_alone

    def _sent(self, packets: tuple[Packet, ...], now_s: float, *, key: bool) -> None:
        """Does what is to be done when the writer has taken a state and has given packets."""
        if key:
            self._key_s = now_s
        waiting = self._writer.waiting
        if not waiting:
            self._waiting_since_s = None
        elif packets or waiting == 1:
            self._waiting_since_s = now_s
        self._publish(packets, now_s)

    def _publish(self, packets: tuple[Packet, ...], now_s: float) -> None:
        for packet in packets:
            if packet.flags & Flags.KEY:
                # A cut made it by itself, when its first state came.
                self._key_s = max(self._key_s, now_s - self.batch_ms / 1e3)
            self.packets += 1
            self.states += len(packet.states)
            self.payload_bytes += packet.payload_bytes
            self._sink.publish(packet)
            if self._rate is not None:
                self._writer.level = self._rate.add(packet, now_s)
