"""The broker that a runtime talks to, or its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from twin_edge.config import RunConfig
from twin_edge.errors import ConfigError
from twin_edge.sync import BrokerConfig, EmbeddedBroker, MqttVersion

_EMBEDDED: Final = "embedded:"
_USUAL_PORT: Final = 1883
_MAX_PORT: Final = 65535

_LOGGER = logging.getLogger(__name__)


@contextlib.contextmanager
def broker_for(config: RunConfig) -> Iterator[BrokerConfig]:
    """Gives the broker of a configuration; an embedded one runs for as long as the block.

    Raises:
        ConfigError: The URL cannot be used, or no broker can be embedded.
    """
    if not config.broker.startswith(_EMBEDDED):
        yield broker_config(config)
        return
    broker = _start(_embedded_port(config.broker))
    try:
        _LOGGER.info("embedded broker at %s; follow the twin with: twin-edge watch --broker %s", broker.url, broker.url)
        yield BrokerConfig.from_url(broker.url, environ={})
    finally:
        broker.stop()


def check_broker(config: RunConfig) -> None:
    """Refuses a broker that surely cannot be used, before anything is started.

    Raises:
        ConfigError: The URL or a file cannot be used, or no broker can be embedded.
    """
    if config.broker.startswith(_EMBEDDED):
        EmbeddedBroker(port=_embedded_port(config.broker) or 0)  # Not started: it looks for its package.
    else:
        broker_config(config)


def broker_config(config: RunConfig) -> BrokerConfig:
    """Returns how to reach the broker of a configuration.

    Raises:
        ConfigError: The URL or a file cannot be used.
    """
    return BrokerConfig.from_url(
        config.broker,
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        password_file=config.password_file,
        protocol=MqttVersion(config.protocol),
    )


def _embedded_port(url: str) -> int | None:
    port = url.removeprefix(_EMBEDDED)
    if not port:
        return None
    # The length first: Python refuses to make a number of thousands of digits, in words of its own.
    if not (port.isascii() and port.isdecimal()) or len(port) > len(str(_MAX_PORT)) or int(port) > _MAX_PORT:
        raise ConfigError(f"{port[:20]!r} is not a port", fix="give embedded: or embedded:PORT")
    return int(port)


def _start(port: int | None) -> EmbeddedBroker:
    if port is not None:
        return EmbeddedBroker(port=port).start()
    broker = EmbeddedBroker(port=_USUAL_PORT)
    try:
        return broker.start()
    except ConfigError:
        _LOGGER.info("port %d is taken, the embedded broker takes a free one", _USUAL_PORT)
        return EmbeddedBroker().start()
