"""Which twins to follow, and the few subscriptions that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from twin_edge.errors import ConfigError
from twin_edge.sync.wire.topics import PREFIX, TwinId

EVERY: Final = "*/*"
"""Matches every twin of a broker."""
MAX_PATTERNS: Final = 64
_ANY: Final = "+"
_PART: Final = re.compile(r"[A-Za-z0-9_.*-]{1,128}")


@dataclass(frozen=True, slots=True)
class TwinPattern:
    """Names twins as `<namespace>/<device>`, where each `*` stands for any characters within its part."""

    namespace: str
    """Such as `org.acme`, `org.*` or `*`."""
    device: str
    """Such as `cam-01`, `cam-*` or `*`."""

    @classmethod
    def parse(cls, text: str) -> TwinPattern:
        """Reads `<namespace>/<device>` with wildcards.

        Raises:
            ConfigError: It is not of this form.
        """
        namespace, slash, device = text.partition("/")
        pattern = cls(namespace, device)
        if not slash or not _PART.fullmatch(namespace) or not _PART.fullmatch(device):
            raise ConfigError(
                f"{text!r:.200} names no twins",
                fix="give NAMESPACE/DEVICE, * for any part of a name, such as org.acme/* or */*",
            )
        if pattern.exact:
            TwinId(namespace, device)
        return pattern

    @property
    def exact(self) -> bool:
        """Whether it names one twin."""
        return "*" not in self.namespace and "*" not in self.device

    @property
    def root(self) -> str:
        """What the topics of all its twins, and perhaps of others, begin with, as MQTT matches them."""
        parts = (_ANY if "*" in part else part for part in (self.namespace, self.device))
        return f"{PREFIX}/{'/'.join(parts)}/"

    def matches(self, twin: TwinId) -> bool:
        """Returns whether it names a twin."""
        return _matches(self.namespace, twin.namespace) and _matches(self.device, twin.device)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.device}"


def parse_patterns(twins: str | Iterable[str]) -> tuple[TwinPattern, ...]:
    """Reads one pattern or several.

    Raises:
        ConfigError: One is malformed, or there are none, or more than 64.
    """
    texts = [twins] if isinstance(twins, str) else list(twins)
    if not 1 <= len(texts) <= MAX_PATTERNS:
        raise ConfigError(f"{len(texts)} patterns of twins", fix=f"give 1 to {MAX_PATTERNS}, or {EVERY} for all twins")
    return tuple(TwinPattern.parse(text) for text in texts)


def roots(patterns: Sequence[TwinPattern]) -> list[str]:
    """Returns what the topics begin with that patterns need, without those that others cover.

    A broker may send a message once for each subscription that it matches.
    """
    wanted = sorted({pattern.root for pattern in patterns})
    return [root for root in wanted if not any(other != root and _covers(other, root) for other in wanted)]


def _covers(root: str, other: str) -> bool:
    return all(a in {_ANY, b} for a, b in zip(root.split("/"), other.split("/"), strict=True))


def _matches(pattern: str, name: str) -> bool:
    # Pieces between the stars, found from left to right: no backtracking, whatever the pattern.
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    *middle, last = rest
    if len(first) + len(last) > len(name) or not name.startswith(first) or not name.endswith(last):
        return False
    place, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True
