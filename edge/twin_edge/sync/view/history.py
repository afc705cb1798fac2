"""What comes late, after an outage: in order among itself, and never what has been seen already."""

from __future__ import annotations

from typing import Final

from twin_edge.sync.view.bundles import LoadedBundle
from twin_edge.sync.view.coverage import Coverage
from twin_edge.twin.codec import PacketReader
from twin_edge.twin.packet import Packet, PacketHeader

_MAX_BUNDLES: Final = 4
"""Bundles of a twin whose history can be read: the current one, and the ones before it."""


class History:
    """Reads the historical packets of one twin.

    They have a chain and an order of their own, so that what comes late does not disturb what comes live.

    Attributes:
        states: States that were new.
        duplicates: States that had come already, or too late to stand in order.
    """

    def __init__(self) -> None:
        self.states = self.duplicates = 0
        self._seen = Coverage()
        self._bundles: dict[int, tuple[LoadedBundle, PacketReader]] = {}
        self._last = (-1, -1)

    def use(self, loaded: LoadedBundle) -> None:
        """Takes a bundle of the twin."""
        model = loaded.bundle.model_id
        self._bundles.pop(model, None)
        self._bundles[model] = (loaded, loaded.reader())
        if len(self._bundles) > _MAX_BUNDLES:
            del self._bundles[next(iter(self._bundles))]

    def seen(self, session: int, first: int, last: int) -> None:
        """Notes a range of states that came live."""
        self._seen.add(session, first, last)

    def read(self, data: bytes) -> tuple[LoadedBundle, Packet, list[int]] | None:
        """Reads an untrusted packet.

        Returns:
            Its bundle, the packet, and the places of the states in it that are new; None when it is of a bundle that
            we do not have.

        Raises:
            LostPacketError: It follows a packet that has not come.
            MessageError: It does not fit, or has been changed.
        """
        header = PacketHeader.decode(data)
        loaded, reader = self._bundles.get(header.model, (None, None))
        if loaded is None or reader is None:
            return None
        packet = reader.read(data)
        new = []
        for place, seq in enumerate(packet.seqs()):
            here = (packet.session, seq)
            if here <= self._last or self._seen.has(*here):
                self.duplicates += 1
                continue
            new.append(place)
            self._last = here
            self._seen.add(packet.session, seq, seq)
        self.states += len(new)
        return loaded, packet, new
