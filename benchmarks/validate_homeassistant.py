"""A real device against a real Home Assistant, over a real mosquitto: is everything there, and does it do what it says?

    python benchmarks/validate_homeassistant.py bundles/rig.twin --install     once: a throw-away environment
    python benchmarks/validate_homeassistant.py bundles/rig.twin

Home Assistant runs in an environment of its own, `.homeassistant/`, because it needs a newer Python and its own
versions of everything; `--install` makes it with `--python`. What runs there is Home Assistant's core with its MQTT
integration, unchanged (`benchmarks/external/homeassistant_instance.py`). Writes
benchmarks/results/homeassistant.json; exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from device import mosquitto  # the script beside this one
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from twin_edge.files import write_atomic

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".homeassistant"
INSTANCE = Path(__file__).parent / "external" / "homeassistant_instance.py"
RESULTS = Path("benchmarks/results/homeassistant.json")
# The integrations that MQTT leads to have these requirements of their own.
PACKAGES = ("homeassistant", "paho-mqtt==2.1.0", "PyTurboJPEG")
TWIN = "org.acme/cam-01"
TOPIC = "twin/v1/org.acme/cam-01"
DISCOVERY = "homeassistant/device/cam-01/config"
ID = "org.acme-cam-01-"
START_S, WAIT_S = 90.0, 30.0
REPORT_S = 75.0
"""A report comes once a minute when nothing else changes."""
SLOW = 6
"""More than the frame rate that is set, and less than the one before, frames per second."""


class HomeAssistant:
    """A Home Assistant in a process of its own."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self._folder = folder
        (folder / "configuration.yaml").touch()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(HOME / "bin" / "python"), str(INSTANCE), str(folder), str(broker_port), str(port)]
        with (folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._in: Any = self._process.stdin
        self._out: Any = self._process.stdout
        self.version = self._read()["version"]

    def _read(self) -> Any:
        # It never says nothing for long, unless it hangs.
        timer = threading.Timer(START_S, self._process.kill)
        timer.start()
        line = self._out.readline()
        timer.cancel()
        if not line:
            sys.exit(f"Home Assistant ended: {(self._folder / 'log.txt').read_text()[-2000:]}")
        return json.loads(line)

    def ask(self, do: str, **more: Any) -> Any:
        """Gives a command; returns the answer."""
        self._in.write(json.dumps({"do": do, **more}) + "\n")
        self._in.flush()
        return self._read()

    def state(self, name: str) -> str | None:
        """Returns the state of an entity of the device, None when there is no such entity."""
        entity = self.ask("entities").get(ID + name)
        return None if entity is None else entity["state"]

    def call(self, domain: str, service: str, name: str, **data: Any) -> None:
        """Does what a person does with an entity."""
        entity_id = self.ask("entities")[ID + name]["entity_id"]
        self.ask("call", domain=domain, service=service, data={"entity_id": entity_id, **data})

    def stop(self) -> None:
        """Ends it."""
        self._in.close()
        try:
            self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Ear:
    """A plain client that keeps the latest message of each topic."""

    def __init__(self, port: int) -> None:
        self.last: dict[str, bytes] = {}
        self.count: dict[str, int] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([("twin/v1/#", 1), ("homeassistant/#", 1)])
        self._client.loop_start()

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.last[message.topic] = bytes(message.payload)
        self.count[message.topic] = self.count.get(message.topic, 0) + 1

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publishes a message."""
        self._client.publish(topic, payload, 1, retain)

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()


class Device:
    """A `twin-edge run` in a process of its own."""

    def __init__(self, bundle: Path, url: str, folder: Path) -> None:
        paths = os.pathsep.join([str(ROOT / "edge"), *sys.path])
        command = [sys.executable, "-m", "twin_edge", "run", "--bundle", str(bundle), "--broker", url, "--twin", TWIN]
        command += ["--fps", "10", "--preview", "--state-dir", str(folder), "--wait-for-broker"]
        self._process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def end(self, number: int) -> None:
        """Ends it by a signal."""
        self._process.send_signal(number)
        self._process.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGTERM)


class Checks:
    """What was looked at, and what came of it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def add(self, name: str, passed: object, evidence: object) -> None:
        """Notes a check."""
        self.rows.append({"name": name, "result": "pass" if passed else "fail", "evidence": str(evidence)[:300]})

    def until(
        self, name: str, probe: Callable[[], Any], wanted: Callable[[Any], bool], timeout_s: float = WAIT_S
    ) -> Any:
        """Notes whether something comes to be as it is wanted, and after how long."""
        began_s = time.monotonic()
        while True:
            value = probe()
            passed_s = time.monotonic() - began_s
            if wanted(value) or passed_s > timeout_s:
                self.add(name, wanted(value), f"{value!r:.200} after {passed_s:.1f} s")
                return value
            time.sleep(0.2)


def is_number(text: str | None) -> bool:
    """Returns whether a state of Home Assistant is a number."""
    with contextlib.suppress(TypeError, ValueError):
        return float(str(text)) == float(str(text))
    return False


def is_slow(text: str | None) -> bool:
    """Returns whether a frame rate is the slow one."""
    return is_number(text) and 0 < float(str(text)) < SLOW


def is_away(text: str | None) -> bool:
    """Returns whether Home Assistant takes an entity for unavailable."""
    return text == "unavailable"


def check_entities(checks: Checks, home: HomeAssistant, ear: Ear) -> None:
    """Looks at what appears by itself."""
    checks.until("the device announces itself", lambda: DISCOVERY in ear.last, bool)
    payload = ear.last[DISCOVERY].decode()
    complaints = home.ask("validate", payload=payload)
    checks.add("Home Assistant's schemas take the announcement", not complaints, complaints or f"{len(payload)} bytes")
    wanted = {component["uniq_id"] for component in json.loads(payload)["cmps"].values()}
    checks.until("every entity appears", lambda: set(home.ask("entities")) ^ wanted, lambda differ: not differ)
    for name in ("gap", "fps", "p95", "spool", "set-fps", "set-quality"):
        checks.until(f"{name} is a number", partial(home.state, name), is_number)
    checks.until("the twin is in sync: no problem", lambda: home.state("sync"), lambda state: state == "off")
    checks.until("the bundle that runs is the broker's: no update", lambda: home.state("bundle"), lambda s: s == "off")
    codec, index = (json.loads(ear.last[f"{TOPIC}/{name}"]) for name in ("up/codec", "up/bundle/index"))
    other = {**index, "digest": "0" * len(codec["bundle"])}
    ear.publish(f"{TOPIC}/up/bundle/index", json.dumps(other).encode(), retain=True)
    checks.until("the broker has another one: an update", lambda: home.state("bundle"), lambda s: s == "on")
    ear.publish(f"{TOPIC}/up/bundle/index", json.dumps(index).encode(), retain=True)
    checks.until("and back", lambda: home.state("bundle"), lambda s: s == "off")
    checks.until("run is on", lambda: home.state("set-run"), lambda state: state == "on")
    checks.until("a preview comes", lambda: ear.last.get(f"{TOPIC}/up/preview", b""), bool)
    entity_id = home.ask("entities")[ID + "preview"]["entity_id"]
    checks.until(
        "the camera shows the preview",
        lambda: base64.b64decode(home.ask("image", entity_id=entity_id)) == ear.last[f"{TOPIC}/up/preview"],
        bool,
    )


def check_controls(checks: Checks, home: HomeAssistant) -> None:
    """Uses the controls."""
    home.call("number", "set_value", "set-fps", value=4)
    checks.until("a frame rate set in Home Assistant comes back", lambda: home.state("set-fps"), lambda s: s == "4")
    checks.until(
        "and is what is measured", lambda: home.state("fps"), lambda s: is_number(s) and float(str(s)) < SLOW, 75
    )
    home.call("switch", "turn_off", "set-run")
    checks.until("run switched off comes back", lambda: home.state("set-run"), lambda state: state == "off")
    checks.until("a paused twin knows of no problem", lambda: home.state("sync"), lambda state: state == "unknown")
    home.call("switch", "turn_on", "set-run")
    checks.until("run switched on: in sync again", lambda: home.state("sync"), lambda state: state == "off")


def check_lives(checks: Checks, bundle: Path, port: int, folder: Path) -> str:
    """Goes through the lives of device and Home Assistant; returns the version of the latter."""
    url, ear = f"mqtt://127.0.0.1:{port}", Ear(port)
    (folder / "home").mkdir()
    home = HomeAssistant(folder / "home", port)
    try:
        with Device(bundle, url, folder / "state") as device:
            check_entities(checks, home, ear)
            check_controls(checks, home)
            device.end(signal.SIGKILL)
            checks.until(
                "a device that is killed is unavailable", lambda: home.state("gap"), lambda s: s == "unavailable"
            )
        with Device(bundle, url, folder / "state") as device:
            checks.until("started again it is available", lambda: home.state("gap"), is_number)
            complaints = home.ask("complaints")
            home.stop()
            ear.publish(DISCOVERY, b"", retain=True)
            time.sleep(0.5)
            home = HomeAssistant(folder / "home", port)
            checks.until("Home Assistant started again: announced anew", lambda: home.state("gap"), is_number)
            device.end(signal.SIGTERM)
            checks.until("a clean stop is unavailable too", lambda: home.state("gap"), is_away)
        unpair = [sys.executable, "-m", "twin_edge", "unpair", "--twin", TWIN, "--broker", url]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "edge"), *sys.path])}
        subprocess.run(unpair, env=environment, check=True, capture_output=True)
        checks.until("unpair takes every entity away", lambda: sorted(home.ask("entities")), lambda left: not left)
        complaints += home.ask("complaints")
        checks.add("Home Assistant has nothing to complain of", not complaints, complaints)
        return str(home.version)
    finally:
        home.stop()
        ear.close()


def install(python: str) -> None:
    """Makes the throw-away environment."""
    subprocess.run([python, "-m", "venv", HOME], check=True)
    subprocess.run([HOME / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)


def main() -> int:
    """Prints the checks and writes them to benchmarks/results/homeassistant.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--install", action="store_true", help="make the environment first")
    parser.add_argument("--python", default="python3.13", help="the Python for it, 3.13 or newer")
    options = parser.parse_args()
    if options.install:
        install(options.python)
    if not (HOME / "bin" / "python").exists():
        sys.exit(f"there is no {HOME.name}/: make it with --install")
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder, mosquitto() as url:
        version = check_lives(checks, options.bundle, int(url.rsplit(":", 1)[1]), Path(folder))
    table = Table("", "check", "evidence", title=f"Home Assistant {version}")
    for row in checks.rows:
        table.add_row(row["result"], row["name"], row["evidence"])
    Console().print(table)
    text = json.dumps({"homeassistant": version, "checks": checks.rows}, indent=2)
    write_atomic(RESULTS, (text + "\n").encode())
    return int(any(row["result"] == "fail" for row in checks.rows))


if __name__ == "__main__":
    sys.exit(main())
