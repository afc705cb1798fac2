"""TLS to a broker: a context that verifies, and why it failed in words of one who has to put it right."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twin_edge.errors import MessageError
from twin_edge.sync.mqtt.certificates import validity_of_file

_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_WRONG_PURPOSE: Final = 26
_OTHER_NAME: Final = frozenset({62, 64})

_BY_ALERT: Final = {
    "CERTIFICATE_REQUIRED": "it wants a certificate of this client",
    "HANDSHAKE_FAILURE": "it refused the handshake, as it does without a certificate of this client",
    "UNKNOWN_CA": "it does not know the authority of this client's certificate",
    "BAD_CERTIFICATE": "it refused this client's certificate",
    "CERTIFICATE_UNKNOWN": "it refused this client's certificate",
    "CERTIFICATE_EXPIRED": "this client's certificate has expired or is not valid yet, by the broker's clock",
    "CERTIFICATE_REVOKED": "this client's certificate is revoked",
    "UNSUPPORTED_CERTIFICATE": "it refused this client's certificate",
}
_SHOW_ONE: Final = "give one of its authority with --cert-file and --key-file; 'twin-edge provision' makes them"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no connection."""

    text: str
    """What is wrong."""
    fix: str
    """What to do about it; empty where that depends."""


class TlsSocket(ssl.SSLSocket):
    """Remembers why reading failed.

    With TLS 1.3 the broker looks at the client's certificate after our handshake is over, so that its refusal comes
    with the first read; paho takes that for a connection like any other that has ended.
    """

    failure: ssl.SSLError | None = None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Reads; see `ssl.SSLSocket`."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            raise


class TlsContext(ssl.SSLContext):
    """Verifies certificate and host name, as a client's context does by default.

    It keeps the last socket that it made, because paho leaves the one of a failed handshake open.
    """

    sslsocket_class = TlsSocket
    last: ssl.SSLSocket | None = None
    known_past_s: float = 0.0
    """A time that has certainly passed, seconds since the epoch: a clock that is behind it is wrong."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Makes a TLS socket; see `ssl.SSLContext`."""
        self.last = super().wrap_socket(*args, **options)
        return self.last

    @property
    def failure(self) -> ssl.SSLError | None:
        """Why reading from the last socket failed, None when it did not."""
        return self.last.failure if isinstance(self.last, TlsSocket) else None


def known_past_s(context: ssl.SSLContext, files: Iterable[Path]) -> float:
    """Returns a time that has certainly passed, seconds since the epoch.

    An authority that is trusted here was made before it came here, as was a file. So a clock that is before that, as
    after a power cut without a clock chip, can be told from a certificate that is really not valid yet.

    Args:
        context: With the trusted authorities.
        files: Certificates and keys of this machine.
    """
    moments: list[float] = [ssl.cert_time_to_seconds(str(each["notBefore"])) for each in context.get_ca_certs()]
    for file in files:
        with contextlib.suppress(OSError):
            moments.append(file.stat().st_mtime)
        with contextlib.suppress(MessageError):
            moments.append(validity_of_file(file).not_before.timestamp())
    return max(moments, default=0.0)


def explain(error: ssl.SSLError, context: ssl.SSLContext | None = None) -> Trouble:
    """Returns why TLS failed.

    Args:
        error: What was raised.
        context: The context that it was raised with.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, context)
    reason = error.reason or ""
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"} or "HTTP_REQUEST" in reason:
        return Trouble("it does not speak TLS at this port", "give the port of its TLS listener, often 8883")
    alert = next((text for key, text in _BY_ALERT.items() if reason.endswith("ALERT_" + key)), None)
    if alert is not None:
        return Trouble(alert, _SHOW_ONE)
    return Trouble(f"TLS failed: {reason or error}", "")


def _explain_certificate(error: ssl.SSLCertVerificationError, context: ssl.SSLContext | None) -> Trouble:
    what = "its certificate is not valid"
    code = error.verify_code
    if code == _NOT_YET_VALID:
        return _explain_clock(context.known_past_s if isinstance(context, TlsContext) else 0.0)
    if code == _EXPIRED:
        return Trouble(
            f"{what}: it has expired, by this machine's clock ({_shown(time.time())})",
            "renew it ('twin-edge provision' again), or set the clock if that is not the time",
        )
    if code in _OTHER_NAME:
        host = context.last.server_hostname if isinstance(context, TlsContext) and context.last else None
        return Trouble(
            f"{what}: it is for another host than {host}" if host else f"{what}: it is for another host",
            "give a name that it has in --broker, or make one with 'twin-edge provision --broker-host'",
        )
    if code in _UNKNOWN_AUTHORITY:
        return Trouble(
            f"{what}: no authority that is trusted here has signed it",
            "give the certificate of the broker's authority with --ca-file",
        )
    if code == _WRONG_PURPOSE:
        return Trouble(f"{what}: it is none of a server", "give the broker a certificate of its own")
    return Trouble(f"{what}: {error.verify_message}", "give the authority with --ca-file")


def _explain_clock(past_s: float) -> Trouble:
    now_s = time.time()
    if now_s < past_s:
        return Trouble(
            f"this machine's clock is wrong: it says {_shown(now_s)}, and {_shown(past_s)} has passed already, so "
            "that the certificate seems not valid yet",
            "set the clock ('timedatectl set-ntp true'); it goes on by itself then",
        )
    return Trouble(
        f"its certificate is not valid yet, by this machine's clock ({_shown(now_s)})",
        "set this clock, or that of the machine that made the certificate, and make it again",
    )


def _shown(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M} UTC"
