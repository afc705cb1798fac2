"""Sequences of states through codec 1, as a device sends them, and what subscribers get out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.twin.codec.coder import PayloadDecoder, PayloadEncoder, Position
from twin_edge.twin.codec.tables import CodecTables
from twin_edge.twin.packet import HEADER_BYTES

KEY_EVERY_S: Final = 10.0
"""A device sends a key at least this often."""
_HEADER: Final = bytes(HEADER_BYTES)

States = npt.NDArray[np.int8]
"""States in time order, int8 of shape (n, state length)."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What became of some sequences of states."""

    payloads: tuple[int, ...]
    """Bytes of each packet's payload, in order, over all sequences."""
    decoded: tuple[States, ...]
    """What subscribers see of each sequence."""


@dataclass(frozen=True, slots=True)
class Stream:
    """How states are sent."""

    tables: CodecTables
    """The twin's tables."""
    batch: int
    """States of a packet, 1-64."""
    fps: float
    """States per second."""
    key_every_s: float | None = KEY_EVERY_S
    """Most seconds from one key to the next, above 0; None codes one key for each sequence."""

    def code(self, sequences: Sequence[States], level: int) -> Coded:
        """Codes sequences at a level and decodes them again.

        Args:
            sequences: The states; each sequence begins with a key.
            level: Level of the tables, from 0.

        Raises:
            RuntimeError: Decoder and encoder do not agree: the codec is broken.
        """
        parts = [self._code_one(states, level) for states in sequences]
        return Coded(tuple(size for part in parts for size in part.payloads), tuple(part.decoded[0] for part in parts))

    def _code_one(self, states: States, level: int) -> Coded:
        encoder, decoder = PayloadEncoder(self.tables, level), PayloadDecoder(self.tables)
        interval_ms = round(1000 / self.fps)
        most = math.inf if self.key_every_s is None else self.key_every_s * self.fps
        position: Position | None = None
        since_key = 0
        sizes, seen = [], []
        for start in range(0, len(states), self.batch):
            key = position is None or since_key + self.batch > most
            since_key = self.batch if key else since_key + self.batch
            payload, sent = encoder.encode(states[start : start + self.batch], _HEADER, interval_ms, key=key)
            got, _, position = decoder.decode(payload, len(sent), _HEADER, None if key else position)
            if not np.array_equal(got, sent):
                raise RuntimeError("the decoder gave other states than the encoder")
            sizes.append(len(payload))
            seen.append(got)
        return Coded(tuple(sizes), (np.concatenate(seen),))
