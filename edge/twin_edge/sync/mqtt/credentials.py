"""Secrets of a connection: where they come from, and who else could read them.

A password comes from a file that is named, else from the environment, else from the credentials that systemd hands to
a service (`LoadCredential=mqtt-password:FILE`). It is never part of a command line, which every process can read.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from twin_edge.errors import ConfigError
from twin_edge.sync.mqtt.broker_url import PASSWORD_VARIABLE

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Environment variable in which systemd names the folder of a service's credentials."""
PASSWORD_CREDENTIAL: Final = "mqtt-password"  # noqa: S105 - the credential's name
"""Name of the credential that holds the password."""

_MAX_PASSWORD_BYTES: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def find_password(file: Path | None, environ: Mapping[str, str]) -> str | None:
    """Returns the password of a connection, None when there is none.

    Args:
        file: A file that holds nothing else, but for a line feed at its end; takes precedence when given.
        environ: The environment of the process.

    Raises:
        ConfigError: A file cannot be read, holds no password, or can be read by others.
    """
    if file is not None:
        return read_password(file, environ)
    if password := environ.get(PASSWORD_VARIABLE):
        return password
    folder = environ.get(CREDENTIALS_VARIABLE)
    credential = Path(folder, PASSWORD_CREDENTIAL) if folder else None
    return read_password(credential, environ) if credential is not None and credential.exists() else None


def read_password(file: Path, environ: Mapping[str, str]) -> str:
    """Reads the password in a file.

    Raises:
        ConfigError: The file cannot be read, holds no password, or can be read by others.
    """
    try:
        with file.open("rb") as stream:
            _check_mode(file, os.fstat(stream.fileno()).st_mode, "password", environ)
            data = stream.read(_MAX_PASSWORD_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the password file {file} ({error.strerror})", fix="check its path") from error
    try:
        password = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password or len(data) > _MAX_PASSWORD_BYTES or not password.isprintable():
        # What is in the file stays out of the message: it may be most of a password.
        raise ConfigError(f"{file} holds no password", fix="put it there on one line, as UTF-8, and nothing else")
    return password


def check_private(file: Path, what: str, environ: Mapping[str, str] | None = None) -> None:
    """Refuses a file with a secret that other users of this machine can read.

    Args:
        file: The file.
        what: What it holds, such as `key`.
        environ: The environment; that of this process when None.

    Raises:
        ConfigError: It cannot be found, or others can read it.
    """
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read the {what} file {file} ({error.strerror})", fix="check its path") from error
    _check_mode(file, mode, what, os.environ if environ is None else environ)


def load_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Gives a context the certificate to show, and its key.

    Raises:
        ConfigError: A file cannot be read, others can read the key, or the two do not belong together.
    """
    check_private(key_file, "key")
    if not os.access(cert_file, os.R_OK):
        raise ConfigError(f"cannot read the certificate file {cert_file}", fix="check its path")
    if not os.access(key_file, os.R_OK):
        raise ConfigError(
            f"cannot read the key file {key_file} (Permission denied)", fix="run as its owner, or change the owner"
        )

    def refuse() -> NoReturn:
        # OpenSSL would ask on the terminal for it, which a service does not have.
        raise ConfigError(
            f"the key {key_file} is encrypted", fix="decrypt it with 'openssl pkey', and keep it with chmod 600"
        )

    try:
        context.load_cert_chain(cert_file, key_file, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"the key {key_file} does not belong to the certificate {cert_file}",
                fix="give the two files that were made together",
            ) from error
        raise ConfigError(
            f"{cert_file} and {key_file} hold no certificate and key ({error.reason or 'not PEM'})",
            fix="give PEM files: --cert-file the certificate, --key-file its private key",
        ) from error


def _check_mode(file: Path, mode: int, what: str, environ: Mapping[str, str]) -> None:
    # systemd keeps credentials in a folder that is the service's alone, and may show an ACL as group permission.
    folder = environ.get(CREDENTIALS_VARIABLE)
    if folder and file.resolve().is_relative_to(Path(folder).resolve()):
        return
    if mode & _OTHERS:
        raise ConfigError(
            f"the {what} file {file} can be used by other users (mode {stat.S_IMODE(mode):04o})",
            fix=f"chmod 600 {file}",
        )
