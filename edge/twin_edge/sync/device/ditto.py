"""The part of the link that speaks with Eclipse Ditto: birth, what is desired, live messages, and what went wrong."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twin_edge.errors import MessageError
from twin_edge.sync.device.operations import Operations
from twin_edge.sync.device.part import Publish
from twin_edge.sync.device.rate import RateLimit
from twin_edge.sync.device.settings import Settings
from twin_edge.sync.engine.delivery import Delivery
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.ditto import (
    DesiredChange,
    DittoReply,
    LiveMessage,
    build_birth,
    build_live_answer,
    build_retrieve,
    parse_ditto,
)
from twin_edge.sync.wire.messages import Request
from twin_edge.sync.wire.topics import TwinId

PROBE_EVERY_S: Final = 60.0
"""Of the reports in this time one asks Ditto for a response: without it, Ditto does not say what is wrong."""

_BIRTH_S: Final = 1.0
"""How long Ditto may take to make the thing before it is asked what is desired."""
_ASKS: Final = 3
_REBIRTH_MIN_S: Final = 5.0
_REBIRTH_MAX_S: Final = 300.0
_REPORT_EVERY_S: Final = 1.0
_REPORT_EVERY_MAX_S: Final = 60.0
_REMEMBERED: Final = 64
_KINDS: Final = 32
"""Kinds of errors that are told in one connection."""
_NOT_FOUND, _STALE, _TOO_MANY, _UNAVAILABLE = 404, 412, 429, 503
_FIXES: Final = {
    400: "look whether the thing has a WoT definition that does not allow what the device reports",
    401: "give the connection's authorization subject WRITE on thing:/ in the thing's policy",
    403: "give the connection's authorization subject WRITE on thing:/ in the thing's policy",
    404: "make thing and policy by hand, or use Ditto 3.3 or newer, which makes a thing by a merge",
    413: "take properties out of the thing: Ditto takes 100 kB",
}

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DittoStats:
    """What has been heard from Ditto since the start."""

    replies: int
    """Responses and errors to what the device has sent."""
    stale: int
    """Reports of these that were older than what Ditto had: harmless."""
    refused: int
    """Messages that were retained, malformed, repeated or too many."""
    trouble: str
    """What Ditto last refused, and what to do about it; empty when all is well."""


class DittoPart:
    """Makes the thing, asks what is desired of the settings, follows it, and answers live messages.

    Args:
        twin: Whose thing.
        session: Number of this process start.
        attributes: What the thing says of the device, JSON.
        settings: What can be desired.
        operations: What live messages can ask for.
        per_second: Live messages that are carried out per second, and as many at once, above 0.
        clock: Monotonic seconds.

    Attributes:
        report_every_s: How often a report may be sent, seconds; grows while Ditto says that it is too often.
    """

    def __init__(
        self,
        twin: TwinId,
        session: int,
        attributes: Mapping[str, Any],
        settings: Settings,
        operations: Operations,
        *,
        per_second: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._twin = twin
        self._session = session
        self._attributes = attributes
        self._settings = settings
        self._operations = operations
        self._limit = RateLimit(per_second, clock)
        self._clock = clock
        self._publish: Publish | None = None
        self._count = 0
        self._birth = self._question = ""
        self._ask_s = self._birth_s = math.inf
        self._asks = 0
        self._rebirth_wait_s = _REBIRTH_MIN_S
        self._born_s = -math.inf
        self._probe_s = -math.inf
        self._seen: dict[str, None] = {}
        self._said: set[tuple[int, str]] = set()
        self._replies = self._stale = self._refused = 0
        self._trouble = ""
        self.report_every_s = _REPORT_EVERY_S

    def take_probe(self) -> bool:
        """Returns whether the report at hand shall ask for a response, from the thread that reports."""
        now_s = self._clock()
        if now_s - self._probe_s < PROBE_EVERY_S:
            return False
        self._probe_s = now_s
        return True

    def stats(self) -> DittoStats:
        """Returns what has been heard."""
        return DittoStats(self._replies, self._stale, self._refused, self._trouble)

    def attach(self, publish: Publish) -> None:
        """Takes the way to send."""
        self._publish = publish

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        """Returns what it wants to hear."""
        return ((self._twin.topics.ditto_in, 1),)

    def connected(self) -> None:
        """Says what the device is, and asks soon what is desired."""
        self._said.clear()
        self._rebirth_wait_s = _REBIRTH_MIN_S
        self._birth_s = math.inf
        self._asks = _ASKS
        self._question = ""
        self._be_born()
        self._ask_s = self._clock() + _BIRTH_S

    def hear(self, message: Inbound) -> None:
        """Takes an untrusted message; nothing of Ditto's is meant to be retained."""
        if message.retained:
            self._refused += 1
            return
        try:
            heard = parse_ditto(self._twin, message.payload)
        except MessageError as error:
            self._refused += 1
            _LOGGER.debug("%s", error)
            return
        if isinstance(heard, DesiredChange):
            self._settings.desire(heard)
        elif isinstance(heard, DittoReply):
            self._take_reply(heard)
        elif isinstance(heard, LiveMessage):
            self._answer(heard)

    def tick(self, now_s: float) -> None:
        """Asks what is desired, or makes the thing again, when that is due."""
        if now_s >= self._birth_s:
            self._birth_s = math.inf
            self._be_born()
            self._ask_s, self._asks = now_s + _BIRTH_S, _ASKS
        if now_s >= self._ask_s:
            self._ask_s = math.inf
            self._ask()

    def disconnected(self) -> None:
        """Nothing that was asked will be answered."""
        self._ask_s = self._birth_s = math.inf

    def _be_born(self) -> None:
        self._birth = self._correlation("b")
        self._born_s = self._clock()
        payload = build_birth(self._twin, self._attributes, self._birth)
        self._send(Outbound(self._twin.topics.birth, payload, qos=1))

    def _ask(self) -> None:
        if self._asks:
            self._asks -= 1
            self._question = self._correlation("q")
            self._send(Outbound(self._twin.topics.ditto_out, build_retrieve(self._twin, self._question), qos=1))

    def _send(self, message: Outbound) -> None:
        if self._publish is not None:
            self._publish(message, Delivery.GREETING)

    def _correlation(self, what: str) -> str:
        self._count += 1
        return f"{what}{self._session}-{self._count}"

    def _take_reply(self, reply: DittoReply) -> None:
        self._replies += 1
        about_question = bool(reply.correlation) and reply.correlation == self._question
        about_birth = bool(reply.correlation) and reply.correlation == self._birth
        if about_question:
            self._question = ""
            if reply.desired is not None and not self._settings.desire(reply.desired):
                # Something has changed while the answer was on its way, which knows nothing of it.
                self._ask()
            else:
                self._settings.release()
        if reply.succeeded:
            self._trouble = ""
            self._rebirth_wait_s = _REBIRTH_MIN_S
            self.report_every_s = max(_REPORT_EVERY_S, self.report_every_s / 2)
            if about_birth and self._ask_s < math.inf:
                self._ask_s = self._clock()
        elif reply.status == _STALE:
            self._stale += 1
        elif reply.status == _TOO_MANY:
            self.report_every_s = min(_REPORT_EVERY_MAX_S, 2 * self.report_every_s)
            self._tell(reply, f"reports come every {self.report_every_s:g} s for now")
        elif reply.status == _NOT_FOUND and not about_birth:
            self._plan_birth()
        else:
            self._tell(reply, _FIXES.get(reply.status, "look into the log of Ditto's connection"))

    def _plan_birth(self) -> None:
        """Plans to make the thing again: it is not there, or has been deleted."""
        if self._birth_s < math.inf:
            return
        self._birth_s = max(self._clock(), self._born_s + self._rebirth_wait_s)
        self._rebirth_wait_s = min(2 * self._rebirth_wait_s, _REBIRTH_MAX_S)

    def _tell(self, reply: DittoReply, fix: str) -> None:
        self._trouble = f"Ditto refuses what the device says ({reply.status} {reply.error}): {fix}"
        if (reply.status, reply.error) not in self._said and len(self._said) < _KINDS:
            self._said.add((reply.status, reply.error))
            _LOGGER.warning("%s", self._trouble)

    def _answer(self, message: LiveMessage) -> None:
        if message.correlation in self._seen or not self._limit.take():
            self._refused += 1
            return
        self._seen[message.correlation] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        asks_for_bundle = isinstance(message.value, dict) and message.value.get("bundle") is True
        try:
            request = Request(message.correlation, message.subject, asks_for_bundle)
            status, value = 200, {"ok": True, **self._operations.run(request)}
        except MessageError as error:
            status = _UNAVAILABLE if self._operations.knows(message.subject) else _NOT_FOUND
            value = {"ok": False, "error": error.message}
        self._send(Outbound(self._twin.topics.ditto_out, build_live_answer(self._twin, message, status, value), qos=1))
