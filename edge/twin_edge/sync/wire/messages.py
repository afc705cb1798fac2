"""The JSON messages: building ours, and reading untrusted ones.

Reading is strict about what it uses (types, ranges, lengths) and ignores keys that it does not know, so that a later
release may add some. Whatever the bytes are, the outcome is a value or a `MessageError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final

from twin_edge import strict_json
from twin_edge.bundle.archive import Bundle
from twin_edge.bundle.checks import Item
from twin_edge.bundle.manifest import MAX_STATE_BYTES, StateSpec
from twin_edge.models.scene import LIGHT_VALUES
from twin_edge.sync.wire.envelope import merge_command, merged_value
from twin_edge.sync.wire.reading import (
    MAX_WHOLE,
    NAME,
    TEXT,
    U32,
    Scalar,
    an_object,
    parse_object,
    reading,
    scalar,
    timestamp,
)
from twin_edge.sync.wire.topics import TwinId
from twin_edge.twin.packet import Codec

MAX_REQUEST_BYTES: Final = 4096
MAX_MESSAGE_BYTES: Final = 16 * 1024
MAX_PROPERTIES: Final = 64
SCHEMA: Final = 1

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_OP: Final = re.compile(r"[a-z-]{1,32}")
_ID: Final = re.compile(r"[ -~]{1,64}")
_POSE: Final = re.compile(r"[a-z_]{1,16}")
_CODEC: Final = re.compile("raw|delta")
_STATUS: Final = re.compile("online|offline")


@dataclass(frozen=True, slots=True)
class StateReport:
    """What the runtime says of the twin at most once a second."""

    rev: int
    """From `Counters.next_rev`, 0 to 2**53 - 1."""
    seq: int
    """Sequence number of the latest state, u32."""
    time_us: int
    """Capture time of the latest state, microseconds since the epoch."""
    gap: float | None = None
    """Reality gap, 0-1; None when it is not measured."""
    in_sync: bool | None = None
    """Whether reality is where the twin is; None when that is not known."""
    properties: Mapping[str, Scalar] = field(default_factory=dict)
    """Properties read from the state, by name; at most 64."""
    fps: float = 0.0
    """States per second."""
    p50_ms: float = 0.0
    """Median time from capture to state, milliseconds."""
    p95_ms: float = 0.0
    """95th percentile of it, milliseconds."""
    dropped: int = 0
    """Frames dropped since the start."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """What the settings are, by key; at most 64."""
    probes: bool = False
    """Whether Eclipse Ditto is asked for a response, on `down/ditto`: it keeps silent about errors otherwise."""


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """What waits for the broker."""

    depth: int = 0
    """Messages and packets."""
    bytes: int = 0
    """What they take."""
    oldest_s: float = 0.0
    """How long the oldest has waited, seconds."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether the device is there."""

    status: str
    """`online` or `offline`."""
    session: int
    """The device's process start that says so, u32."""
    reason: str = ""
    """Why it went offline on purpose; empty when the connection broke."""

    @property
    def online(self) -> bool:
        """Whether the device is there."""
        return self.status == "online"


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """What the packets need to be read."""

    bundle: str
    """Digest of the bundle."""
    name: str
    """Name of the model."""
    state: StateSpec
    """Layout of a state."""
    codec: str
    """How states are coded, `raw` or `delta`; each packet says it as well."""
    software: str
    """Name and version of the device's software."""

    @property
    def model(self) -> int:
        """What the packets of this bundle carry."""
        return int.from_bytes(bytes.fromhex(self.bundle)[:4], "little")


@dataclass(frozen=True, slots=True)
class HeardReport:
    """What a subscriber hears on `up/state`."""

    rev: int
    """Grows with every report of the device."""
    seq: int
    """Sequence number of the state it is about."""
    gap: float | None
    """Reality gap, 0-1; None when it was not measured."""
    in_sync: bool | None
    """Whether reality is where the twin is; None when that is not known."""
    properties: Mapping[str, Scalar]
    """Properties by name."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the device."""

    id: str
    """Given by the one who asks, 1-64 printable characters; the answer carries it."""
    op: str
    """What to do, such as `resync`."""
    bundle: bool = False
    """With `resync`: blocks of the bundle are missing."""


