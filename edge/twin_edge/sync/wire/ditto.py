"""The Ditto Protocol beyond the state report: what the device asks Eclipse Ditto, and what comes from it.

Ditto speaks through the broker, on `down/ditto`: events about desired properties, live messages, and responses and
errors to what we have sent. All of it is untrusted. The facts are those of the protocol specification of Eclipse
Ditto 3 (topic path, envelope, response, error response, messages); `benchmarks/validate_ditto.py` holds what is built
here against its published JSON schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twin_edge import strict_json
from twin_edge.bundle.checks import Item
from twin_edge.errors import ManifestError, MessageError
from twin_edge.sync.wire.envelope import merge_command
from twin_edge.sync.wire.reading import MAX_WHOLE, NAME, Scalar, an_object, reading, scalar
from twin_edge.sync.wire.topics import TwinId

SETTINGS_FEATURE: Final = "config"
"""The feature whose properties are the settings: as reported, and as desired."""
MAX_DITTO_BYTES: Final = 128 * 1024
"""Longest message that is looked at: an event about a whole thing, which Ditto limits to 100 kB, fits."""

_MAX_DEPTH: Final = 16
_MAX_DESIRED: Final = 64
_DESIRED: Final = "desiredProperties"
_CORRELATION: Final = re.compile(r"[ -~]{1,256}")
_ERROR: Final = re.compile(r"[a-z0-9:._-]{1,128}")
_SUBJECT: Final = re.compile(r"[A-Za-z0-9._~/-]{1,64}")
_PATH: Final = re.compile(r"/[ -~]{0,512}")
_TOPIC: Final = re.compile(r"[ -~]{1,512}")
_STATUSES: Final = range(100, 1000)
_EVENTS: Final = frozenset({"created", "modified", "merged", "deleted"})


@dataclass(frozen=True, slots=True)
class DesiredChange:
    """What is desired of the settings, all of it or what has changed."""

    values: Mapping[str, Scalar | None] = field(default_factory=dict)
    """What is desired, by key; None where nothing is desired any more."""
    complete: bool = False
    """Whether nothing is desired of the keys that are not named."""
    revision: int | None = None
    """The thing's revision with it, None when it is not said."""
    ignored: int = 0
    """Values that cannot be a setting's, such as objects."""


@dataclass(frozen=True, slots=True)
class DittoReply:
    """Ditto's response to something that the device has sent."""

    correlation: str
    """That of what it answers; empty when Ditto could not tell."""
    status: int
    """HTTP status, 100-999."""
    error: str = ""
    """Ditto's name of the error, such as `things:thing.notfound`; empty when all is well."""
    desired: DesiredChange | None = None
    """What is desired, where that had been asked for."""

    @property
    def succeeded(self) -> bool:
        """Whether Ditto has done what it was told."""
        return self.status in range(200, 300)


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """A message for the device itself; the sender waits for an answer."""

    subject: str
    """What it is about, 1-64 characters."""
    feature: str | None
    """To which feature it is addressed, None for the whole thing."""
    correlation: str
    """What the answer has to carry, 1-256 printable characters."""
    value: Any = None
    """Any JSON, nested 16 deep at most."""


def build_retrieve(twin: TwinId, correlation: str) -> bytes:
    """Returns the question for what is desired of the settings; the response comes on `down/ditto`."""
    return _message(
        f"{twin}/things/twin/commands/retrieve",
        {"correlation-id": correlation, "response-required": True, "reply-to": twin.topics.ditto_in},
        "/",
        {"fields": f"_revision,features/{SETTINGS_FEATURE}/{_DESIRED}"},
    )


def build_birth(twin: TwinId, attributes: Mapping[str, Any], correlation: str) -> bytes:
    """Returns the payload of `up/birth`: makes the thing where it is missing, and says what the device is.

    Args:
        twin: Whose.
        attributes: What to say of the device, JSON.
        correlation: Carried by the response, which comes on `down/ditto`.
    """
    return merge_command(twin, "/", {"thingId": twin.thing, "attributes": attributes}, correlation, answers=True)


def build_live_answer(twin: TwinId, message: LiveMessage, status: int, value: Any) -> bytes:
    """Returns the answer to a live message.

    Args:
        twin: Whose.
        message: What is answered.
        status: HTTP status, 200 when all is well.
        value: JSON.
    """
    headers = {
        "thing-id": twin.thing,
        "subject": message.subject,
        "direction": "FROM",
        "content-type": "application/json",
        "correlation-id": message.correlation,
    }
    at = "" if message.feature is None else f"/features/{message.feature}"
    if message.feature is not None:
        headers["feature-id"] = message.feature
    return _message(
        f"{twin}/things/live/messages/{message.subject}",
        headers,
        f"{at}/outbox/messages/{message.subject}",
        {"value": value, "status": status},
    )


