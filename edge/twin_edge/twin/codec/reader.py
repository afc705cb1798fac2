"""Packets of a subscriber: each is read with what the one before it came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twin_edge.errors import LostPacketError, MessageError
from twin_edge.twin.codec.coder import PayloadDecoder, Position
from twin_edge.twin.codec.tables import CodecTables
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, Packet, PacketHeader, seq_distance

_U32: Final = 0xFFFF_FFFF
_FLAGS_AT: Final = 1
_KEY: Final = int(Flags.KEY)


@dataclass(frozen=True, slots=True)
class _Chain:
    session: int
    last: int
    position: Position


def checked_header(header: PacketHeader) -> bytes:
    """Returns what the check of a payload covers of its header: all but flags that may be set on the way."""
    return header.encode(flags=header.flags & Flags.KEY)


class PacketReader:
    """Reads the packets of one twin in the order in which they come.

    Args:
        tables: The codec tables of its bundle.
        decoder: Decodes with these tables; one of its own when None. Readers may share one within a thread.

    Attributes:
        needs_key: Whether packets are refused until the next key packet.
    """

    def __init__(self, tables: CodecTables, decoder: PayloadDecoder | None = None) -> None:
        self._length = tables.length
        self._decoder = decoder or PayloadDecoder(tables)
        self._chain: _Chain | None = None
        self.needs_key = False

    def read(self, data: bytes) -> Packet:
        """Reads an untrusted packet.

        Raises:
            LostPacketError: It follows a packet that has not come, or was refused.
            MessageError: It does not fit, has been changed, or came already.
        """
        header = PacketHeader.decode(data)
        if header.codec != Codec.DELTA:
            return Packet.decode(data, state_length=self._length)
        key = bool(data[_FLAGS_AT] & _KEY)
        before = None if key else self._before(header)
        payload = data[HEADER_BYTES:]
        # The same as `checked_header`, without making it anew.
        checked = data[:_FLAGS_AT] + (b"\1" if key else b"\0") + data[_FLAGS_AT + 1 : HEADER_BYTES]
        try:
            states, offsets, position = self._decoder.decode(payload, header.count, checked, before)
        except MessageError:
            # What it was is lost, and all that follows hangs on it.
            if not key:
                self._chain, self.needs_key = None, True
            raise
        last = (header.seq + header.count - 1) & _U32
        chain = self._chain
        # A key comes twice, and the second time it is old news.
        if chain is None or chain.session != header.session or seq_distance(last, chain.last) >= 0:
            self._chain = _Chain(header.session, last, position)
            self.needs_key = False
        return Packet(
            header.model, header.session, header.seq, header.time_us, states, offsets, header.flags,
            Codec.DELTA, payload,
        )  # fmt: skip

    def _before(self, header: PacketHeader) -> Position:
        chain = self._chain
        if chain is not None and chain.session == header.session:
            distance = seq_distance(header.seq, chain.last)
            if distance == 1:
                return chain.position
            if distance < 1:
                raise MessageError("a packet came already")
        self._chain, self.needs_key = None, True
        raise LostPacketError("a packet follows one that has not come")
