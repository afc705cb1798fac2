from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest

from twin_edge.config import RunConfig, default_twin, find_bundle, load_run_config, parse_fps
from twin_edge.errors import BundleError, ConfigError
from twin_edge.sync import TwinId


def write(folder: Path, text: str) -> Path:
    path = folder / "twin.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = write(tmp_path, 'camera = "rig:seed=3"\nfps = 10\nduration-s = 2.5\nwait-for-broker = true\n')
    config = load_run_config(path, {"fps": 5.0, "camera": None, "wait_for_broker": False})
    assert (config.fps, config.camera, config.duration_s) == (5.0, "rig:seed=3", 2.5)
    assert config.wait_for_broker is False
    assert config.broker == "mqtt://localhost:1883"


def test_every_field_is_a_key(tmp_path):
    lines = {
        "bundle": '"a.twin"', "camera": '"rig:"', "broker": '"embedded:"', "twin": '"org.acme/a"', "fps": '"max"',
        "frames": "3", "duration-s": "1", "threads": "2", "wait-for-broker": "true", "ca-file": '"ca.pem"',
        "state-dir": '"state"', "gap-every": "1", "codec": '"raw"', "batch-ms": "0", "quality": "0", "kbps": "0.5",
        "spool-mb": "0.5", "spool-dir": '"spool"',
        "preview": "true", "preview-source": '"camera"', "homeassistant": "false", "ditto": "false",
        "cert-file": '"cert.pem"', "key-file": '"key.pem"', "password-file": '"password"', "protocol": '"3.1.1"',
    }  # fmt: skip
    assert set(lines) == {item.name.replace("_", "-") for item in fields(RunConfig)}
    config = load_run_config(write(tmp_path, "\n".join(f"{key} = {value}" for key, value in lines.items())), {})
    assert config.fps == math.inf
    assert config.bundle == Path("a.twin")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("framess = 3", ["twin.toml", "framess", "frames, "]),
        ("duration_s = 3", ["twin.toml", "duration_s", "duration-s"]),
        ('frames = "3"', ["twin.toml", "frames", "a whole number"]),
        ("frames = true", ["frames", "a whole number"]),
        ("frames = 0", ["twin.toml", "frames is 0", "above 0"]),
        ("threads = 99", ["twin.toml", "threads is 99", "16"]),
        ("batch-ms = -1", ["twin.toml", "batch-ms is -1", "from 0 up to 10000"]),
        ("quality = 9", ["twin.toml", "quality is 9", "from 0 up to 7"]),
        ("spool-mb = 0.1", ["twin.toml", "spool-mb is 0.1", "from 0.25 up to 4096"]),
        ("kbps = 0", ["twin.toml", "kbps is 0", "above 0"]),
        ('preview-source = "film"', ["twin.toml", "preview-source is 'film'", "rendering or camera"]),
        ('codec = "zip"', ["twin.toml", "codec is 'zip'", "delta or raw"]),
        ("gap-every = 0", ["twin.toml", "gap-every is 0", "100"]),
        ("duration-s = nan", ["duration-s is nan"]),
        ("duration-s = inf", ["duration-s is inf"]),
        ('fps = "fast"', ["twin.toml", "fps", "max"]),
        ("camera = 0", ["camera", "a text in quotes"]),
        ("wait-for-broker = 1", ["wait-for-broker", "true or false"]),
        ("[run]\nfps = 1", ["twin.toml", "run"]),
        ("fps = ", ["twin.toml", "TOML"]),
    ],
)
def test_wrong_files_say_where_and_what_is_allowed(tmp_path, text, parts):
    with pytest.raises(ConfigError) as caught:
        load_run_config(write(tmp_path, text), {})
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="check its path"):
        load_run_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "", "1001", True, None])
def test_frame_rates_that_are_refused(value):
    with pytest.raises(ConfigError):
        parse_fps(value)


@pytest.mark.parametrize(
    ("host", "device"),
    [("raspberrypi", "raspberrypi"), ("pi.local", "pi"), ("käse pi", "k-se-pi"), ("", "device"), ("x" * 80, "x" * 64)],
)
def test_default_twin_is_a_twin_id(host, device):
    assert TwinId.parse(default_twin(host)).device == device


def test_the_only_bundle_is_found(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        find_bundle(tmp_path)
    (tmp_path / "a.twin").touch()
    assert find_bundle(tmp_path) == tmp_path / "a.twin"
    (tmp_path / "b.twin").touch()
    with pytest.raises(BundleError, match=r"2 bundles .*a\.twin, b\.twin"):
        find_bundle(tmp_path)
