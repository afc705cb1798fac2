"""Checks of the way to the broker: secrets, clock, name, port and certificate."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from twin_edge.doctor.finding import Finding, ok, warn
from twin_edge.doctor.patient import Patient
from twin_edge.errors import BrokerUnreachableError, ConfigError, MessageError
from twin_edge.sync.mqtt.certificates import validity, validity_of_file
from twin_edge.sync.mqtt.connection import named, why

_EMBEDDED: Final = "embedded:"
_SOON: Final = timedelta(days=30)
_SYNC_FOLDER: Final = Path("/run/systemd/timesync")
_FUTURE_S: Final = 60.0
_MOST_SHOWN: Final = 4


def check_credentials(patient: Patient, name: str) -> Iterator[Finding]:
    """Reads the address and the secrets: certificate, key and password, and who else can read them."""
    if patient.config.run.broker.startswith(_EMBEDDED):
        raise ConfigError(
            "an embedded broker lives inside of 'twin-edge run' only", fix="give the broker's URL with --broker"
        )
    broker = patient.broker
    parts = [f"{broker.address} as {patient.twin}"]
    if broker.cert_file is not None:
        dates = validity_of_file(broker.cert_file)
        parts.append(f"certificate until {dates.not_after:%Y-%m-%d}")
        left = dates.not_after - datetime.now(UTC)
        if left < timedelta(0):
            raise ConfigError(
                f"the certificate {broker.cert_file} has expired ({dates.not_after:%Y-%m-%d})",
                fix="run 'twin-edge provision' again where it was made, and copy the new one",
            )
        if left < _SOON:
            yield warn(
                name,
                f"the certificate {broker.cert_file} ends in {left.days} days",
                "run 'twin-edge provision' again where it was made, and copy the new one",
            )
            return
    if broker.password is not None:
        parts.append("with a password")
    if broker.password is not None and not broker.address.tls and not _is_loopback(broker.address.host):
        yield warn(
            name, f"{broker.address} sends the password without TLS", "use mqtts://, 'twin-edge provision' helps"
        )
    elif not broker.address.tls and not _is_loopback(broker.address.host):
        yield warn(name, f"{broker.address} has no TLS: all can read and forge", "use mqtts://")
    else:
        yield ok(name, ", ".join(parts))


def check_clock(patient: Patient, name: str) -> Iterator[Finding]:
    """Looks whether the clock is behind what has certainly passed, and whether it is kept by the network."""
    now = time.time()
    past = patient.broker.tls_context().known_past_s if patient.broker.address.tls else Path(__file__).stat().st_mtime
    seen = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now + _FUTURE_S < past:
        raise ConfigError(
            f"the clock says {seen}, and {datetime.fromtimestamp(past, UTC):%Y-%m-%d %H:%M} UTC has passed already",
            fix="sudo timedatectl set-ntp true, or set it by hand; add a clock chip for places without network",
        )
    if _SYNC_FOLDER.exists() and not (_SYNC_FOLDER / "synchronized").exists():
        yield warn(name, f"{seen}, not synchronized since the start", "check the network, and 'timedatectl status'")
    else:
        yield ok(name, seen)


def check_dns(patient: Patient, name: str) -> Iterator[Finding]:
    """Looks up the broker's name."""
    address = patient.broker.address
    try:
        with named(address.host):
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BrokerUnreachableError(
            f"the name {address.host} is not known ({error.strerror or error})",
            fix="check the name, /etc/resolv.conf and the network; an address works without DNS",
        ) from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    yield ok(name, f"{address.host} is {', '.join(addresses[:_MOST_SHOWN])}")


def check_tcp(patient: Patient, name: str) -> Iterator[Finding]:
    """Opens a connection to the broker's port."""
    address, began = patient.broker.address, time.monotonic()
    try:
        with socket.create_connection((address.host, address.port), patient.config.timeout_s) as sock:
            peer = sock.getpeername()[0]
    except OSError as error:
        raise BrokerUnreachableError(
            f"nothing answers at {address.host}:{address.port} ({why(error).text})",
            fix="check that the broker runs and listens on this port and address, and the firewall",
        ) from error
    yield ok(name, f"{peer}:{address.port} answers after {1000 * (time.monotonic() - began):.0f} ms")


def check_tls(patient: Patient, name: str) -> Iterator[Finding]:
    """Makes a TLS handshake; looks at the broker's certificate and until when it is valid."""
    broker = patient.broker
    if not broker.address.tls:
        yield ok(name, f"{broker.address.scheme}:// does without")
        return
    context = broker.tls_context()
    try:
        with _handshake(patient, context) as sock:
            certificate: Any = sock.getpeercert()
            version, cipher = sock.version(), sock.cipher()
    except OSError as error:
        cause = why(error, context)
        dates = _dates_unverified(patient) if isinstance(error, ssl.SSLCertVerificationError) else ""
        raise BrokerUnreachableError(f"{cause.text}{dates}", fix=cause.fix or "look into the broker's log") from error
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    left = until - datetime.now(UTC)
    seen = f"{version}, {cipher[0] if cipher else 'no cipher'}, certificate until {until:%Y-%m-%d}"
    if left < _SOON:
        yield warn(name, f"{seen}, {left.days} days from now", "renew it: 'twin-edge provision' again")
    else:
        yield ok(name, seen)


def _handshake(patient: Patient, context: ssl.SSLContext) -> ssl.SSLSocket:
    address, timeout_s = patient.broker.address, patient.config.timeout_s
    sock = socket.create_connection((address.host, address.port), timeout_s)
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def _dates_unverified(patient: Patient) -> str:
    """Returns when the refused certificate is valid; nothing is sent over this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only looked at, by one who has just refused it
    try:
        with _handshake(patient, context) as sock:
            dates = validity(sock.getpeercert(binary_form=True) or b"")
    except (OSError, MessageError):
        return ""
    return f"; it is valid from {dates.not_before:%Y-%m-%d %H:%M} to {dates.not_after:%Y-%m-%d %H:%M} UTC"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
