"""Reading untrusted JSON messages: whatever the bytes are, the outcome is a value or a `MessageError`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.errors import ManifestError, MessageError

U32: Final = 0xFFFF_FFFF
MAX_WHOLE: Final = (1 << 53) - 1
"""Largest whole number that every JSON reader keeps exactly."""
TEXT: Final = re.compile(r"[ -~]{0,80}")
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_DEPTH: Final = 6

Scalar = float | int | bool | str


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what can be wrong with a message into one kind of error.

    Args:
        what: Name of the message, for the error.

    Raises:
        MessageError: In place of what checks, parsers and missing keys raise.
    """
    try:
        yield
    except ManifestError as error:
        raise MessageError(f"a {what} message is refused ({error.message})") from error
    except KeyError as error:
        raise MessageError(f"a {what} message has no {error}") from error
    except ValueError as error:
        raise MessageError(f"a {what} message is not readable ({error})") from error


def parse_object(data: bytes, max_bytes: int) -> Item:
    """Parses a message that must be an object; inside of `reading` only."""
    return an_object(Item("", strict_json.parse(data, max_bytes=max_bytes, max_depth=_MAX_DEPTH)))


def an_object(item: Item) -> Item:
    """Returns an item that must be an object; inside of `reading` only."""
    if not isinstance(item.value, dict):
        raise ManifestError(f"'{item.path or 'message'}' must be an object")
    return item


def scalar(item: Item) -> Scalar:
    """Returns a number, a truth or a printable text of 80 characters at most; inside of `reading` only."""
    value = item.value
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return item.text(pattern=TEXT)
    if isinstance(value, int):
        return item.whole(low=-MAX_WHOLE, high=MAX_WHOLE)
    return item.number(low=-1e300, high=1e300)


def timestamp(time_us: int) -> str:
    """Returns a time in microseconds since the epoch as UTC in ISO 8601, to the millisecond."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us // 1000 % 1000:03}Z"
