"""What may come in on `down/req`: bounded, not twice, and not too often."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.device.rate import RateLimit
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.messages import Request, parse_request
from twin_edge.sync.wire.topics import PREFIX, Topics

_REMEMBERED: Final = 128
_MAX_TOPIC: Final = 256
_MAX_CORRELATION: Final = 256

_LOGGER = logging.getLogger(__name__)


class RequestGate:
    """Lets through each well-formed request once, up to a rate.

    Args:
        per_second: Requests per second in the long run, and as many at once; above 0.
        clock: Monotonic seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = RateLimit(per_second, clock)
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)
        self.accepted = 0
        self.refused = 0

    def admit(self, message: Inbound) -> Request | None:
        """Returns the request in a message, None when it is none, a repeated one, an old one or one too many."""
        request = self._admit(message)
        if request is None:
            self.refused += 1
        else:
            self.accepted += 1
        return request

    def _admit(self, message: Inbound) -> Request | None:
        # A retained request would be carried out again at every connect.
        if message.retained or not self._limit.take():
            return None
        try:
            request = parse_request(message.payload)
        except MessageError as error:
            _LOGGER.debug("%s", error)
            return None
        if request.id in self._seen:
            return None
        self._seen.append(request.id)
        return request


def answer_to(message: Inbound, topics: Topics) -> tuple[str, bytes | None]:
    """Returns the topic for the answer to a request, and the correlation data to send with it.

    A response topic that could reach other twins, or whatever a broker keeps below `$`, is not used.
    """
    topic = message.response_topic
    correlation = message.correlation
    if correlation is not None and len(correlation) > _MAX_CORRELATION:
        correlation = None
    if topic is None or not topic or len(topic) > _MAX_TOPIC or set(topic) & set("+#\0"):
        return topics.answer, correlation
    inside = topic.startswith((f"{PREFIX.split('/')[0]}/", "$", "homeassistant/"))
    return (topics.answer if inside and topic != topics.answer else topic), correlation
