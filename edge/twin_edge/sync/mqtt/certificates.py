"""From when until when an X.509 certificate is valid: the little of DER that it takes.

The standard library shows this of verified certificates only, and the dates matter most when verification fails.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from twin_edge.errors import MessageError

MAX_CERTIFICATE_BYTES: Final = 64 * 1024
_INTEGER, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x02, 0x30, 0x17, 0x18, 0xA0
_LONG: Final = 0x80
_MAX_LENGTH_BYTES: Final = 3
_HALF_CENTURY: Final = 50
_TIME: Final = re.compile(rb"\d{10,12}Z")
_LONG_TIME: Final = re.compile(rb"\d{14}Z")


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate is valid."""

    not_before: datetime
    """From then on, UTC."""
    not_after: datetime
    """Until then, UTC."""


def validity(der: bytes) -> Validity:
    """Reads the validity of an untrusted certificate.

    Args:
        der: The certificate, DER.

    Raises:
        MessageError: It is not one.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MessageError(f"a certificate has {len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are read")
    try:
        tbs, _ = _take(_take(der, _SEQUENCE)[0], _SEQUENCE)
        if tbs[:1] == bytes([_VERSION]):
            _, tbs = _take(tbs, _VERSION)
        _, tbs = _take(tbs, _INTEGER)  # serial number
        _, tbs = _take(tbs, _SEQUENCE)  # signature algorithm
        _, tbs = _take(tbs, _SEQUENCE)  # issuer
        dates, _ = _take(tbs, _SEQUENCE)
        not_before, dates = _time(dates)
        not_after, _ = _time(dates)
    except (ValueError, IndexError, OverflowError) as error:
        raise MessageError(f"a certificate is not readable ({error})") from error
    return Validity(not_before, not_after)


def validity_of_file(file: Path) -> Validity:
    """Reads the validity of the first certificate of a PEM file.

    Raises:
        MessageError: There is none.
    """
    try:
        text = file.read_bytes()[: 4 * MAX_CERTIFICATE_BYTES].decode("ascii", "replace")
        begin, end = text.index("-----BEGIN CERTIFICATE-----"), text.index("-----END CERTIFICATE-----")
        der = ssl.PEM_cert_to_DER_cert(text[begin : end + len("-----END CERTIFICATE-----")])
    except (OSError, ValueError) as error:
        raise MessageError(f"{file} holds no certificate") from error
    return validity(der)


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Returns the content of the first element, which must have this tag, and what follows it."""
    if data[0] != tag:
        raise ValueError(f"tag {data[0]:#x} instead of {tag:#x}")
    length, start = data[1], 2
    if length & _LONG:
        count = length & ~_LONG
        if not 1 <= count <= _MAX_LENGTH_BYTES or len(data) < 2 + count:
            raise ValueError("a length that cannot be")
        length, start = int.from_bytes(data[2 : 2 + count]), 2 + count
    if len(data) < start + length:
        raise ValueError("cut short")
    return data[start : start + length], data[start + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    tag = data[0]
    if tag == _UTC_TIME:
        text, rest = _take(data, _UTC_TIME)
        if not _TIME.fullmatch(text):
            raise ValueError("a time that cannot be")
        # RFC 5280: two digits below 50 are of this century.
        century = b"20" if int(text[:2]) < _HALF_CENTURY else b"19"
        text = century + (text if len(text) > len("YYMMDDhhmmZ") else text[:-1] + b"00Z")
    else:
        text, rest = _take(data, _GENERALIZED_TIME)
    if not _LONG_TIME.fullmatch(text):
        raise ValueError("a time that cannot be")
    return datetime.strptime(text.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
