"""What Home Assistant has to be told to show a twin: MQTT device discovery, in the abbreviations that it documents.

Home Assistant reads the messages that are there for Ditto and for subscribers as well, by a template for each entity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twin_edge import strict_json
from twin_edge.sync.wire.reading import Scalar
from twin_edge.sync.wire.setting import Kind, Setting
from twin_edge.sync.wire.topics import TwinId

STATUS_TOPIC: Final = "homeassistant/status"
"""Where Home Assistant says `online` when it has started."""
STATUS_ONLINE: Final = b"online"
EXPIRE_AFTER_S: Final = 180
"""A sensor without news for this long is unavailable; reports come once a minute without any change."""
_PROJECT: Final = "twin-edge"
_DIGEST_DIGITS: Final = 12
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class DeviceAbout:
    """What Home Assistant shows of a device."""

    model: str
    """Name of the model in the bundle."""
    software: str
    """Name and version of the device's software."""
    properties: Mapping[str, Scalar] = field(default_factory=dict)
    """The twin's properties: their values say what kind of entity each becomes."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of the properties that have one, by name."""


def discovery_topic(twin: TwinId) -> str:
    """Returns the topic on which Home Assistant looks for the device."""
    return f"homeassistant/device/{twin.device}/config"


def build_discovery(twin: TwinId, about: DeviceAbout, settings: Sequence[Setting]) -> bytes:
    """Returns the payload of `discovery_topic`: a device with all its entities.

    Args:
        twin: Whose.
        about: What to show of the device.
        settings: Those that can be set from Home Assistant.
    """
    topics = twin.topics
    identity = f"{twin.namespace}-{twin.device}"
    components = {
        "gap": _sensor("Reality gap", "twin", "gap", digits=3),
        "sync": _binary("Out of sync", "twin", "in_sync") | {"dev_cla": "problem"},
        "fps": _sensor("Frame rate", "infer", "fps", unit="fps", digits=1, diagnostic=True),
        "p95": _sensor("Frame time, 95th percentile", "infer", "p95_ms", unit="ms", digits=1, diagnostic=True),
        "spool": _sensor("Spool depth", "spool", "depth", digits=0, diagnostic=True),
        "preview": {"p": "camera", "name": "Preview", "t": topics.preview},
        "bundle": _bundle(twin),
    }
    components |= {f"set-{one.key}": _control(twin, one) for one in settings}
    for name, value in about.properties.items():
        components[f"property-{_NOT_IN_ID.sub('_', name)}"] = _property(name, value, about.units.get(name, ""))
    for key, component in components.items():
        component["uniq_id"] = f"{identity}-{key}"
    return strict_json.dump(
        {
            "dev": {
                "ids": [identity],
                "name": twin.device,
                "mf": _PROJECT,
                "mdl": about.model,
                "sw": about.software,
                "sn": str(twin),
            },
            "o": {"name": _PROJECT, "sw": about.software},
            "avty": [{"t": topics.avail, "val_tpl": "{{ value_json.value.status }}"}],
            "stat_t": topics.state,
            "qos": 1,
            "cmps": components,
        }
    )


def _template(feature: str, name: str) -> str:
    # The name of a property need not be one that Jinja can read after a dot. What is missing gives `unknown`.
    return f"value_json.value.{feature}.properties.get('{name}')"


def _sensor(
    title: str, feature: str, name: str, *, unit: str = "", digits: int | None = None, diagnostic: bool = False
) -> dict[str, Any]:
    component: dict[str, Any] = {
        "p": "sensor",
        "name": title,
        "val_tpl": f"{{{{ {_template(feature, name)} }}}}",
        "stat_cla": "measurement",
        "exp_aft": EXPIRE_AFTER_S,
    }
    if unit:
        component["unit_of_meas"] = unit
    if digits is not None:
        component["sug_dsp_prc"] = digits
    if diagnostic:
        component["ent_cat"] = "diagnostic"
    return component


def _binary(title: str, feature: str, name: str, *, on: str = "false") -> dict[str, Any]:
    """Returns a binary sensor that is on when a truth is `false`, or `true`; unknown when it is neither."""
    off = "true" if on == "false" else "false"
    return {
        "p": "binary_sensor",
        "name": title,
        "val_tpl": f"{{{{ {{{on}: 'ON', {off}: 'OFF'}}.get({_template(feature, name)}) }}}}",
        "exp_aft": EXPIRE_AFTER_S,
    }


def _property(name: str, value: Scalar, unit: str) -> dict[str, Any]:
    title = name.replace("_", " ").capitalize()
    if isinstance(value, bool):
        return _binary(title, "properties", name, on="true")
    component = _sensor(title, "properties", name, unit=unit)
    if isinstance(value, str):
        del component["stat_cla"]
    return component


def _bundle(twin: TwinId) -> dict[str, Any]:
    """Returns an update entity: on when the broker has another bundle than the one that runs. It can only be looked at.

    Versions are the first digits of the digests, which have no order: another one is a newer one.
    """
    topics = twin.topics
    return {
        "p": "update",
        "name": "Bundle",
        "stat_t": topics.codec,
        "val_tpl": f"{{{{ value_json.bundle[:{_DIGEST_DIGITS}] }}}}",
        "l_ver_t": topics.index,
        "l_ver_tpl": f"{{{{ value_json.digest[:{_DIGEST_DIGITS}] }}}}",
        "ent_cat": "diagnostic",
    }


def _control(twin: TwinId, setting: Setting) -> dict[str, Any]:
    topics = twin.topics
    component: dict[str, Any] = {
        "p": "switch" if setting.kind is Kind.SWITCH else "number",
        "name": setting.title,
        "cmd_t": topics.setting(setting.key),
        "stat_t": topics.reported(setting.key),
    }
    if setting.kind is not Kind.SWITCH:
        component |= {"min": setting.low, "max": setting.high, "step": setting.step, "mode": "box"}
        if setting.unit:
            component["unit_of_meas"] = setting.unit
    if setting.configures:
        component["ent_cat"] = "config"
    return component
