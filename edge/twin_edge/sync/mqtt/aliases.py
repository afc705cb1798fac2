"""Topic aliases of one connection: a number in place of a topic that is sent over and over (MQTT 5, 3.3.2.3.4).

Only for QoS 0. A message of QoS 1 may be sent again on a later connection, on which nobody knows its alias; paho then
reconnects for ever, each time refused with a protocol error.
"""

from __future__ import annotations

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from twin_edge.sync.mqtt.transport import Outbound


class _Alias(Properties):
    """An alias that is packed once.

    paho looks through all properties there are for each message (measured: a seventh of the network thread's time).
    """

    def __init__(self, number: int) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        self.TopicAlias = number
        # paho refuses attributes that are no properties.
        object.__setattr__(self, "_packed", super().pack())  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        packed: bytes = object.__getattribute__(self, "_packed")
        return packed


class TopicAliases:
    """The aliases that the broker has been told.

    Args:
        most: How many the broker takes (Topic Alias Maximum), 0 for none.
    """

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._known: dict[str, Properties] = {}

    def address(self, message: Outbound) -> tuple[str, Properties | None]:
        """Returns topic and properties to send a message with; the topic is empty when the alias stands for it."""
        if message.qos or message.correlation is not None:
            return message.topic, None
        known = self._known.get(message.topic)
        return ("", known) if known is not None else (message.topic, self._next())

    def sent(self, message: Outbound, properties: Properties | None) -> None:
        """Notes that the broker gets to know the alias of a topic; to be called when a message was taken."""
        if properties is not None:
            self._known[message.topic] = properties

    def _next(self) -> Properties | None:
        return None if len(self._known) >= self._most else _Alias(len(self._known) + 1)
