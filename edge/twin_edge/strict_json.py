"""JSON from outside: bounded in size, depth and numbers, with one kind of error."""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_DEPTH = 16


def parse(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Any:
    """Parses untrusted JSON.

    Args:
        data: UTF-8 text.
        max_bytes: Longest text that is looked at.
        max_depth: Deepest nesting of arrays and objects.

    Raises:
        ValueError: It is too long, too deep, not UTF-8, not JSON, repeats a key, or holds NaN or an infinity.
    """
    if len(data) > max_bytes:
        raise ValueError(f"{len(data)} bytes of JSON, at most {max_bytes} are read")
    try:
        value = json.loads(data.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if _depth_exceeds(value, max_depth):
        raise ValueError(f"JSON nested deeper than {max_depth}")
    return value


def dump(value: Any) -> bytes:
    """Returns compact UTF-8 JSON; equal values give equal bytes.

    Raises:
        ValueError: The value holds NaN or an infinity.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("JSON repeats a key")
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
