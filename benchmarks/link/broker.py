"""A real mosquitto on the loopback, and what can happen to it."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PROGRAM: Final = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
_START_S: Final = 10.0


def find_free_port() -> int:
    """Returns a port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """A mosquitto that keeps its port over restarts; a context manager that starts it.

    Args:
        folder: Where its configuration, log and persistence are.
        lines: Further lines of its configuration.
        persistent: Whether it writes to the disk after every change, and reads it at the start.
        passwords: Password by user; nobody else may come in then.
        listener: Lines that belong to the listener, such as its certificates.
    """

    def __init__(
        self,
        folder: Path,
        *lines: str,
        persistent: bool = False,
        passwords: dict[str, str] | None = None,
        listener: tuple[str, ...] = (),
    ) -> None:
        if PROGRAM is None:
            raise FileNotFoundError("mosquitto is not installed: apt install mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = find_free_port()
        self._process: subprocess.Popen[bytes] | None = None
        text = [f"listener {self.port} 127.0.0.1", *listener, f"user {getpass.getuser()}"]
        if persistent:
            text += [f"persistence true\npersistence_location {folder}/", "autosave_on_changes true"]
            text += ["autosave_interval 1", "max_queued_messages 0"]
        if passwords is not None:
            self.set_passwords(passwords)
            text += ["allow_anonymous false", f"password_file {folder / 'passwords'}"]
        else:
            text += ["allow_anonymous true"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join([*text, *lines]) + "\n")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> Self:
        """Starts it, and waits until it listens.

        Raises:
            RuntimeError: It does not.
        """
        log = self._folder / "mosquitto.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen([str(PROGRAM), "-c", str(self._config)], stdout=file, stderr=file)
        deadline_s = time.monotonic() + _START_S
        while not self._listens():
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                raise RuntimeError(f"mosquitto does not start: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.02)
        return self

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal: SIGSTOP freezes it, SIGCONT thaws it, SIGHUP makes it read its passwords anew."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it by kill -9; may be called again."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it by SIGTERM."""
        self.send_signal(signal.SIGCONT)
        self._end(signal.SIGTERM)

    def set_passwords(self, passwords: dict[str, str]) -> None:
        """Writes the password file; a running broker reads it on SIGHUP."""
        path = self._folder / "passwords"
        path.write_text("")
        path.chmod(0o600)
        for user, password in passwords.items():
            subprocess.run(["mosquitto_passwd", "-b", str(path), user, password], check=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(5)
            self._process = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False
