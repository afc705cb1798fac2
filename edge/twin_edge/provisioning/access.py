"""Who may do what at the broker: the rules of mosquitto's `acl_file`.

Every rule of a device spells out namespace and name. A `pattern` with `%u` would take the name from the certificate,
but the namespace is not in it: `pattern write twin/v1/+/%u/up/#` lets `cam-01` of one namespace write as the `cam-01`
of every other.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from twin_edge.sync.wire.topics import PREFIX, TwinId

if TYPE_CHECKING:
    from twin_edge.provisioning.plan import Client


class Role(enum.Enum):
    """What a client that is no device may do."""

    VIEWER = "viewer"
    """Follow every twin, and ask it for what is missing."""
    OPERATOR = "operator"
    """What a viewer may do, and set values and models."""
    HOME_ASSISTANT = "home-assistant"
    """What an operator may do, and everything of Home Assistant's own topics."""
    DITTO = "ditto"
    """Eclipse Ditto: read what it keeps, and send commands."""


_EVERY: Final = f"{PREFIX}/+/+"
_VIEWER: Final = (f"read {_EVERY}/up/#", f"write {_EVERY}/down/req")
_OPERATOR: Final = (*_VIEWER, f"write {_EVERY}/down/set/#", f"write {_EVERY}/down/ota")
_RULES: Final = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.HOME_ASSISTANT: (*_OPERATOR, "readwrite homeassistant/#"),
    Role.DITTO: (
        *(f"read {_EVERY}/up/{name}" for name in ("avail", "birth", "state", "event")),
        f"write {_EVERY}/down/ditto",
    ),
}
_HEAD: Final = """\
# Who may do what: made by 'twin-edge provision', which writes it anew each time.
# A user is the common name of a certificate. What is not allowed here is refused, and no rule stands before the first
# user: such a rule would be for clients without a certificate.
"""


def access_rules(twins: Iterable[TwinId], clients: Iterable[Client]) -> str:
    """Returns the text of mosquitto's `acl_file`.

    Args:
        twins: The devices, each of which may write its own `up/` and read its own `down/`, and no more.
        clients: Everybody else.
    """
    parts = [_HEAD]
    for twin in sorted(twins):
        root = twin.topics.root
        rules = (
            # Reading back is for the device's own will and bundle index, and for 'twin-edge doctor'.
            f"readwrite {root}up/#",
            f"read {root}down/#",
            f"write homeassistant/device/{twin.device}/config",
            "read homeassistant/status",
        )
        parts.append(_block(f"device {twin}", twin.device, rules))
    ordered = sorted(clients, key=lambda client: (client.role.value, client.name))
    parts += [_block(client.role.value, client.name, _RULES[client.role]) for client in ordered]
    return "\n".join(parts)


def _block(what: str, user: str, rules: Iterable[str]) -> str:
    return "\n".join([f"# {what}", f"user {user}", *(f"topic {rule}" for rule in rules)]) + "\n"