def parse_ditto(twin: TwinId, data: bytes) -> DesiredChange | DittoReply | LiveMessage | None:
    """Reads an untrusted `down/ditto`.

    Returns:
        What it says; None when it is well-formed and not about desired properties, nor for us.

    Raises:
        MessageError: It is no message of the Ditto Protocol, or one about another thing.
    """
    with reading("Ditto"):
        item = an_object(Item("", strict_json.parse(data, max_bytes=MAX_DITTO_BYTES, max_depth=_MAX_DEPTH)))
        topic = item["topic"].text(pattern=_TOPIC)
        path = item["path"].text(pattern=_PATH)
        headers = an_object(item["headers"])
        # What Ditto could not read at all it cannot assign to a thing either.
        who, _, rest = topic.partition("/things/")
        if who not in {str(twin), "unknown/unknown"}:
            raise ManifestError("'topic' must be that of this thing")
        channel, _, what = rest.partition("/")
        if "errors" in {channel, what}:
            return _error(item, headers)
        if who != str(twin):
            raise ManifestError("'topic' must be that of this thing")
        if channel == "twin" and what.startswith("events/"):
            return _event(item, what.removeprefix("events/"), path)
        if channel == "twin" and what.startswith("commands/") and "status" in item.value:
            return _response(item, headers, path)
        if channel == "live" and what.startswith("messages/") and "status" not in item.value:
            return _live(item, headers, what.removeprefix("messages/"), path)
        return None


def _message(topic: str, headers: Mapping[str, Any], path: str, more: Mapping[str, Any]) -> bytes:
    return strict_json.dump({"topic": topic, "headers": headers, "path": path, **more})


def _correlation(headers: Item) -> str:
    return headers["correlation-id"].text(pattern=_CORRELATION) if "correlation-id" in headers.value else ""


def _status(item: Item) -> int:
    return item.whole(low=_STATUSES.start, high=_STATUSES.stop - 1)


def _error(item: Item, headers: Item) -> DittoReply:
    value = an_object(item["value"])
    name = value["error"].text(pattern=_ERROR) if "error" in value.value else "unknown"
    status = item["status"] if "status" in item.value else value["status"]
    return DittoReply(_correlation(headers), _status(status), name)


def _response(item: Item, headers: Item, path: str) -> DittoReply:
    status = _status(item["status"])
    desired = None
    if item["topic"].value.endswith("/retrieve") and status == 200 and path == "/":  # noqa: PLR2004 - OK
        thing = an_object(item["value"])
        revision = thing["_revision"].whole(low=0, high=MAX_WHOLE) if "_revision" in thing.value else None
        found = _inside(thing, "features", SETTINGS_FEATURE, _DESIRED)
        desired = _change({} if found is None else found.value, revision, complete=True)
    return DittoReply(_correlation(headers), status, desired=desired)


def _event(item: Item, action: str, path: str) -> DesiredChange | None:
    parts = tuple(part for part in path.split("/") if part)
    wanted = ("features", SETTINGS_FEATURE, _DESIRED)
    depth = len(wanted)
    if action not in _EVENTS or parts[:depth] != wanted[: len(parts)] or len(parts) > depth + 1:
        return None
    revision = item["revision"].whole(low=0, high=MAX_WHOLE)
    value = None if action == "deleted" else item.value.get("value")
    if len(parts) > depth:
        return _change({parts[depth]: value}, revision, complete=False)
    merges = action == "merged"
    for name in wanted[len(parts) :]:
        if value is None:
            break
        inner = an_object(Item("value", value)).value
        if merges and name not in inner:
            # A merge leaves alone what it does not name; anything else has replaced it.
            return None
        value = inner.get(name)
    if value is None:
        return DesiredChange(complete=True, revision=revision)
    return _change(value, revision, complete=not merges)


def _inside(item: Item, *names: str) -> Item | None:
    for name in names:
        if name not in an_object(item).value or item.value[name] is None:
            return None
        item = item[name]
    return item


def _change(values: Any, revision: int | None, *, complete: bool) -> DesiredChange:
    entries = an_object(Item(_DESIRED, values)).value
    if len(entries) > _MAX_DESIRED:
        raise ManifestError(f"'{_DESIRED}' must have {_MAX_DESIRED} entries at most")
    usable: dict[str, Scalar | None] = {}
    for key, value in entries.items():
        try:
            Item("key", key).text(pattern=NAME)
            usable[key] = None if value is None else scalar(Item(key, value))
        except ManifestError:
            continue
    return DesiredChange(usable, complete, revision, len(entries) - len(usable))


def _live(item: Item, headers: Item, subject: str, path: str) -> LiveMessage | None:
    if not _SUBJECT.fullmatch(subject) or not path.endswith(f"/inbox/messages/{subject}"):
        return None
    at = path.removesuffix(f"/inbox/messages/{subject}")
    feature = at.removeprefix("/features/") if at else None
    if feature is not None and (not NAME.fullmatch(feature) or at != f"/features/{feature}"):
        raise MessageError("a Ditto message is refused ('path' must be that of an inbox)")
    return LiveMessage(subject, feature, headers["correlation-id"].text(pattern=_CORRELATION), item.value.get("value"))
