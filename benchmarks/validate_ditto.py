"""A real device's messages to Eclipse Ditto, against the JSON schemas that Ditto publishes.

    python benchmarks/validate_ditto.py bundles/rig.twin --schemas FOLDER

FOLDER has `protocol-envelope.json` and `protocol-response.json`, from the folder
documentation/src/main/resources/jsonschema of Ditto's source. They are not part of this project, whose licence is
another one; neither is the package `jsonschema`, which has to be installed. A device runs against a real mosquitto;
whatever it publishes for Ditto is recorded, while this script answers to it in Ditto's place. Writes
benchmarks/results/ditto.json; exits with 1 when a message is not valid. No Ditto takes part: that would be a cluster
of Java services.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from device import mosquitto  # the script beside this one
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from twin_edge import strict_json
from twin_edge.files import write_atomic
from twin_edge.sync import TwinId

TWIN = TwinId("org.acme", "cam-01")
TOPICS = TWIN.topics
OURS = (TOPICS.avail, TOPICS.birth, TOPICS.state, TOPICS.ditto_out)
RESULTS = Path("benchmarks/results/ditto.json")
SECONDS = 20.0


class Ditto:
    """Hears what is for Ditto, and answers as its protocol says."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(topic, 1) for topic in OURS])
        self._client.loop_start()

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        tree = json.loads(message.payload)
        self.heard.append((message.topic, tree))
        if tree["topic"].endswith("/commands/retrieve"):
            desired = {"features": {"config": {"desiredProperties": {"fps": 8}}}}
            self._say({**tree, "status": 200, "value": {"_revision": 2, **desired}})
            self._ask("ping")
            self._ask("snapshot")
            self._ask("dance")
        elif tree["headers"].get("response-required"):
            self._say({**tree, "status": 204})

    def _ask(self, subject: str) -> None:
        topic, path = f"{TWIN}/things/live/messages/{subject}", f"/inbox/messages/{subject}"
        headers = {"correlation-id": f"live-{subject}", "content-type": "application/json", "direction": "TO"}
        self._say({"topic": topic, "path": path, "headers": headers, "value": {}})

    def _say(self, tree: Any) -> None:
        self._client.publish(TOPICS.ditto_in, strict_json.dump(tree), 1)

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()


def record(bundle: Path) -> list[tuple[str, Any]]:
    """Returns topic and message of all that a device says to Ditto from its start to its end, and its will."""
    with tempfile.TemporaryDirectory() as folder, mosquitto() as url:
        ditto = Ditto(int(url.rsplit(":", 1)[1]))
        command = [sys.executable, "-m", "twin_edge", "run", "--bundle", str(bundle), "--broker", url]
        command += ["--twin", str(TWIN), "--state-dir", folder]
        options: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*command, "--duration-s", str(SECONDS / 2)], check=True, timeout=120, **options)
        process = subprocess.Popen(command, **options)
        time.sleep(SECONDS)
        process.kill()
        process.wait()
        time.sleep(1.0)
        ditto.close()
        return ditto.heard


def main() -> int:
    """Prints the table and writes it to benchmarks/results/ditto.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--schemas", type=Path, required=True, help="folder of Ditto's JSON schemas")
    options = parser.parse_args()
    jsonschema: Any = importlib.import_module("jsonschema")
    texts = {name: (options.schemas / f"protocol-{name}.json").read_bytes() for name in ("envelope", "response")}
    schemas = {name: json.loads(text) for name, text in texts.items()}
    rows: dict[str, dict[str, Any]] = {}
    for topic, tree in record(options.bundle):
        name = "response" if "status" in tree else "envelope"
        kind = f"{topic.removeprefix(TOPICS.root)} {tree['topic'].split('/things/')[1]} {tree['path']}"
        row = rows.setdefault(kind, {"schema": name, "messages": 0, "bytes": 0, "invalid": []})
        row["messages"] += 1
        row["bytes"] = max(row["bytes"], len(strict_json.dump(tree)))
        row["invalid"] += [error.message for error in jsonschema.Draft4Validator(schemas[name]).iter_errors(tree)][:3]
    table = Table("message", "schema", "messages", "longest, bytes", "invalid", title="Ditto Protocol")
    for kind, row in sorted(rows.items()):
        table.add_row(kind, row["schema"], str(row["messages"]), str(row["bytes"]), "; ".join(row["invalid"]))
    Console().print(table)
    digests = {name: hashlib.sha256(strict_json.dump(schema)).hexdigest() for name, schema in schemas.items()}
    text = json.dumps({"schemas": digests, "messages": rows}, indent=2)
    write_atomic(RESULTS, (text + "\n").encode())
    missing = {f"up/{name}" for name in ("avail", "birth", "state", "ditto")} - {kind.split()[0] for kind in rows}
    return int(bool(missing) or any(row["invalid"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
