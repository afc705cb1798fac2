"""Packets of outages: a ring of blocks that gets coarser towards its old end before it forgets anything.

When it is full, the oldest blocks are thinned to packets 0.2 s apart, then all of them once more to 1 s, and to 5 s;
only then is the oldest block dropped. A packet is kept or dropped as a whole: its states must be consecutive, so that
taking some out would leave packets of one state each, of which the header is most. Only packets that can be read by
themselves are kept by thinning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.wire.history import VERSION, frame, walk_frames
from twin_edge.twin.packet import HEADER_BYTES, Codec, Flags, PacketHeader

BLOCK_BYTES: Final = 32 * 1024 - 512
"""Where a block ends; with topic and header, a message of one block stays below 32 KiB."""
SPACINGS_S: Final = (0.0, 0.2, 1.0, 5.0)
"""How far apart the packets of a block are, by how often it was thinned."""


@dataclass(slots=True, eq=False)
class Block:
    """Consecutive packets, framed as on the wire."""

    number: int
    """Grows from block to block; also its number on the disk."""
    data: bytearray = field(default_factory=bytearray)
    """The frames."""
    start: int = 0
    """Where the first frame begins that the broker does not have."""
    written: int = 0
    """Up to where it is on the disk."""
    parts: int = 0
    """In how many parts it is there."""
    level: int = 0
    """How often it was thinned, as a place in `SPACINGS_S`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames on their way to the broker."""

    payload: bytes
    """A message as it goes on the wire."""
    ends: tuple[tuple[Block, int], ...]
    """The blocks that they come from, and up to where in each."""
    packets: int
    """How many packets it has."""
    states: int
    """How many states they have."""


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """What the disk has to do to have the same."""

    parts: tuple[tuple[int, int, bytes], ...] = ()
    """New parts: block, number of the part, frames."""
    dropped: tuple[int, ...] = ()
    """Blocks to forget, before the parts are written."""


class History:
    """The ring; not for several threads at once.

    Attributes:
        bytes: What it takes.
        packets: Packets in it.
        states: States in them.
        decimated: States that thinning has dropped.
        dropped: States that were dropped with the oldest blocks.
    """

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._next = 1
        self._gone: list[int] = []
        self._rewritten: set[int] = set()
        self._flying: set[int] = set()
        self.bytes = self.packets = self.states = self.decimated = self.dropped = 0

    @property
    def oldest_us(self) -> int | None:
        """Capture time of the oldest packet, microseconds since the epoch; None when there is none."""
        for block in self._blocks:
            for _, _, header in _packets(block):
                return header.time_us
        return None

    def add(self, packet: bytes, states: int) -> None:
        """Takes a packet.

        Args:
            packet: As it goes on the wire.
            states: How many states it has.

        Raises:
            ValueError: It is too long to be framed.
        """
        framed = frame(packet)
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.level or (last.data and len(last.data) + len(framed) > BLOCK_BYTES):
            if last is not None and last.parts > 1:
                self._write_anew(last)
            last = Block(self._next)
            self._next += 1
            self._blocks.append(last)
        last.data += framed
        self.bytes += len(framed)
        self.packets += 1
        self.states += states

    def take(self, max_bytes: int) -> Batch | None:
        """Returns the oldest packets that are not on their way, `max_bytes` of them but one at least; None without."""
        data, ends, count, states = bytearray(), [], 0, 0
        for block in self._blocks:
            if block.number in self._flying:
                continue
            end = block.start
            for begin, after, header in _packets(block):
                if data and len(data) + after - begin > max_bytes:
                    break
                data += block.data[begin:after]
                end, count, states = after, count + 1, states + header.count
            if end > block.start:
                ends.append((block, end))
            if end < len(block.data):
                break
        if not data:
            return None
        self._flying |= {block.number for block, _ in ends}
        return Batch(bytes((VERSION,)) + data, tuple(ends), count, states)

    def done(self, batch: Batch) -> None:
        """The broker has these packets."""
        self._land(batch)
        for block, end in batch.ends:
            self.bytes -= end - block.start
            block.start = end
            if end == len(block.data):
                self._forget(block)
        self.packets -= batch.packets
        self.states -= batch.states

    def take_back(self, batch: Batch) -> None:
        """The broker may not have these packets: they wait again."""
        self._land(batch)

    def shrink(self, max_bytes: int) -> None:
        """Thins, then drops, until it takes `max_bytes` at most; what is on its way or still grows comes last."""
        while self.bytes > max_bytes:
            resting = [block for block in list(self._blocks)[:-1] if block.number not in self._flying]
            if not resting:
                resting = [block for block in self._blocks if block.number not in self._flying]
                if not resting:
                    return
            finest = min(block.level for block in resting)
            block = next(block for block in resting if block.level == finest)
            if finest + 1 < len(SPACINGS_S):
                self._thin(block)
            else:
                self.dropped += self._count(block, -1)
                self._forget(block)

    def disk_changes(self) -> DiskChanges:
        """Returns what has changed since it was last asked; what was asked for counts as written."""
        dropped = (*self._gone, *self._rewritten)
        self._gone.clear()
        self._rewritten.clear()
        parts = []
        for block in self._blocks:
            if block.written < len(block.data):
                begin = max(block.written, block.start)
                parts.append((block.number, block.parts, bytes(block.data[begin:])))
                block.written = len(block.data)
                block.parts += 1
        return DiskChanges(tuple(parts), dropped)

    @property
    def dirty(self) -> bool:
        """Whether the disk has something to do."""
        grown = bool(self._blocks) and self._blocks[-1].written < len(self._blocks[-1].data)
        return grown or bool(self._gone) or bool(self._rewritten)

    @property
    def on_disk(self) -> bool:
        """Whether the disk has any of it."""
        return bool(self._gone) or any(block.parts for block in self._blocks)

    def forget_disk(self) -> None:
        """The disk has nothing of it any more."""
        self._gone.clear()
        self._rewritten.clear()
        for block in self._blocks:
            block.written = block.parts = 0

    def restore(self, parts: list[tuple[int, int, bytes]]) -> int:
        """Takes what an earlier process has left; called before anything is added.

        Args:
            parts: Block, number of the part, frames; in order.

        Returns:
            How many parts were unreadable.
        """
        unreadable = 0
        for number, part, data in parts:
            if not self._blocks or self._blocks[-1].number != number:
                self._blocks.append(Block(number))
            block = self._blocks[-1]
            try:
                for _, begin, _ in walk_frames(data):
                    PacketHeader.decode(data[begin : begin + HEADER_BYTES])
            except MessageError:
                unreadable += 1
                continue
            block.data += data
            block.parts = part + 1
        for block in self._blocks:
            block.written = len(block.data)
            self._count(block, 1)
            self._next = max(self._next, block.number + 1)
        return unreadable

    def _land(self, batch: Batch) -> None:
        self._flying -= {block.number for block, _ in batch.ends}

    def _thin(self, block: Block) -> None:
        block.level += 1
        spacing_us = int(1e6 * SPACINGS_S[block.level])
        kept, last_us = bytearray(), self._last_us_before(block)
        for begin, after, header in _packets(block):
            alone = header.codec == Codec.RAW or header.flags & Flags.KEY
            # A clock that was set back begins anew.
            near = last_us is not None and 0 <= header.time_us - last_us < spacing_us
            if alone and not near:
                kept += block.data[begin:after]
                last_us = header.time_us
        if len(kept) == len(block.data) - block.start:
            return
        lost = self._count(block, -1)
        block.data, block.start = kept, 0
        self.decimated += lost - self._count(block, 1)
        self._write_anew(block)
        if not kept:
            self._forget(block)

    def _last_us_before(self, block: Block) -> int | None:
        """Returns the capture time of the last packet of the block before one, None without any."""
        place = self._blocks.index(block)
        times = [header.time_us for _, _, header in _packets(self._blocks[place - 1])] if place else []
        return times[-1] if times else None

    def _write_anew(self, block: Block) -> None:
        """Has the disk take a block as a whole: the parts of a second each take up to twice their bytes there."""
        if block.parts:
            self._rewritten.add(block.number)
        block.written = block.parts = 0

    def _forget(self, block: Block) -> None:
        self._blocks.remove(block)
        if block.parts or block.written or block.number in self._rewritten:
            self._gone.append(block.number)
        self._rewritten.discard(block.number)

    def _count(self, block: Block, sign: int) -> int:
        """Counts what a block has for the broker, in or out; returns how many states that is."""
        counts = [header.count for _, _, header in _packets(block)]
        self.bytes += sign * (len(block.data) - block.start)
        self.packets += sign * len(counts)
        self.states += sign * sum(counts)
        return sum(counts)


def _packets(block: Block) -> Iterator[tuple[int, int, PacketHeader]]:
    """Goes through the packets that the broker does not have: where each frame begins and ends, and its header."""
    for begin, packet, after in walk_frames(block.data, block.start):
        yield begin, after, PacketHeader.decode(bytes(block.data[packet : packet + HEADER_BYTES]))
