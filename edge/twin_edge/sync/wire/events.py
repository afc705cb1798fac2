"""What comes on `up/event`: that something happened, and what speaks for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.sync.wire.reading import NAME, U32, Scalar, parse_object, reading, scalar, timestamp

MAX_EVENT_BYTES: Final = 8192
MAX_EVIDENCE: Final = 32
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ID: Final = re.compile(r"[0-9]{1,10}-[0-9]{1,10}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    kind: str
    """What: `gap-high`, `gap-normal`, `camera-lost`, ...; small letters, digits and `-`, 1-32."""
    seq: int
    """Sequence number of the state that shows it, u32."""
    time_us: int
    """Capture time of that state, microseconds since the epoch."""
    evidence: Mapping[str, Scalar] = field(default_factory=dict)
    """What speaks for it, by name: numbers, truths, texts of 80 characters; at most 32."""


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """What a subscriber hears on `up/event`; it may come twice, with the same id."""

    id: str
    """Unique among the events of a twin: session and number."""
    session: int
    """The device's process start, u32."""
    seq: int
    """Sequence number of the state that shows it."""
    ts: str
    """Capture time of that state, UTC in ISO 8601."""
    kind: str
    """What happened."""
    evidence: Mapping[str, Scalar]
    """What speaks for it."""


def build_event(session: int, number: int, event: Event) -> bytes:
    """Returns the payload of `up/event`; numbers that JSON cannot hold are left out.

    Args:
        session: The device's process start, u32.
        number: Counts the events of the session, u32.
        event: What happened.

    Raises:
        ValueError: The kind is not one, or there is too much evidence.
    """
    if not _KIND.fullmatch(event.kind) or len(event.evidence) > MAX_EVIDENCE:
        raise ValueError(f"{event.kind!r:.60} with {len(event.evidence)} pieces of evidence is no event")
    evidence = {
        name: value for name, value in event.evidence.items() if not isinstance(value, float) or math.isfinite(value)
    }
    return strict_json.dump(
        {
            "id": f"{session}-{number}",
            "session": session,
            "seq": event.seq,
            "ts": timestamp(event.time_us),
            "kind": event.kind,
            "evidence": evidence,
        }
    )


def parse_event(data: bytes) -> HeardEvent:
    """Reads an untrusted `up/event`.

    Raises:
        MessageError: It is not one.
    """
    with reading("event"):
        item = parse_object(data, MAX_EVENT_BYTES)
        evidence: dict[str, Scalar] = {}
        if item.value.get("evidence"):
            entries: Any = item["evidence"].items(most=MAX_EVIDENCE)
            evidence = {Item("evidence", name).text(pattern=NAME): scalar(value) for name, value in entries}
        return HeardEvent(
            item["id"].text(pattern=_ID),
            item["session"].whole(low=0, high=U32),
            item["seq"].whole(low=0, high=U32),
            item["ts"].text(pattern=_TIME),
            item["kind"].text(pattern=_KIND),
            evidence,
        )
