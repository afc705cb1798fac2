"""Keeping twins in sync over MQTT: the device's link, the subscriber's view, and a broker to try them with."""

from twin_edge.sync.device.counters import Counters, default_folder
from twin_edge.sync.device.link import DeviceLink, LinkConfig, LinkStats
from twin_edge.sync.device.part import LinkPart, Publish
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.engine.stats import EngineStats
from twin_edge.sync.mqtt.broker import EmbeddedBroker
from twin_edge.sync.mqtt.broker_url import PASSWORD_VARIABLE, BrokerAddress
from twin_edge.sync.mqtt.transport import BrokerConfig, Inbound, MqttVersion, Outbound
from twin_edge.sync.view.meters import GapStats, TwinStats
from twin_edge.sync.view.status import TwinStatus, ViewStats
from twin_edge.sync.view.update import TwinEvent, TwinUpdate
from twin_edge.sync.view.view import TwinView
from twin_edge.sync.view.views import TwinViews
from twin_edge.sync.wire.events import Event, HeardEvent
from twin_edge.sync.wire.messages import Availability, HeardReport, StateReport
from twin_edge.sync.wire.topics import TwinId

__all__ = [
    "PASSWORD_VARIABLE",
    "Availability",
    "BrokerAddress",
    "BrokerConfig",
    "Counters",
    "Delivery",
    "DeviceLink",
    "EmbeddedBroker",
    "EngineConfig",
    "EngineStats",
    "Event",
    "GapStats",
    "HeardEvent",
    "HeardReport",
    "Inbound",
    "LinkConfig",
    "LinkPart",
    "LinkStats",
    "MqttVersion",
    "Outbound",
    "Publish",
    "Receipt",
    "ReceiptState",
    "StateReport",
    "TwinEvent",
    "TwinId",
    "TwinStats",
    "TwinStatus",
    "TwinUpdate",
    "TwinView",
    "TwinViews",
    "ViewStats",
    "default_folder",
]