def build_avail(twin: TwinId, availability: Availability) -> bytes:
    """Returns the payload of `up/avail`."""
    value = {
        "status": availability.status,
        "session": availability.session,
        # A merge keeps what it does not name, and null is how it deletes.
        "reason": availability.reason or None,
    }
    return merge_command(twin, "/features/link/properties", value, f"a{availability.session}")


def codec_value(bundle: Bundle, codec: Codec) -> dict[str, Any]:
    """Returns what the packets need to be read, as JSON."""
    state = bundle.manifest.state
    return {
        "schema": SCHEMA,
        "bundle": bundle.digest,
        "name": bundle.manifest.name,
        "state": {
            "pose": list(state.pose),
            "light": state.light,
            "latent": state.latent,
            "scale": state.scale,
            "zero_point": state.zero_point,
        },
        "codec": codec.name.lower(),
        "software": software(),
    }


def build_codec(bundle: Bundle, codec: Codec) -> bytes:
    """Returns the payload of `up/codec`."""
    return strict_json.dump(codec_value(bundle, codec))


def build_birth(twin: TwinId, session: int, bundle: Bundle, codec: Codec) -> bytes:
    """Returns the payload of `up/birth`: what the device is, which makes its thing in Eclipse Ditto if need be."""
    manifest = bundle.manifest
    attributes = {
        "software": software(),
        "session": session,
        "bundle": bundle.digest,
        "model": manifest.name,
        "codec": codec.name.lower(),
        "state": {"pose": list(manifest.state.pose), "light": manifest.state.light, "latent": manifest.state.latent},
        "view": {"width": manifest.view.width, "height": manifest.view.height},
    }
    return merge_command(twin, "/", {"attributes": attributes}, f"b{session}")


def report_value(report: StateReport, spool: SpoolReport | None = None) -> dict[str, Any]:
    """Returns a state report as the features of a Ditto thing; numbers that JSON cannot hold are left out.

    Args:
        report: What the runtime says.
        spool: What waits for the broker; nothing when None.
    """
    spool = spool or SpoolReport()
    about: dict[str, Any] = {
        "rev": report.rev,
        "seq": report.seq,
        "ts": timestamp(report.time_us),
        # In a merge patch null takes the old value away; left out, it would stand there as if it were still true.
        "gap": round(float(report.gap), 4) if report.gap is not None and math.isfinite(report.gap) else None,
        "in_sync": None if report.in_sync is None else bool(report.in_sync),
    }
    properties = {
        name: value for name, value in report.properties.items() if not isinstance(value, float) or math.isfinite(value)
    }
    value: dict[str, Any] = {
        "twin": {"properties": about},
        "infer": {
            "properties": {
                "fps": _rounded(report.fps),
                "p50_ms": _rounded(report.p50_ms),
                "p95_ms": _rounded(report.p95_ms),
                "dropped": report.dropped,
            }
        },
        "spool": {
            "properties": {"depth": spool.depth, "bytes": spool.bytes, "oldest_s": _rounded(spool.oldest_s)},
        },
    }
    if properties:
        value["properties"] = {"properties": properties}
    if report.settings:
        value["config"] = {"properties": dict(report.settings)}
    return value


def build_state(twin: TwinId, session: int, report: StateReport, spool: SpoolReport | None = None) -> bytes:
    """Returns the payload of `up/state`; numbers that JSON cannot hold are left out.

    Args:
        twin: Whose state it is.
        session: The device's process start.
        report: What the runtime says.
        spool: What waits for the broker; nothing when None.
    """
    # Late, retained or repeated, an older report never overwrites a newer one.
    rev = "features/twin/properties/rev"
    condition = f"or(not(exists({rev})),lt({rev},{report.rev}))"
    return merge_command(
        twin, "/features", report_value(report, spool), f"{session}-{report.seq}", condition, answers=report.probes
    )


def build_request(request: Request) -> bytes:
    """Returns the payload of `down/req`."""
    value: dict[str, Any] = {"id": request.id, "op": request.op}
    if request.bundle:
        value["bundle"] = True
    return strict_json.dump(value)


