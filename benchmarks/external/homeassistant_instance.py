"""A Home Assistant with nothing but its MQTT integration, run by the Python that has the package `homeassistant`.

    PYTHON homeassistant_instance.py FOLDER BROKER_PORT HTTP_PORT

Started by `validate_homeassistant.py`. It takes one command as a line of JSON on stdin, and answers each with a line
of JSON on stdout; it ends with stdin.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
import sys
from typing import Any

import voluptuous
from homeassistant import bootstrap, config_entries, core_config, loader
from homeassistant.components import camera
from homeassistant.components.mqtt import discovery, schemas
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry
from homeassistant.setup import async_setup_component


class Complaints(logging.Handler):
    """Keeps what Home Assistant warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a warning of the MQTT integration or an entity."""
        if record.name.startswith("homeassistant.components.") and "camera.img_util" not in record.name:
            self.texts.append(f"{record.name}: {record.getMessage()}")


async def start(folder: str, broker_port: int, http_port: int) -> HomeAssistant:
    """Starts it; the first time it sets MQTT up as a person would, by the integration's own dialog."""
    hass = HomeAssistant(folder)
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await loader.async_get_custom_components(hass)
    await bootstrap.async_load_base_functionality(hass)
    await core_config.async_process_ha_core_config(hass, {})
    http = {"server_host": "127.0.0.1", "server_port": http_port}
    for domain, config in (("homeassistant", {}), ("http", {"http": http})):
        if not await async_setup_component(hass, domain, config):
            sys.exit(f"{domain} cannot be set up")
    await hass.async_start()
    if hass.config_entries.async_entries("mqtt"):
        await async_setup_component(hass, "mqtt", {})
        return hass
    flow = await hass.config_entries.flow.async_init("mqtt", context={"source": "user"})
    result = await hass.config_entries.flow.async_configure(
        flow["flow_id"], {"broker": "127.0.0.1", "port": broker_port}
    )
    if result["type"] != "create_entry":
        sys.exit(f"MQTT cannot be set up: {result}")
    return hass


def validate(payload: str) -> dict[str, str]:
    """Returns what Home Assistant's own schemas say to a device discovery, by component; empty when it is valid."""
    tree: Any = discovery.MQTTDiscoveryPayload(json.loads(payload))
    discovery._replace_all_abbreviations(tree)  # noqa: SLF001 - what it does with each announcement
    complaints = {}
    try:
        schemas.DEVICE_DISCOVERY_SCHEMA(tree)
    except voluptuous.Invalid as error:
        complaints["device"] = str(error)
    for name, config in tree["components"].items():
        platform = config.pop("platform")
        component = discovery.MQTTDiscoveryPayload(config)
        component["device"], component["origin"] = tree["device"], tree["origin"]
        discovery._merge_common_device_options(component, tree)  # noqa: SLF001 - see above
        try:
            importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA(component)
        except voluptuous.Invalid as error:
            complaints[name] = str(error)
    return complaints


def entities(hass: HomeAssistant) -> dict[str, Any]:
    """Returns all entities of MQTT by their unique id."""
    found = {}
    for entry in entity_registry.async_get(hass).entities.values():
        state = hass.states.get(entry.entity_id)
        found[entry.unique_id] = {
            "entity_id": entry.entity_id,
            "state": None if state is None else state.state,
            "attributes": {} if state is None else {key: str(value) for key, value in state.attributes.items()},
        }
    return found


async def answer(hass: HomeAssistant, complaints: Complaints, command: dict[str, Any]) -> Any:
    """Carries one command out."""
    match command["do"]:
        case "entities":
            return entities(hass)
        case "validate":
            return validate(command["payload"])
        case "call":
            await hass.services.async_call(command["domain"], command["service"], command["data"], blocking=True)
            return None
        case "image":
            image = await camera.async_get_image(hass, command["entity_id"])
            return base64.b64encode(image.content).decode()
        case "complaints":
            return complaints.texts
        case other:
            return f"unknown: {other}"


async def main() -> None:
    """Serves until stdin ends."""
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    logging.getLogger().addHandler(logging.StreamHandler())
    hass = await start(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"version": __version__}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        result = await answer(hass, complaints, json.loads(line))
        print(json.dumps(result), flush=True)
    await hass.async_stop(force=True)


asyncio.run(main())
