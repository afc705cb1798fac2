"""The clients that the cases are run with: each as somebody uses it who has read its documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from link.clients.bare_aiomqtt import AiomqttClient
from link.clients.bare_paho import PahoClient
from link.clients.base import LinkClient, Setup, Status
from link.clients.twin_edge_link import TwinEdgeClient

CLIENTS: Final[dict[str, Callable[[Setup], LinkClient]]] = {
    "twin-edge": TwinEdgeClient,
    "paho": PahoClient,
    "aiomqtt": AiomqttClient,
}

__all__ = ["CLIENTS", "LinkClient", "Setup", "Status", "TwinEdgeClient"]
