import json
import re

from twin_edge.sync.wire.homeassistant import DeviceAbout, build_discovery, discovery_topic
from twin_edge.sync.wire.setting import Kind, Setting
from twin_edge.sync.wire.topics import TwinId

TWIN = TwinId("org.acme", "cam-01")
ROOT = "twin/v1/org.acme/cam-01/"
SETTINGS = (Setting("run", "Run", configures=False), Setting("fps", "Frame rate", Kind.NUMBER, 0, 1000, 0.1, "fps"))
ABOUT = DeviceAbout("rig", "twin-edge 1", {"oil level": 63.0, "open": True, "light": "run"}, {"oil level": "%"})


def test_a_device_with_all_its_entities():
    assert discovery_topic(TWIN) == "homeassistant/device/cam-01/config"
    tree = json.loads(build_discovery(TWIN, ABOUT, SETTINGS))
    platforms = {key: component["p"] for key, component in tree["cmps"].items()}
    assert platforms == {
        "gap": "sensor", "fps": "sensor", "p95": "sensor", "spool": "sensor", "sync": "binary_sensor",
        "preview": "camera", "bundle": "update", "set-run": "switch", "set-fps": "number",
        "property-oil_level": "sensor", "property-open": "binary_sensor", "property-light": "sensor",
    }  # fmt: skip
    ids = [component["uniq_id"] for component in tree["cmps"].values()]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith("org.acme-cam-01-") for one in ids)
    assert tree["avty"] == [{"t": f"{ROOT}up/avail", "val_tpl": "{{ value_json.value.status }}"}]
    assert tree["stat_t"] == f"{ROOT}up/state"
    assert tree["cmps"]["set-fps"].items() >= {
        "cmd_t": f"{ROOT}down/set/fps", "stat_t": f"{ROOT}up/cfg/fps", "min": 0, "max": 1000, "unit_of_meas": "fps",
    }.items()  # fmt: skip
    assert "ent_cat" not in tree["cmps"]["set-run"]
    assert tree["cmps"]["bundle"].items() >= {
        "stat_t": f"{ROOT}up/codec", "val_tpl": "{{ value_json.bundle[:12] }}",
        "l_ver_t": f"{ROOT}up/bundle/index", "l_ver_tpl": "{{ value_json.digest[:12] }}",
    }.items()  # fmt: skip
    assert "cmd_t" not in tree["cmps"]["bundle"], "the device takes no bundles"
    assert tree["cmps"]["property-oil_level"]["unit_of_meas"] == "%"
    # Home Assistant keeps no statistics of text, and refuses to be told to.
    assert "stat_cla" not in tree["cmps"]["property-light"]


def test_two_devices_of_one_name_are_two_devices():
    trees = [json.loads(build_discovery(TwinId(ns, "cam-01"), ABOUT, ())) for ns in ("org.acme", "org.other")]
    assert trees[0]["dev"]["ids"] != trees[1]["dev"]["ids"]


def test_it_is_small_and_of_characters_that_ids_may_have():
    data = build_discovery(TWIN, DeviceAbout("rig", "twin-edge 1"), SETTINGS)
    assert len(data) < 3000
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", key) for key in json.loads(data)["cmps"])
