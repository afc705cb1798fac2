"""What codec 1 must know of a twin: steps, predictors and frequencies, a member of the bundle.

Everything that decoding needs is a whole number, so that every subscriber, in any language, decodes the same states.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.errors import IntegrityError, ManifestError
from twin_edge.twin.codec.order import INTRA, KINDS

SCHEMA: Final = 2
MAX_TABLES_BYTES: Final = 256 * 1024
_INDEX: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
"""One character for the number of a table."""

PRECISION_BITS: Final = 12
TOTAL: Final = 1 << PRECISION_BITS
"""The frequencies of a table add up to this."""
LARGEST: Final = 15
"""Largest number of steps that has a symbol of its own; symbol `n + LARGEST` stands for n steps."""
ESCAPE: Final = 2 * LARGEST + 1
"""The symbol of any other number of steps, which follows in raw bits."""
SYMBOLS: Final = ESCAPE + 1
ESCAPED_BITS: Final = 9
"""Raw bits after an escape: the sign, and eight for the size."""
ESCAPED_SIGN: Final = 1 << (ESCAPED_BITS - 1)
ACTIVITY_ONE: Final = 16
"""What one step adds to the activity of a frame."""
FADING: Final = 3
"""The activity loses an eighth with each value."""
CONTEXTS: Final = 5
"""How active the frame has been so far: classes."""
MAX_TABLES: Final = len(_INDEX)
MAX_LEVELS: Final = 8
WEIGHT_ONE: Final = 16
"""The weight of a predictor that holds the value it is given."""
MAX_STEP: Final = 255
STEP_ONE: Final = 16
"""The steps of a level are in sixteenths: they are scaled before they are rounded."""


Slots = list[tuple[int | None, int, int, int]]
"""For each of the 4096 slots of a table: the number of steps, None for the escape; frequency and start of its symbol;
and what it adds to the activity."""


@dataclass(frozen=True, slots=True)
class Level:
    """One quality."""

    steps: tuple[int, ...]
    """Quantization step of each value, sixteenths of an int8 unit, 1-4080; 0 for one that is not sent and stays at its
    mean. What is coded with it takes the whole units that this comes to, one at least."""
    tradeoff: float
    """What a bit is worth to the encoder, squared steps per bit, 0-10."""
    bits: float
    """Mean bits of a state at a live camera's rate where the tables were fitted, 0-100000: what a rate needs."""
    loss_db: float
    """Mean PSNR that quantization cost there, dB, 0-100."""
    tables: tuple[tuple[tuple[int, ...], ...], ...]
    """Number of the frequency table, by kind of prediction, context and value; see `order.KINDS`."""


