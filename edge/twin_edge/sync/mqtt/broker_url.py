"""The address of a broker, as a URL without secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from twin_edge.errors import ConfigError

PASSWORD_VARIABLE: Final = "TWIN_EDGE_MQTT_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable that holds the password."""

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_FORM: Final = "give it as mqtt://[USER@]HOST[:PORT], or with mqtts, ws or wss"
_USER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is, and as whom to log in."""

    scheme: str
    """`mqtt`, `mqtts` (TLS), `ws` or `wss` (WebSocket over TLS)."""
    host: str
    """Name or address, without the brackets of IPv6."""
    port: int
    """1-65535."""
    user: str | None = None
    """Whom to log in as; anonymous when None."""
    path: str = "/mqtt"
    """Path of the WebSocket; not used otherwise."""

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Reads `mqtt://[user@]host[:port]`, `mqtts://`, `ws://host[:port][/path]` or `wss://`.

        Raises:
            ConfigError: It is of another form, or holds a password.
        """
        # The URL itself stays out of every message: what is wrong with it may be a password in an odd place.
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError("the broker's URL has a malformed host or port", fix=_FORM) from error
        if parts.password is not None:
            raise ConfigError(
                "the broker's URL holds a password, which every process of this machine could read",
                fix=f"take it out of the URL and set {PASSWORD_VARIABLE} in the environment",
            )
        if scheme not in _PORTS or not host:
            raise ConfigError("the broker's URL has no known scheme or no host", fix=_FORM)
        web = scheme in {"ws", "wss"}
        if parts.query or parts.fragment or port == 0 or (parts.path not in {"", "/"} and not web):
            raise ConfigError("the broker's URL has a part that means nothing here", fix=_FORM)
        user = unquote(parts.username) if parts.username else None
        if user is not None and not _USER.fullmatch(user):
            raise ConfigError("the user in the broker's URL is too long or has control characters", fix=_FORM)
        path = parts.path if web and parts.path not in {"", "/"} else "/mqtt"
        return cls(scheme, host, port or _PORTS[scheme], user, path)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the broker's certificate verified."""
        return self.scheme in {"mqtts", "wss"}

    @property
    def websocket(self) -> bool:
        """Whether MQTT goes through a WebSocket."""
        return self.scheme in {"ws", "wss"}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path if self.websocket else ''}"
