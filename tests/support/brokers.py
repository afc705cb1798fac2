"""Real brokers for the tests, on loopback."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")


def require_mosquitto():
    """Ends a test that needs mosquitto where there is none."""
    if MOSQUITTO is None:
        # A person may do without; the machine that says green may not.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mosquitto is not installed: apt install mosquitto")


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, timeout_s=10.0):
    """Waits until a condition holds; returns whether it came to."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


class Mosquitto:
    """A mosquitto on a free loopback port, without persistence; it keeps its port over restarts."""

    def __init__(self, folder: Path, users: dict[str, str] | None = None, extra: str = ""):
        self.port = find_free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.folder = folder
        self.process = None
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", f"user {getpass.getuser()}", extra]
        passwords = folder / "passwords"
        for user, password in (users or {}).items():
            passwords.touch(mode=0o600)
            subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True)
        lines += ["allow_anonymous false", f"password_file {passwords}"] if users else ["allow_anonymous true"]
        self.config = folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")

    def start(self):
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stdout=log, stderr=log)
        assert eventually(self._listens), (self.folder / "mosquitto.log").read_text()
        return self

    def _listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)
            self.process = None

    def restart(self):
        self.kill()
        return self.start()
