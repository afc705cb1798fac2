"""twin-edge's own link, through its public surface: `DeviceLink`, its receipts, its statistics and its log."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence

from link.clients.base import Setup, Status
from link.workload import NAMESPACE
from twin_edge.sync import BrokerConfig, DeviceLink, LinkConfig, MqttVersion, StateReport, TwinId
from twin_edge.sync.device.homeassistant import HomeAssistantPart
from twin_edge.sync.device.part import LinkPart, Publish
from twin_edge.sync.engine.config import EngineConfig
from twin_edge.sync.engine.delivery import Delivery, Receipt, ReceiptState
from twin_edge.sync.mqtt.broker_url import BrokerAddress
from twin_edge.sync.mqtt.transport import Inbound, Outbound
from twin_edge.sync.wire.homeassistant import DeviceAbout
from twin_edge.sync.wire.messages import software
from twin_edge.twin.packet import Packet

_MAX_LINES = 1000


class TwinEdgeClient:
    """See the module."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        twin = TwinId(NAMESPACE, setup.device)
        self._topics = twin.topics
        self._log = _Log()
        logging.getLogger("twin_edge").addHandler(self._log)
        parts: list[LinkPart] = []
        if setup.on_command is not None:
            parts.append(_Commands(self._topics.root, setup))
        if setup.homeassistant:
            parts.append(HomeAssistantPart(twin, DeviceAbout(setup.bundle.manifest.name, software()), ()))
        self.link = DeviceLink(link_config(setup), twin, setup.bundle, setup.session, parts)
        self._receipts: dict[int, Receipt] = {}

    def start(self) -> None:
        self.link.start()

    def stream(self, packet: Packet) -> None:
        self.link.publish(packet)

    def event(self, number: int, payload: bytes) -> None:
        message = Outbound(f"{self._topics.root}up/event", payload, qos=1)
        self._receipts[number] = self.link.send(message, Delivery.CRITICAL)

    def report(self, number: int) -> None:
        self.link.report(StateReport(rev=number, seq=number, time_us=0))

    def receipt(self, number: int) -> Receipt:
        """Returns the receipt of an event."""
        return self._receipts[number]

    def fate(self, number: int) -> str:
        receipt = self._receipts.get(number)
        if receipt is None:
            return ""
        if receipt.acknowledged:
            return "acknowledged"
        if receipt.state in {ReceiptState.REJECTED, ReceiptState.EXPIRED}:
            return "rejected"
        return "safe" if receipt.spooled else "queued"

    def status(self) -> Status:
        stats = self.link.stats()
        alive = any(thread.name.startswith("twin-mqtt") for thread in threading.enumerate())
        told = [*self._log.lines, stats.trouble, str(self.link.failure or "")]
        return Status(stats.connected, alive, stats.queued, tuple(text for text in told if text))

    def stop(self) -> None:
        self.link.stop()
        logging.getLogger("twin_edge").removeHandler(self._log)


def link_config(setup: Setup) -> LinkConfig:
    """Returns the configuration of a link: what an installation would have, and the case's own options."""
    options = {"wait": True, **setup.options}
    address = BrokerAddress.parse(f"{'mqtts' if setup.ca_file else 'mqtt'}://{setup.host}:{setup.port}")
    if setup.user:
        address = dataclasses.replace(address, user=setup.user)
    broker = BrokerConfig(
        address,
        setup.password or None,
        setup.ca_file,
        protocol=MqttVersion(setup.version) if setup.version else MqttVersion.AUTO,
    )
    broker = dataclasses.replace(broker, **options.pop("broker", {}))
    engine = EngineConfig(setup.folder, **options.pop("engine", {}))
    return LinkConfig(broker, engine=engine, **options)


class _Log(logging.Handler):
    """Keeps what the link tells of problems."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < _MAX_LINES:
            self.lines.append(record.getMessage()[:300])


class _Commands:
    """The application's handler, as a part of the link."""

    def __init__(self, root: str, setup: Setup) -> None:
        self._root = root
        self._setup = setup

    def attach(self, publish: Publish) -> None:
        """Nothing is sent."""

    def subscriptions(self) -> Sequence[tuple[str, int]]:
        return [(f"{self._root}down/set/+", 1)]

    def connected(self) -> None:
        """Nothing to say."""

    def hear(self, message: Inbound) -> None:
        if self._setup.on_command is not None:
            self._setup.on_command(message.payload)

    def tick(self, now_s: float) -> None:
        """Nothing is due."""

    def disconnected(self) -> None:
        """Nothing is lost."""
