"""A bundle in blocks: how it lies on the broker, retained, so that a subscriber needs nothing else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from twin_edge import strict_json
from twin_edge.bundle.archive import MAX_BUNDLE_BYTES, Bundle
from twin_edge.bundle.checks import Item
from twin_edge.errors import ManifestError, MessageError

BLOCK_BYTES: Final = 32 * 1024
"""Length of every block but the last one."""
MIN_BLOCK_BYTES: Final = 1024
MAX_INDEX_BYTES: Final = 256 * 1024
_SCHEMA: Final = 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = ("schema", "digest", "sha256", "size", "block_bytes", "blocks")


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """What blocks make up a bundle."""

    digest: str
    """Digest of the bundle, as in the codec message."""
    sha256: str
    """sha256 of the whole file."""
    size: int
    """Bytes of the whole file, 1 to 64 MiB."""
    block_bytes: int
    """Bytes of every block but the last, 1024-32768."""
    blocks: tuple[str, ...]
    """sha256 of each block."""

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def to_bytes(self) -> bytes:
        """Returns the payload of `up/bundle/index`; equal indexes give equal bytes."""
        return strict_json.dump(
            {
                "schema": _SCHEMA,
                "digest": self.digest,
                "sha256": self.sha256,
                "size": self.size,
                "block_bytes": self.block_bytes,
                "blocks": list(self.blocks),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> BundleIndex:
        """Reads an untrusted index.

        Raises:
            MessageError: It is not one, or its numbers do not agree.
        """
        try:
            item = Item("", strict_json.parse(data, max_bytes=MAX_INDEX_BYTES, max_depth=3)).only(*_KEYS)
            item["schema"].whole(low=_SCHEMA, high=_SCHEMA)
            size = item["size"].whole(low=1, high=MAX_BUNDLE_BYTES)
            length = item["block_bytes"].whole(low=MIN_BLOCK_BYTES, high=BLOCK_BYTES)
            count = -(-size // length)
            blocks = item["blocks"].list(least=count, most=count)
            return cls(
                item["digest"].text(pattern=_DIGEST),
                item["sha256"].text(pattern=_DIGEST),
                size,
                length,
                tuple(block.text(pattern=_DIGEST) for block in blocks),
            )
        except (ManifestError, ValueError) as error:
            raise MessageError(f"a bundle index is refused ({error})") from error


def split(bundle: Bundle) -> tuple[BundleIndex, list[bytes]]:
    """Returns the index and the blocks of a bundle."""
    data = bundle.data
    blocks = [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]
    index = BundleIndex(
        bundle.digest,
        hashlib.sha256(data).hexdigest(),
        len(data),
        BLOCK_BYTES,
        tuple(hashlib.sha256(block).hexdigest() for block in blocks),
    )
    return index, blocks


class Assembler:
    """Puts a bundle together from blocks that come in any order, and any number of times.

    Args:
        index: What the blocks have to be.
    """

    def __init__(self, index: BundleIndex) -> None:
        self.index = index
        self._blocks: dict[int, bytes] = {}

    def add(self, number: int, data: bytes) -> bool:
        """Takes one untrusted block.

        Args:
            number: Which one, counted from 0.
            data: Its bytes.

        Returns:
            Whether it belongs to this bundle; blocks of another one may still lie around on the broker.
        """
        if not 0 <= number < self.index.count or len(data) > self.index.block_bytes:
            return False
        if number not in self._blocks:
            if hashlib.sha256(data).hexdigest() != self.index.blocks[number]:
                return False
            self._blocks[number] = data
        return True

    @property
    def missing(self) -> int:
        """Number of blocks that have not come yet."""
        return self.index.count - len(self._blocks)

    def bundle(self) -> Bundle:
        """Returns the verified bundle.

        Raises:
            MessageError: Blocks are missing, or together they are not what the index says.
            BundleError: They are not a bundle that this release can use.
        """
        if self.missing:
            raise MessageError(f"{self.missing} blocks of the bundle are missing")
        data = b"".join(self._blocks[number] for number in range(self.index.count))
        if len(data) != self.index.size or hashlib.sha256(data).hexdigest() != self.index.sha256:
            raise MessageError("the blocks of the bundle do not make the file of its index")
        bundle = Bundle.from_bytes(data)
        if bundle.digest != self.index.digest:
            raise MessageError("the bundle in the blocks is another one than its index says")
        return bundle
