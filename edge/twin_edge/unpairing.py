"""Taking a device away from Home Assistant, and from the broker."""

from __future__ import annotations

import secrets
import time
from typing import Final

from twin_edge.errors import SyncError
from twin_edge.sync.mqtt.client import MqttClient
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, Outbound
from twin_edge.sync.wire.homeassistant import discovery_topic
from twin_edge.sync.wire.topics import TwinId

_QUIET_S: Final = 0.6
"""How long nothing that is retained has to come until all of it has."""
_LISTEN_S: Final = 10.0
_ACK_S: Final = 5.0
_POLL_S: Final = 0.05
_MAX_TOPICS: Final = 100_000


class _Retained:
    """Remembers which topics of a twin the broker has something retained on."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.heard_s = time.monotonic()

    def on_connected(self) -> None:
        """Nothing to do: `unpair` subscribes."""

    def on_message(self, message: Inbound) -> None:
        """Remembers a topic."""
        if message.retained and message.payload and len(self.topics) < _MAX_TOPICS:
            self.topics.add(message.topic)
            self.heard_s = time.monotonic()

    def on_tick(self) -> None:
        """Nothing to do."""

    def on_disconnected(self) -> None:
        """Nothing to do: `unpair` notices."""


def unpair(broker: BrokerConfig, twin: TwinId, *, everything: bool = False) -> int:
    """Takes the announcement of a device back, so that Home Assistant forgets the device and its entities.

    Args:
        broker: Where it was announced.
        twin: Whose device.
        everything: Whether to clear whatever else the broker keeps of the twin too: state, key packet, bundle.

    Returns:
        How many messages the broker kept, and does not any more; as far as it lets us read them.

    Raises:
        SyncError: The broker is not there, or does not take it.
    """
    # Not the device's own name: that would throw a device out that still runs.
    listener = _Retained()
    client = MqttClient(broker, f"twin-unpair-{secrets.token_hex(6)}", listener, user=twin.device)
    announced = discovery_topic(twin)
    filters = [announced, *([f"{twin.topics.root}up/#"] if everything else [])]
    refusal = SyncError(
        f"the broker does not let us forget {twin}", fix="log in as the device, or as a user that may write its topics"
    )
    client.connect()
    try:
        kept = _kept(client, listener, filters)
        # What we may not read we may still write.
        for topic in sorted({announced, *kept}):
            message = Outbound(topic, b"", qos=1, retain=True)
            if not client.publish(message) and not (_is_acknowledged(client) and client.publish(message)):
                raise refusal
        if not _is_acknowledged(client) or _kept(client, listener, filters):
            raise refusal
        return len(kept)
    finally:
        client.close()


def _is_acknowledged(client: MqttClient) -> bool:
    """Waits until the broker has taken everything; returns whether it has."""
    deadline_s = time.monotonic() + _ACK_S
    while client.connected and client.stats().queued and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return client.connected and not client.stats().queued


def _kept(client: MqttClient, listener: _Retained, filters: list[str]) -> set[str]:
    """Returns the topics on which the broker keeps something."""
    client.unsubscribe(filters)
    listener.topics = set()
    client.subscribe([(one, 1) for one in filters])
    listener.heard_s = began_s = time.monotonic()
    while time.monotonic() - listener.heard_s < _QUIET_S and time.monotonic() - began_s < _LISTEN_S:
        time.sleep(_POLL_S)
    return listener.topics
