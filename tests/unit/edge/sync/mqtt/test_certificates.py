from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.errors import MessageError
from twin_edge.sync.mqtt.certificates import MAX_CERTIFICATE_BYTES, validity, validity_of_file

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
MOMENTS = st.datetimes(datetime(1951, 1, 1), datetime(9990, 1, 1)).map(  # noqa: DTZ001 - made UTC below
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


def certificate(begins, ends):
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(KEY.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


SAMPLE = certificate(datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))


@given(begins=MOMENTS, days=st.integers(1, 3000))
def test_dates_of_real_certificates(begins, days):
    """In both forms of X.509: two digits for the year up to 2049, four after it."""
    read = validity(certificate(begins, begins + timedelta(days=days)))
    assert read.not_before == begins
    assert read.not_after == begins + timedelta(days=days)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(data):
    with pytest.raises(MessageError):
        validity(data)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_changed_bytes_are_read_or_refused(place, value):
    changed = SAMPLE[:place] + bytes([value]) + SAMPLE[place + 1 :]
    try:
        read = validity(changed)
    except MessageError:
        return
    assert read.not_before.tzinfo is UTC


@given(st.integers(0, 120))
def test_cut_short(length):
    with pytest.raises(MessageError):
        validity(SAMPLE[:length])


def test_too_long():
    with pytest.raises(MessageError, match="at most"):
        validity(bytes(MAX_CERTIFICATE_BYTES + 1))


def test_files(tmp_path):
    path = tmp_path / "cert.pem"
    for text in ("", "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----", "-----END CERTIFICATE-----"):
        path.write_text(text)
        with pytest.raises(MessageError):
            validity_of_file(path)
    with pytest.raises(MessageError):
        validity_of_file(tmp_path / "none.pem")
