"""Times of a recording, as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from twin_edge.errors import ConfigError
from twin_edge.twin.packet import MAX_TIME_US

_AFTER: Final = re.compile(r"\+(?:(\d{1,4}):)??(?:(\d{1,6}):)?(\d{1,9}(?:\.\d{1,6})?)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_iso(text: str) -> int:
    """Returns a time in ISO 8601 as microseconds since the epoch; UTC where it names no zone.

    Raises:
        ValueError: It is no such time, or one before 1970.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    passed = moment - _EPOCH
    time_us = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    if not 0 <= time_us <= MAX_TIME_US:
        raise ValueError(f"{text} is before 1970")
    return time_us


def parse_time(text: str, begin_us: int) -> int:
    """Returns a time as microseconds since the epoch.

    Args:
        text: ISO 8601, UTC where it names no zone; or `+SECONDS`, `+MM:SS` or `+HH:MM:SS` after the beginning.
        begin_us: The beginning.

    Raises:
        ConfigError: It is neither.
    """
    match = _AFTER.fullmatch(text)
    if match:
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return min(begin_us + round((3600 * hours + 60 * minutes + seconds) * 1e6), MAX_TIME_US)
    try:
        return parse_iso(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{text!r:.60} is not a time", fix="give ISO 8601 such as 2026-11-25T22:10:00Z, or +90 or +1:30 for after"
        ) from error