def build_answer(
    request: Request, *, error: str, session: int, seq: int, time_us: int, more: Mapping[str, Any] | None = None
) -> bytes:
    """Returns the answer to a request.

    Args:
        request: What is answered.
        error: Why it was not done, empty when it was.
        session: The device's process start.
        seq: Sequence number of the latest state.
        time_us: Time of the answer, microseconds since the epoch.
        more: What else it says, JSON.
    """
    value: dict[str, Any] = {
        **(more or {}),
        "id": request.id,
        "op": request.op,
        "ok": not error,
        "session": session,
        "seq": seq,
        "ts": timestamp(time_us),
    }
    if error:
        value["error"] = error
    return strict_json.dump(value)


def parse_avail(twin: TwinId, data: bytes) -> Availability:
    """Reads an untrusted `up/avail`.

    Raises:
        MessageError: It is not one.
    """
    with reading("avail"):
        item = merged_value(twin, "/features/link/properties", data, MAX_MESSAGE_BYTES)
        reason = item.value.get("reason")
        return Availability(
            item["status"].text(pattern=_STATUS),
            item["session"].whole(low=0, high=U32),
            "" if reason is None else item["reason"].text(pattern=TEXT),
        )


def parse_codec(data: bytes) -> CodecInfo:
    """Reads an untrusted `up/codec`.

    Raises:
        MessageError: It is not one, or one of a later release.
    """
    with reading("codec"):
        item = parse_object(data, MAX_MESSAGE_BYTES)
        item["schema"].whole(low=SCHEMA, high=SCHEMA)
        layout = an_object(item["state"])
        pose = tuple(each.text(pattern=_POSE) for each in layout["pose"].list(most=4))
        state = StateSpec(
            pose,
            layout["latent"].whole(low=1, high=MAX_STATE_BYTES - len(pose)),
            layout["scale"].number(low=1e-9, high=1e9),
            layout["zero_point"].whole(low=-128, high=127),
            light=layout["light"].whole(low=0, high=LIGHT_VALUES) if "light" in layout.value else 0,
        )
        return CodecInfo(
            item["bundle"].text(pattern=_DIGEST),
            item["name"].text(pattern=NAME),
            state,
            item["codec"].text(pattern=_CODEC),
            item["software"].text(pattern=TEXT),
        )


def parse_state(twin: TwinId, data: bytes) -> HeardReport:
    """Reads an untrusted `up/state`.

    Raises:
        MessageError: It is not one.
    """
    with reading("state"):
        item = merged_value(twin, "/features", data, MAX_MESSAGE_BYTES)
        about = an_object(an_object(item["twin"])["properties"])
        gap = about["gap"].number(low=0, high=1e9) if about.value.get("gap") is not None else None
        in_sync = about.value.get("in_sync")
        properties: dict[str, Scalar] = {}
        if "properties" in item.value:
            values = an_object(an_object(item["properties"])["properties"])
            for name, value in values.items(most=MAX_PROPERTIES):
                properties[Item("name", name).text(pattern=NAME)] = scalar(value)
        return HeardReport(
            about["rev"].whole(low=0, high=MAX_WHOLE),
            about["seq"].whole(low=0, high=U32),
            gap,
            in_sync if isinstance(in_sync, bool) else None,
            properties,
        )


def parse_request(data: bytes) -> Request:
    """Reads an untrusted `down/req`; whether its `op` is known is for the caller to say.

    Raises:
        MessageError: It is not a request, or has no usable id to answer to.
    """
    with reading("request"):
        item = parse_object(data, MAX_REQUEST_BYTES)
        return Request(item["id"].text(pattern=_ID), item["op"].text(pattern=_OP), item.value.get("bundle") is True)


def software() -> str:
    """Returns name and version of this software."""
    try:
        return f"twin-edge {metadata.version('twin-edge')}"
    except metadata.PackageNotFoundError:
        return "twin-edge"


def _rounded(value: float) -> float:
    return round(float(value), 2) if math.isfinite(value) else 0.0
