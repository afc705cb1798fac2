"""Whether the device is there: said by it when it comes and goes, and by the broker in its place when it breaks off."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.device.part import Publish
from twin_edge.sync.engine.delivery import Delivery, Receipt
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.messages import Availability, build_avail, parse_avail
from twin_edge.sync.wire.topics import TwinId

_REPEAT_S: Final = 1.0

_LOGGER = logging.getLogger(__name__)


class Presence:
    """Says that the device is online, contradicts late wills, and notices others of the same name.

    Args:
        twin: Whose presence.
        session: Number of this process start.
        publish: The way to send.
        rival: Called when another process is heard to be this twin.
        clock: Monotonic seconds.

    Attributes:
        online: Whether this connection has said that the device is online, and nothing has denied it since.
    """

    def __init__(
        self,
        twin: TwinId,
        session: int,
        publish: Publish,
        rival: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._twin = twin
        self._session = session
        self._publish = publish
        self._rival = rival
        self._clock = clock
        self._said_s = -_REPEAT_S
        self._was_online = False
        self._predecessors: set[int] = set()
        """Sessions heard of on the first connection: earlier runs of this device, as a rule."""
        self._first = True
        self.online = False

    @property
    def will(self) -> Outbound:
        """What the broker says in our place."""
        return self._message(Availability("offline", self._session))

    def ended(self) -> None:
        """The connection has ended, and with it what was said."""
        self.online = self._first = False
        self._said_s = -_REPEAT_S

    def say_online(self) -> None:
        """Says that the device is online, once a second at most."""
        now_s = self._clock()
        if not self.online and now_s - self._said_s >= _REPEAT_S:
            self._publish(self._message(Availability("online", self._session)), Delivery.GREETING)
            self._said_s = now_s
            self.online = self._was_online = True

    def say_offline(self, reason: str) -> Receipt:
        """Says that the device goes offline on purpose.

        Args:
            reason: Why, printable ASCII; the first 80 characters are sent.
        """
        self.online = False
        text = "".join(c if " " <= c <= "~" else "?" for c in reason[:80]) or "stopped"
        return self._publish(self._message(Availability("offline", self._session, text)), Delivery.GREETING)

    def hear(self, message: Inbound) -> None:
        """Takes what the broker says about us."""
        if not message.payload:
            return
        try:
            heard = parse_avail(self._twin, message.payload)
        except MessageError as error:
            _LOGGER.debug("%s", error)
            return
        if heard.session != self._session:
            self._hear_another(heard.session)
        if self.online and (heard.session != self._session or not heard.online):
            _LOGGER.info("something says that %s is %s; saying that it is online", self._twin, heard.status)
            self.online = False

    def _hear_another(self, session: int) -> None:
        # What we have said is there no more; or, where two throw each other out before either has said anything, a
        # session has come up that was not there when we began. Nobody else should have anything to say.
        if self._was_online or not (self._first or session in self._predecessors):
            self._rival()
        elif self._first:
            self._predecessors.add(session)

    def _message(self, availability: Availability) -> Outbound:
        return Outbound(self._twin.topics.avail, build_avail(self._twin, availability), qos=1, retain=True)
