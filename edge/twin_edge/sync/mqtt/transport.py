"""What goes through an MQTT connection, how it is configured, and who listens."""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from twin_edge.errors import ConfigError
from twin_edge.sync.mqtt.broker_url import BrokerAddress
from twin_edge.sync.mqtt.credentials import find_password, load_certificate
from twin_edge.sync.mqtt.tls import TlsContext, known_past_s

MAX_PAYLOAD_BYTES: Final = 512 * 1024
"""Longest payload that is looked at: the largest packet, and the index of the largest bundle, fit."""
_OVERHEAD_BYTES: Final = 32
"""Of a PUBLISH: header, lengths, id, properties."""
_FAILURE: Final = 0x80


class MqttVersion(enum.Enum):
    """Which MQTT to speak."""

    AUTO = "auto"
    """5, and 3.1.1 with a broker that does not speak 5."""
    V5 = "5"
    V311 = "3.1.1"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How to reach a broker."""

    address: BrokerAddress
    """Where it is, and as whom to log in."""
    password: str | None = field(default=None, repr=False)
    """Password of the user; none when None."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the broker's certificate; the system's when None."""
    cert_file: Path | None = None
    """PEM file of the certificate to log in with (mTLS), with those between it and its authority; none when None."""
    key_file: Path | None = None
    """PEM file of its private key, which nobody else may read; the certificate's file when None."""
    protocol: MqttVersion = MqttVersion.AUTO
    """MQTT version."""
    keepalive_s: int = 10
    """Seconds of silence after which the link is probed, 1-3600; a subscriber notices a dead link after about twice
    that, a device within 15 s, see docs/link.md."""
    will_delay_s: int = 10
    """Seconds that the broker waits for us to come back before it says that we are gone, 0-3600; MQTT 5 only."""
    connect_timeout_s: float = 5.0
    """Seconds for each step of connecting, above 0."""
    backoff_min_s: float = 1.0
    """Longest wait before the first new attempt, seconds."""
    backoff_max_s: float = 60.0
    """Longest wait before any new attempt, seconds."""
    max_inflight: int = 16
    """Messages of QoS 1 sent and not yet acknowledged, 1-65535."""
    max_queued: int = 256
    """Messages of QoS 1 that may wait, those in flight included; further ones are dropped and counted."""
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    """Longest payload that is read, bytes; longer ones are dropped and counted."""

    def __post_init__(self) -> None:
        if not 1 <= self.keepalive_s <= 3600 or self.connect_timeout_s <= 0:  # noqa: PLR2004 - an hour
            raise ConfigError("the keepalive must be 1-3600 s and the connect timeout above 0 s", fix="correct them")
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("there is a key without a certificate", fix="give the certificate with --cert-file")
        if self.cert_file is not None and not self.address.tls:
            raise ConfigError(
                f"a certificate needs TLS, and {self.address.scheme}:// has none", fix="use mqtts:// or wss://"
            )
        if not 0 <= self.will_delay_s <= 3600:  # noqa: PLR2004 - an hour
            raise ConfigError("the delay of the will must be 0-3600 s", fix="correct it")
        if self.address.tls:
            self.tls_context()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        password_file: Path | None = None,
        protocol: MqttVersion = MqttVersion.AUTO,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """Reads the address from a URL, and the password from where secrets are.

        Args:
            url: See `BrokerAddress.parse`.
            ca_file: See the field.
            cert_file: See the field.
            key_file: See the field.
            password_file: A file with the password; else `TWIN_EDGE_MQTT_PASSWORD`, else systemd's credential
                `mqtt-password`.
            protocol: See the field.
            environ: The environment; that of this process when None.

        Raises:
            ConfigError: The URL or a file cannot be used, or others can read a file with a secret.
        """
        address = BrokerAddress.parse(url)
        password = find_password(password_file, os.environ if environ is None else environ)
        return cls(address, password, ca_file, cert_file, key_file, protocol)

    def tls_context(self) -> TlsContext:
        """Returns a context that verifies certificate and host name, and shows our certificate if there is one.

        Raises:
            ConfigError: A file cannot be used, or others can read the key.
        """
        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(str(self.ca_file))
            except OSError as error:  # ssl.SSLError is one
                raise ConfigError(
                    f"cannot read the CA file {self.ca_file} ({error.strerror or 'no certificate in it'})",
                    fix="give a PEM file with the certificates of the authority",
                ) from error
        if self.cert_file is not None:
            load_certificate(context, self.cert_file, self.key_file or self.cert_file)
        context.known_past_s = known_past_s(context, [file for file in (self.ca_file, self.cert_file) if file])
        return context


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message to publish."""

    topic: str
    """MQTT topic."""
    payload: bytes
    """Any bytes; none clear a retained message."""
    qos: int = 0
    """0 or 1."""
    retain: bool = False
    """Whether the broker keeps it for those who come late."""
    correlation: bytes | None = None
    """Correlation data of a request that this answers; sent with MQTT 5 only."""

    @property
    def size(self) -> int:
        """Bytes on the wire, a few more rather than less."""
        return len(self.payload) + len(self.topic.encode()) + len(self.correlation or b"") + _OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the broker made of a message."""

    code: int = 0
    """Reason code of its PUBACK, 0-255; from 128 on it did not take the message. Always 0 with MQTT 3.1.1."""
    text: str = ""
    """The reason in words, empty for success."""

    @property
    def accepted(self) -> bool:
        """Whether the broker has the message."""
        return self.code < _FAILURE


Settle = Callable[[Outcome], None]
"""Called once when a message is acknowledged, or written in the case of QoS 0; never if the connection ends before."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that came in."""

    topic: str
    """MQTT topic."""
    payload: bytes
    """Any bytes, of the configured length at most."""
    retained: bool = False
    """Whether it was published before we subscribed."""
    response_topic: str | None = None
    """Where an answer is expected, MQTT 5 only."""
    correlation: bytes | None = None
    """What the answer has to carry, MQTT 5 only."""


class Listener(Protocol):
    """Gets what happens on a connection, always in the network thread; must not block."""

    def on_connected(self) -> None:
        """The broker has taken us; nothing of an earlier connection is left: subscribe and publish again."""

    def on_message(self, message: Inbound) -> None:
        """A message came in."""

    def on_tick(self) -> None:
        """Called whenever something came or went, and every `MqttClient.tick_s` while connected."""

    def on_disconnected(self) -> None:
        """The connection has ended."""


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of a client."""

    connected: bool
    """Whether it is connected now."""
    protocol: str
    """MQTT version of the connection, empty without one."""
    connects: int
    """Connections since the start."""
    dropped: int
    """Messages that were not handed to the network."""
    queued: int
    """Messages of QoS 1 that wait for the broker's acknowledgement."""
    oversize: int
    """Messages that were too long, in or out."""
    errors: int
    """Exceptions of handlers."""
    restarts: int
    """Times that the network thread had died and was started again."""
    trouble: str
    """What is wrong with the broker, in words; empty when nothing is known to be."""
