"""The envelope of an Eclipse Ditto merge command, in which Home Assistant finds its values as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.sync.wire.reading import an_object, parse_object
from twin_edge.sync.wire.topics import TwinId


def merge_command(
    twin: TwinId,
    path: str,
    value: Mapping[str, Any],
    correlation: str,
    condition: str | None = None,
    *,
    answers: bool = False,
) -> bytes:
    """Returns a merge command (RFC 7396: null deletes, what is not named stays).

    Args:
        twin: Whose thing is changed.
        path: Where in the thing, from its root.
        value: What to merge there.
        correlation: Correlation id, which Ditto's schema asks for.
        condition: RQL that must hold in the thing, or nothing is changed.
        answers: Whether Ditto shall respond, on `down/ditto`.
    """
    headers: dict[str, Any] = {
        "content-type": "application/merge-patch+json",
        "response-required": answers,
        "correlation-id": correlation,
    }
    if answers:
        headers["reply-to"] = twin.topics.ditto_in
    if condition is not None:
        headers["condition"] = condition
    return strict_json.dump({"topic": twin.topics.merge, "headers": headers, "path": path, "value": value})


def merged_value(twin: TwinId, path: str, data: bytes, max_bytes: int) -> Item:
    """Returns the value of an untrusted merge command of a twin; inside of `reading` only."""
    item = parse_object(data, max_bytes)
    item["topic"].text(pattern=re.compile(re.escape(twin.topics.merge)))
    item["path"].text(pattern=re.compile(re.escape(path)))
    return an_object(item["value"])
