"""Certificates for a broker on the loopback: good ones, and ones with faults."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from link.verdict import NotRunnableError

_CONFIG = """
[ca]
default_ca = one
[one]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Signs certificates with the openssl command.

    Args:
        folder: Where keys and certificates are kept.

    Raises:
        NotRunnableError: There is no openssl.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.ca_file = folder / "ca.pem"
        self._config = folder / "ca.conf"
        self._config.write_text(_CONFIG.format(folder=folder))
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01\n")
        self._run(
            "req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-subj", "/CN=twin-edge test"
        )

    def certificate(
        self, name: str, *, days: tuple[float, float] = (-1, 30), host: str = "127.0.0.1"
    ) -> tuple[str, ...]:
        """Makes a certificate.

        Args:
            name: Of its files.
            days: From when to when it is valid, days from now.
            host: IP address that it is for.

        Returns:
            The lines of mosquitto's configuration for it.
        """
        request = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{host}")
        self._run("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", *request)
        start, end = (f"{datetime.now(UTC) + timedelta(days=day):%Y%m%d%H%M%SZ}" for day in days)
        dates = ("-startdate", start, "-enddate", end)
        self._run("ca", "-batch", "-config", str(self._config), "-in", f"{name}.csr", "-out", f"{name}.pem", *dates)
        paths = {word: self._folder / f"{name}.{word}" for word in ("key", "pem")}
        paths["key"].chmod(0o644)  # mosquitto may run as another user
        return (f"cafile {self.ca_file}", f"certfile {paths['pem']}", f"keyfile {paths['key']}")

    def _run(self, *arguments: str) -> None:
        try:
            done = subprocess.run(
                ["openssl", *arguments], cwd=self._folder, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise NotRunnableError("openssl is not installed: apt install openssl") from error
        if done.returncode:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr[-400:]}")
