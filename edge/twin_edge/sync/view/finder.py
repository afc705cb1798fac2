"""Finding a twin on a broker of which nothing but the address is known."""

from __future__ import annotations

from typing import Final

from twin_edge.errors import MessageError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import Inbound
from twin_edge.sync.wire.messages import parse_avail, parse_codec
from twin_edge.sync.wire.topics import ANY_AVAIL, ANY_CODEC, TwinId, twin_of

_PATIENCE_S: Final = 0.3
"""How long a twin that is offline has to wait for one that is online to show up."""
_MAX_TWINS: Final = 1024


class TwinFinder:
    """Chooses the first twin that is heard of and online, or else the first one.

    Args:
        client: The connection.
    """

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._published: dict[TwinId, float] = {}
        self._known: set[TwinId] = set()
        self._online: set[TwinId] = set()
        self.malformed = 0

    def begin(self) -> None:
        """Listens for every twin."""
        self._client.subscribe([(ANY_AVAIL, 1), (ANY_CODEC, 1)])

    def heard(self, message: Inbound, now: float) -> None:
        """Takes a message of any twin."""
        twin = twin_of(message.topic)
        if twin is None or (twin not in self._known and len(self._known) >= _MAX_TWINS):
            return
        self._known.add(twin)
        try:
            if message.topic == twin.topics.codec:
                parse_codec(message.payload)
                self._published.setdefault(twin, now)
            elif message.topic == twin.topics.avail and message.payload:
                online = parse_avail(twin, message.payload).online
                (self._online.add if online else self._online.discard)(twin)
        except MessageError:
            self.malformed += 1

    def decide(self, now: float) -> TwinId | None:
        """Returns the choice and stops listening, or None while there is none."""
        online = [twin for twin in self._published if twin in self._online]
        waited = [twin for twin, since in self._published.items() if now > since + _PATIENCE_S]
        choice = next(iter(online or waited), None)
        if choice is not None:
            self._client.unsubscribe([ANY_AVAIL, ANY_CODEC])
        return choice
