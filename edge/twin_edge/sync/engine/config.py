"""How the link engine keeps what waits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin_edge.errors import ConfigError

DEFAULT_SPOOL_BYTES: Final = 8 * 1024 * 1024
MIN_SPOOL_BYTES: Final = 256 * 1024
MAX_SPOOL_BYTES: Final = 4 * 1024 * 1024 * 1024
SHM_BYTES: Final = 32 * 1024
"""The index of the write-ahead log, which lies beside it."""
WAL_SHARE: Final = 16
"""One part in so many of the cap is what the write-ahead log may take before it goes into the file."""
_FILE_SHARE: Final = 13 / 16
"""Share of the cap for the file; the log may take its part, and as much again as one transaction needs."""
_PAYLOAD_SHARE: Final = 0.9
"""Share of the file that messages may take; the rest is for what the database needs around them."""
_YOUNGEST_BYTES: Final = 32 * 1024
"""The youngest block of history takes up to twice its bytes, because it is there in many parts."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Bounds of the link engine.

    Raises:
        ConfigError: A bound is out of range.
    """

    folder: Path | None = None
    """Where the spool lies; nothing is written when None, and a restart loses what waits."""
    max_bytes: int = DEFAULT_SPOOL_BYTES
    """Bytes of the spool's files, and of what waits in memory, at most: 256 KiB to 4 GiB."""
    free_floor_bytes: int = 16 * 1024 * 1024
    """Nothing is written to a disk that has less space left than this."""
    ttl_s: float = 7 * 86_400.0
    """How long a critical message may wait before it expires, seconds of running time, above 0."""
    max_message_bytes: int = 128 * 1024
    """Longest message that is taken, topic and payload, whatever the broker allows."""

    def __post_init__(self) -> None:
        if not MIN_SPOOL_BYTES <= self.max_bytes <= MAX_SPOOL_BYTES:
            raise ConfigError(f"a spool of {self.max_bytes} bytes", fix="give it 0.25 to 4096 MB")
        if not self.ttl_s > 0 or self.max_message_bytes <= 0 or self.free_floor_bytes < 0:
            raise ConfigError("the bounds of the spool must be above 0", fix="correct them")

    @property
    def payload_bytes(self) -> int:
        """Bytes that the messages which wait may have together."""
        return int(_PAYLOAD_SHARE * self.file_bytes) - _YOUNGEST_BYTES

    @property
    def file_bytes(self) -> int:
        """Bytes that the file of the spool may have, its write-ahead log and the index of that not counted."""
        return int(_FILE_SHARE * (self.max_bytes - SHM_BYTES))
