"""A certificate authority: X.509 certificates with P-256 keys.

P-256 is what every TLS library of the last ten years takes, mosquitto's included; keys and handshakes are small. The
package `cryptography` does the work (docs/adr/0010-provisioning.md); it is imported when it is needed, because devices
do not have it.
"""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from twin_edge.errors import ConfigError
from twin_edge.provisioning.plan import is_address

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

_CA_DAYS: Final = 3650
_EARLIER: Final = timedelta(days=1)
"""Certificates are valid from a day before they are made: clocks differ."""
_CA_NAME: Final = "twin-edge CA"


def require_cryptography() -> None:
    """Asks for the package that makes certificates.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        importlib.import_module("cryptography.x509")
    except ImportError as error:
        raise ConfigError(
            "making certificates needs the package cryptography", fix="pip install 'twin-edge[provision]'"
        ) from error


def new_key() -> bytes:
    """Returns a new P-256 key, PEM (PKCS 8), not encrypted."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return _pem_of(ec.generate_private_key(ec.SECP256R1()), None)


@dataclass(frozen=True, slots=True)
class Issued:
    """What a certificate says."""

    name: str
    """Common name of its subject."""
    hosts: tuple[str, ...]
    """Names and addresses that it is for."""
    not_after: datetime
    """Until when it is valid, UTC."""

    @classmethod
    def read(cls, pem: bytes) -> Issued:
        """Reads a certificate.

        Raises:
            ConfigError: It is none.
        """
        from cryptography import x509

        certificate = _certificate(pem, "the certificate")
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        try:
            alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            hosts = [str(name) for name in alternative.get_values_for_type(x509.DNSName)]
            hosts += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
        except x509.ExtensionNotFound:
            hosts = []
        return cls(str(names[0].value) if names else "", tuple(hosts), certificate.not_valid_after_utc)


class Authority:
    """Signs certificates.

    Args:
        certificate_pem: Its certificate, PEM.
        key_pem: Its key, PEM.
        passphrase: Decrypts the key; None for one that is not encrypted.

    Raises:
        ConfigError: They cannot be read, do not belong together, or are not an authority's.
    """

    def __init__(self, certificate_pem: bytes, key_pem: bytes, passphrase: str | None = None) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        self.certificate_pem = certificate_pem
        self._certificate = _certificate(certificate_pem, "the authority's certificate")
        secret = passphrase.encode() if passphrase else None
        try:
            key: Any = serialization.load_pem_private_key(key_pem, secret)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                "the authority's key cannot be read",
                fix="give a PEM key, and its passphrase in TWIN_EDGE_CA_PASSPHRASE",
            ) from error
        self._key: CertificateIssuerPrivateKeyTypes = key
        if key.public_key() != self._certificate.public_key():
            raise ConfigError(
                "the authority's key does not belong to its certificate", fix="give both of one authority"
            )
        try:
            is_ca = self._certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise ConfigError(
                "this certificate is not an authority's", fix="give one with CA:TRUE, or none to make one"
            )

    @staticmethod
    def create(passphrase: str | None = None) -> tuple[bytes, bytes]:
        """Makes a new authority for ten years.

        Args:
            passphrase: Encrypts the key; None does not.

        Returns:
            Its certificate and its key, PEM.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _CA_NAME)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(name, name, key.public_key(), _CA_DAYS)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        return _pem_of_certificate(certificate), _pem_of(key, passphrase)

    def issue(self, name: str, key_pem: bytes, days: int, *, hosts: Sequence[str] = ()) -> bytes:
        """Signs a certificate: a server's when it has hosts, else a client's, and neither is good for the other.

        Args:
            name: Common name of its subject, which is its user name at the broker.
            key_pem: Its key, PEM.
            days: How long it is valid, at most as long as the authority is.
            hosts: Names and addresses of a server.

        Returns:
            The certificate, PEM.

        Raises:
            ConfigError: The key cannot be read.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import ExtendedKeyUsageOID

        try:
            key: Any = serialization.load_pem_private_key(key_pem, None)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the key of {name} cannot be read", fix="make a new one with --force") from error
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._certificate.subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage("digital_signature"), critical=True)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            names = [
                x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host) for host in hosts
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        public: Any = self._key.public_key()
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        certificate = builder.add_extension(signer, critical=False).sign(self._key, hashes.SHA256())
        return _pem_of_certificate(certificate)

    def has_signed(self, pem: bytes) -> bool:
        """Returns whether a certificate is one of this authority."""
        try:
            _certificate(pem, "the certificate").verify_directly_issued_by(self._certificate)
        except Exception:  # noqa: BLE001 - InvalidSignature, ValueError and TypeError all say no
            return False
        return True


def belongs(certificate_pem: bytes, key_pem: bytes) -> bool:
    """Returns whether a key is that of a certificate."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (TypeError, ValueError):
        return False
    return key.public_key() == _certificate(certificate_pem, "the certificate").public_key()


def _builder(subject: x509.Name, issuer: x509.Name, public_key: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    from cryptography import x509

    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in wanted for name in names})


def _certificate(pem: bytes, what: str) -> x509.Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError(f"{what} cannot be read", fix="give a PEM certificate") from error


def _pem_of(key: Any, passphrase: str | None) -> bytes:
    from cryptography.hazmat.primitives import serialization

    encryption: Any = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


def _pem_of_certificate(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)
