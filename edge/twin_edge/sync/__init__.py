"""Keeping twins in sync over MQTT: the device's link, the subscriber's view, and a broker to try them with."""

from twin_edge.sync.broker import EmbeddedBroker
from twin_edge.sync.broker_url import PASSWORD_VARIABLE, BrokerAddress
from twin_edge.sync.counters import Counters
from twin_edge.sync.link import DeviceLink, LinkConfig, LinkStats
from twin_edge.sync.messages import Availability, HeardReport, StateReport
from twin_edge.sync.topics import TwinId
from twin_edge.sync.transport import BrokerConfig, MqttVersion
from twin_edge.sync.update import TwinUpdate
from twin_edge.sync.view import TwinView, ViewStats

__all__ = [
    "PASSWORD_VARIABLE",
    "Availability",
    "BrokerAddress",
    "BrokerConfig",
    "Counters",
    "DeviceLink",
    "EmbeddedBroker",
    "HeardReport",
    "LinkConfig",
    "LinkStats",
    "MqttVersion",
    "StateReport",
    "TwinId",
    "TwinUpdate",
    "TwinView",
    "ViewStats",
]
