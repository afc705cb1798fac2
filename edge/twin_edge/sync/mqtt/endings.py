"""How attempts and connections end, and what that says to the person who runs the device."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from twin_edge.errors import BrokerRefusedError, BrokerUnreachableError, SyncError
from twin_edge.sync.mqtt.broker_url import PASSWORD_VARIABLE, BrokerAddress
from twin_edge.sync.mqtt.tls import Trouble
from twin_edge.sync.mqtt.transport import MqttVersion

UNSUPPORTED_VERSION: Final = 0x84
TAKEN_OVER: Final = 0x8E
_CREDENTIALS: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})
"""Bad user name or password, not authorized, banned, bad authentication method; those of 3.1.1 become these."""
_BUSY: Final = frozenset({0x88, 0x89, 0x8B, 0x93, 0x96, 0x97, 0x9F})
"""Unavailable, busy, shutting down, and everything of which there was too much."""
_ELSEWHERE: Final = frozenset({0x9C, 0x9D})
"""Use another server; the server has moved."""


class Cause(enum.Enum):
    """What kind of end it was."""

    STOPPED = "stopped"
    """We wanted it."""
    UNREACHABLE = "unreachable"
    """Nobody answers, or not as a broker."""
    OTHER_VERSION = "other version"
    """It may speak another version of MQTT."""
    REFUSED = "refused"
    """The broker said no to CONNECT, or threw us out for what we may not do."""
    BUSY = "busy"
    """The broker has too much to do, or is about to stop."""
    TAKEN_OVER = "taken over"
    """Another client with our id has come."""
    LOST = "lost"
    """The connection broke, or the broker closed it without a word."""
    DEAD = "dead"
    """Nothing came back any more, so that we closed it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt or a connection ended."""

    cause: Cause
    """What kind of end it was."""
    error: SyncError | None = None
    """What is wrong and what to do; None where that is nothing but to try again."""
    held_s: float = 0.0
    """Seconds that the connection lasted, 0 when there was none."""

    @property
    def hopeless(self) -> bool:
        """Whether somebody has to do something before the next attempt ends in another way."""
        return self.cause is Cause.REFUSED


def unreachable(address: BrokerAddress, why: Trouble, *, cause: Cause = Cause.UNREACHABLE) -> Ending:
    """Returns the ending of an attempt that nobody answered."""
    fix = why.fix or "start one with 'twin-edge broker', or name another with --broker"
    return Ending(cause, BrokerUnreachableError(f"no broker at {address} ({why.text})", fix=fix))


def refused(address: BrokerAddress, reason: ReasonCode, user: str | None, version: MqttVersion) -> Ending:
    """Returns the ending of an attempt that a CONNACK refused."""
    if reason.value == UNSUPPORTED_VERSION:
        message = f"the broker at {address} does not speak MQTT {version.value}"
        error = BrokerRefusedError(message, fix="let twin-edge choose the MQTT version")
        return Ending(Cause.OTHER_VERSION, error)
    who = f"the user {user!r}" if user else "an anonymous client"
    message = f"the broker at {address} refused {who} ({str(reason).lower()})"
    if reason.value in _CREDENTIALS:
        fix = f"give the user in the URL (mqtt://USER@HOST) and the password in {PASSWORD_VARIABLE}"
        return Ending(Cause.REFUSED, BrokerRefusedError(message, fix=fix))
    if reason.value in _ELSEWHERE:
        return Ending(Cause.REFUSED, BrokerRefusedError(message, fix="name the other server with --broker"))
    cause = Cause.BUSY if reason.value in _BUSY else Cause.REFUSED
    return Ending(cause, BrokerRefusedError(message, fix="look into the broker's log"))


def dismissed(address: BrokerAddress, client_id: str, reason: ReasonCode, server: str, held_s: float) -> Ending:
    """Returns the ending of a connection for which the broker gave a reason (MQTT 5).

    Args:
        address: The broker.
        client_id: Our client id.
        reason: Its reason.
        server: The other server that it names, if any.
        held_s: Seconds that the connection lasted.
    """
    code = reason.value
    if code == TAKEN_OVER:
        return Ending(Cause.TAKEN_OVER, duplicate_identity(address, client_id), held_s)
    message = f"the broker at {address} ended the connection ({str(reason).lower()})"
    if code in _ELSEWHERE:
        fix = f"name the other server with --broker{f' (it says {server[:200]!r})' if server else ''}"
        return Ending(Cause.REFUSED, BrokerRefusedError(message, fix=fix), held_s)
    if code in _CREDENTIALS:
        fix = "look into the broker's log for what this client may not do"
        return Ending(Cause.REFUSED, BrokerRefusedError(message, fix=fix), held_s)
    if code in _BUSY:
        return Ending(Cause.BUSY, BrokerRefusedError(message, fix="look into the broker's limits"), held_s)
    return Ending(Cause.LOST, None, held_s)


def duplicate_identity(address: BrokerAddress, client_id: str) -> BrokerRefusedError:
    """Returns the error of a device whose name another one has as well."""
    return BrokerRefusedError(
        f"duplicate identity: another client of {address} connects as {client_id!r}, and each throws the other out",
        fix="stop the other one, or give one of them another name with --twin",
    )
