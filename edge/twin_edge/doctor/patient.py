"""What is examined, and what the checks have learned of it so far."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Self

from twin_edge.bundle.archive import Bundle
from twin_edge.config import RunConfig
from twin_edge.doctor.probe import Probe
from twin_edge.errors import BrokerUnreachableError, SyncError
from twin_edge.runtime.brokers import broker_config
from twin_edge.sync import BrokerConfig, MqttVersion, TwinId
from twin_edge.sync.mqtt.transport import Outbound


@dataclass(frozen=True, slots=True)
class DoctorConfig:
    """What to examine."""

    run: RunConfig = field(default_factory=RunConfig)
    """How the device would run."""
    peer: RunConfig | None = None
    """How somebody else reaches the broker who may write `down/req`; None leaves that untried."""
    has_bundle: bool = True
    """Whether to examine the bundle; without, sizes are those of the largest one."""
    timeout_s: float = 5.0
    """Longest wait for an answer of the network, seconds, above 0."""
    listen_s: float = 2.0
    """How long to listen whether another device is this twin, seconds, 0 and more."""


class Patient:
    """A device, as a context manager: ends the connections that checks have opened.

    Args:
        config: What to examine.

    Raises:
        ConfigError: The twin id is malformed.
    """

    def __init__(self, config: DoctorConfig) -> None:
        self.config = config
        self.twin = TwinId.parse(config.run.twin_name)
        """Who the device is."""
        self.bundle: Bundle | None = None
        self.version: MqttVersion | None = None
        self.single = False
        """Whether the broker gives this device one connection only."""
        self._probe: Probe | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._probe is not None:
            self._probe.close()

    @cached_property
    def broker(self) -> BrokerConfig:
        """How it reaches its broker.

        Raises:
            ConfigError: The URL or a file cannot be used.
        """
        return broker_config(self.config.run)

    def connect(self, what: str = "", *, will: Outbound | None = None, broker: BrokerConfig | None = None) -> Probe:
        """Makes a connection, to be entered: never with the device's own client id, whose connection it would end.

        Args:
            what: Part of its client id.
            will: See `Probe`.
            broker: Another way to the broker than the device's own.
        """
        version = self.version or MqttVersion.V5
        identity = f"{self.twin.device[:40]}-doctor{what}-{secrets.token_hex(3)}"
        return Probe(
            broker or self.broker,
            identity,
            version,
            user=self.twin.device if broker is None else "",
            will=will,
            timeout_s=self.config.timeout_s,
        )

    def log_in(self) -> Probe:
        """Logs in with the best MQTT version that the broker speaks, and keeps the connection.

        Raises:
            SyncError: The broker cannot be reached, or does not take us.
        """
        wanted = self.broker.protocol
        versions = (MqttVersion.V5, MqttVersion.V311) if wanted is MqttVersion.AUTO else (wanted,)
        first: SyncError | None = None
        for self.version in versions:
            probe = self.connect()
            try:
                self._probe = probe.__enter__()
            except SyncError as error:
                first = first or error
                if not probe.refused_version:
                    break
            else:
                return probe
        raise first or BrokerUnreachableError("no MQTT version to try")

    @property
    def probe(self) -> Probe:
        """The connection of `log_in`, made again when a check has ended it.

        Raises:
            SyncError: It cannot be made.
        """
        if self._probe is None or not self._probe.connected:
            self._probe = self.connect().__enter__()
        return self._probe