@dataclass(frozen=True)
class CodecTables:
    """Steps, predictors and frequencies of one twin."""

    means: tuple[int, ...]
    """Mean of each state value, int8; its number is the state length."""
    weights: tuple[tuple[int, ...], ...]
    """By kind of prediction (9) and value: what part of the known value's distance to the mean is expected again,
    sixteenths, 0-16. Kind 0 has zeros only: it predicts the mean."""
    frequencies: tuple[tuple[int, ...], ...]
    """Frequencies of the 32 symbols, each 1 or more, 4096 in all; 1-62 tables."""
    levels: tuple[Level, ...]
    """The qualities, finest first, 1-8."""

    @property
    def length(self) -> int:
        """Values of a state."""
        return len(self.means)

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """For each table, the sum of the frequencies before each symbol."""
        return tuple(tuple(int(n) for n in np.cumsum((0, *table[:-1]))) for table in self.frequencies)

    @cached_property
    def symbols(self) -> tuple[bytes, ...]:
        """For each table, the symbol of each of the 4096 slots."""
        return tuple(bytes(np.repeat(np.arange(SYMBOLS, dtype=np.uint8), table)) for table in self.frequencies)

    @cached_property
    def slots(self) -> tuple[Slots, ...]:
        """For each table, what decoding needs of each slot; only decoders need them."""
        tables = []
        for starts, frequencies in zip(self.starts, self.frequencies, strict=True):
            slots: Slots = []
            for symbol, (start, frequency) in enumerate(zip(starts, frequencies, strict=True)):
                count = None if symbol == ESCAPE else symbol - LARGEST
                growth = ACTIVITY_ONE * (LARGEST if count is None else abs(count))
                slots += [(count, frequency, start, growth)] * frequency
            tables.append(slots)
        return tuple(tables)

    @cached_property
    def spans(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each table, start and number of the slots of n steps at index n, below zero too, and of the escape.

        The escape is at `LARGEST + 1`. Only encoders need them.
        """
        tables = []
        for starts, frequencies in zip(self.starts, self.frequencies, strict=True):
            *steps, escape = zip(starts, frequencies, strict=True)
            tables.append((*steps[LARGEST:], escape, *steps[:LARGEST]))
        return tuple(tables)

    @cached_property
    def costs(self) -> tuple[tuple[float, ...], ...]:
        """For each table, the bits of each symbol; only encoders need them."""
        return tuple(tuple(float(n) for n in -np.log2(np.array(table) / TOTAL)) for table in self.frequencies)

    @cached_property
    def mean_state(self) -> npt.NDArray[np.int64]:
        """The mean state, int64 of shape (length,)."""
        return np.array(self.means, np.int64)

    def to_bytes(self) -> bytes:
        """Returns the bundle's member; equal tables give equal bytes."""
        return strict_json.dump(
            {
                "schema": SCHEMA,
                "means": self.means,
                "weights": self.weights,
                "frequencies": self.frequencies,
                "levels": [_level_to_json(level) for level in self.levels],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, state_length: int) -> CodecTables:
        """Reads an untrusted member.

        Args:
            data: The member.
            state_length: Values of a state, by the manifest.

        Raises:
            IntegrityError: It is not readable, or not of this twin's states.
        """
        try:
            tree = strict_json.parse(data, max_bytes=MAX_TABLES_BYTES, max_depth=5)
            if isinstance(tree, dict) and (schema := tree.get("schema")) != SCHEMA:
                later = type(schema) is int and schema > SCHEMA
                raise IntegrityError(
                    f"the codec tables have schema {schema!r:.40}, this release reads schema {SCHEMA}",
                    fix="a later release made them: upgrade twin-edge"
                    if later
                    else "make the bundle again where it was trained, with 'twin-convert runs/NAME --force'",
                )
            return cls._from_item(Item("codec", tree), state_length)
        except (ManifestError, ValueError) as error:
            message = error.message if isinstance(error, ManifestError) else str(error)
            raise IntegrityError(
                f"the codec tables are wrong ({message})", fix="get the bundle again from where it was made"
            ) from error

    @classmethod
    def _from_item(cls, item: Item, length: int) -> CodecTables:
        item.only("schema", "means", "weights", "frequencies", "levels")
        item["schema"].whole(low=SCHEMA, high=SCHEMA)
        weights = tuple(
            _wholes(row, length, low=0, high=WEIGHT_ONE) for row in item["weights"].list(least=KINDS, most=KINDS)
        )
        if any(weights[INTRA]):
            raise ManifestError("'codec.weights[0]' must be zeros")
        frequencies = tuple(
            _wholes(row, SYMBOLS, low=1, high=TOTAL) for row in item["frequencies"].list(least=1, most=MAX_TABLES)
        )
        if any(sum(table) != TOTAL for table in frequencies):
            raise ManifestError(f"'codec.frequencies' must add up to {TOTAL} in each table")
        return cls(
            _wholes(item["means"], length, low=-128, high=127),
            weights,
            frequencies,
            tuple(
                _level(entry, length, tables=len(frequencies))
                for entry in item["levels"].list(least=1, most=MAX_LEVELS)
            ),
        )


def _level_to_json(level: Level) -> dict[str, Any]:
    return {
        "steps": level.steps,
        "tradeoff": level.tradeoff,
        "bits": level.bits,
        "loss_db": level.loss_db,
        "tables": [["".join(_INDEX[n] for n in row) for row in kind] for kind in level.tables],
    }


def _level(item: Item, length: int, *, tables: int) -> Level:
    item.only("steps", "tradeoff", "bits", "loss_db", "tables")
    return Level(
        _wholes(item["steps"], length, low=0, high=MAX_STEP * STEP_ONE),
        item["tradeoff"].number(low=0, high=10),
        item["bits"].number(low=0, high=1e5),
        item["loss_db"].number(low=0, high=100),
        tuple(
            tuple(_indices(row, length, tables) for row in kind.list(least=CONTEXTS, most=CONTEXTS))
            for kind in item["tables"].list(least=KINDS, most=KINDS)
        ),
    )


def _wholes(item: Item, count: int, *, low: int, high: int) -> tuple[int, ...]:
    return tuple(entry.whole(low=low, high=high) for entry in item.list(least=count, most=count))


def _indices(item: Item, length: int, tables: int) -> tuple[int, ...]:
    text = item.value
    if not isinstance(text, str) or len(text) != length or not set(text) <= set(_INDEX[:tables]):
        raise ManifestError(f"'{item.path}' must be {length} characters, each the number of a table")
    return tuple(_INDEX.index(character) for character in text)
