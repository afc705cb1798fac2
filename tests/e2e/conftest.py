"""The real commands in processes of their own, and real brokers, all on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).parents[2]


class Command:
    """A running `twin-edge`, whose output is collected."""

    def __init__(self, *args, folder, env=(), preexec=None):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "edge"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            **dict(env),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twin_edge.cli.app", *map(str, args)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,  # noqa: PLW1509 - it only sets a limit
        )
        self.out: list[str] = []
        self.err: list[str] = []
        pairs = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._threads = [threading.Thread(target=self._read, args=pair) for pair in pairs]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream, lines):
        with stream:
            lines.extend(iter(stream.readline, ""))

    def objects(self, kind):
        return [value for value in map(json.loads, self.out.copy()) if value["type"] == kind]

    def says(self, text):
        return any(text in line for line in self.err)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout_s=20.0):
        code = self.process.wait(timeout_s)
        for thread in self._threads:
            thread.join(5)
        return code

    @property
    def errors(self):
        """The lines that report an error."""
        return [line.rstrip() for line in self.err if line.startswith("error:")]


@pytest.fixture
def command(tmp_path):
    running = []

    def start(*args, **options):
        running.append(Command(*args, folder=tmp_path, **options))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.wait()


class Ear:
    """A plain MQTT client that remembers what it hears, with the time."""

    def __init__(self, port):
        self.heard: list[tuple[float, str, bytes]] = []
        subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _u, m: self.heard.append((time.monotonic(), m.topic, m.payload))
        self._client.on_connect = lambda client, *_: client.subscribe("twin/v1/#", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(5)

    def values(self, end):
        return [json.loads(payload)["value"] for _, topic, payload in self.heard.copy() if topic.endswith(end)]

    def publish(self, topic, payload):
        self._client.publish(topic, payload, 1)

    def avail(self):
        return self.values("up/avail")

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listen():
    ears = []

    def start(port):
        ears.append(Ear(port))
        return ears[-1]

    yield start
    for ear in ears:
        ear.close()
