from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_edge.cameras.rig import FAULT_NAMES, Fault, RigCamera, RigConfig, parse_rig
from twin_edge.errors import CameraError, ConfigError


def test_uri_says_everything() -> None:
    assert parse_rig("rig:") == RigConfig()
    assert parse_rig("rig:seed=7,fault=leak,at=20,duration=5,nuisance=0.5,fps=25") == RigConfig(
        seed=7, fps=25.0, nuisance=0.5, faults=(Fault("leak", 20.0, 5.0),)
    )
    assert parse_rig("rig:fault=leak+hand,at=20+40.5").faults == (Fault("leak", 20.0), Fault("hand", 40.5))
    assert parse_rig("rig:fault=leak+hand,duration=3").faults == (Fault("leak", 0.0, 3.0), Fault("hand", 0.0, 3.0))


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("rig", "rig:"),
        ("rig:7", "seed="),
        ("rig:sead=7", "seed="),
        ("rig:seed", "seed="),
        ("rig:seed=7,", "seed="),
        ("rig:seed=1,seed=2", "twice"),
        ("rig:seed=-1", "whole number"),
        ("rig:seed=1_0", "whole number"),
        ("rig:seed=9999999999999999999", "out of range"),
        ("rig:fault=gremlins", "needle-stuck"),
        ("rig:fault=", "needle-stuck"),
        ("rig:at=3", "needs a fault"),
        ("rig:fault=leak,duration=0", "more than 0"),
        ("rig:fault=leak+hand+hand,at=1+2", "one for each"),
        ("rig:fault=" + "+".join(["leak"] * 17), "too many"),
        ("rig:fps=0", "1 to 240"),
        ("rig:fps=1e2", "number"),
        ("rig:fps=inf", "number"),
        ("rig:nuisance=1.5", "0 to 1"),
        ("rig:nuisance=nan", "number"),
    ],
)
def test_wrong_uris_say_what_is_allowed(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        parse_rig(uri)
    assert caught.value.fix


_VALUE = st.one_of(
    st.sampled_from([*FAULT_NAMES, "leak+hand", "1+2", "", "=", "1e9", "nan", "\u0663"]),
    st.integers(-5, 2**70).map(str),
    st.floats().map(str),
    st.text(max_size=6),
)
_KEY = st.sampled_from(["seed", "fault", "at", "duration", "nuisance", "fps", "", "x"])


@given(st.lists(st.tuples(_KEY, _VALUE), max_size=5), st.text(max_size=10))
def test_any_uri_is_valid_or_a_config_error(items: list[tuple[str, str]], tail: str) -> None:
    for uri in ("rig:" + ",".join(f"{key}={value}" for key, value in items), f"rig:{tail}", tail):
        try:
            config = parse_rig(uri)
        except ConfigError:
            continue
        else:
            assert 0 <= config.nuisance <= 1


@given(st.integers(0, 2**63 - 1), st.integers(1, 240), st.sampled_from(FAULT_NAMES), st.integers(0, 10**6))
def test_what_is_written_is_read(seed: int, fps: int, name: str, at: int) -> None:
    config = parse_rig(f"rig:seed={seed},fps={fps},fault={name},at={at}")
    assert config == RigConfig(seed=seed, fps=fps, faults=(Fault(name, at),))


def test_camera_reads_frames_with_truth() -> None:
    camera = RigCamera("rig:seed=3,fps=20")
    assert (camera.uri, camera.fps, camera.live) == ("rig:seed=3,fps=20", 20.0, False)
    with pytest.raises(CameraError, match="not open"):
        camera.read(1.0)
    camera.close()
    camera.open()
    before_us = time.time_ns() // 1000
    frames = [camera.read(1.0) for _ in range(5)]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.truth["t_s"] for frame in frames] == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert set(frames[0].truth) == {
        "pressure_bar", "speed_rpm", "angle_deg", "level_pct", "valve_deg", "light", "fault", "t_s",
    }  # fmt: skip
    assert frames[0].image.shape == (360, 480, 3)
    assert frames[0].image.dtype == np.uint8
    assert before_us <= frames[0].time_us <= frames[4].time_us <= time.time_ns() // 1000
    camera.close()
    camera.close()


def test_camera_starts_anew_when_opened_again() -> None:
    camera = RigCamera("rig:seed=3")
    camera.command(valve_deg=90.0)
    camera.open()
    first = [camera.read(1.0) for _ in range(3)]
    camera.close()
    other = RigCamera("rig:seed=3")
    other.open()
    camera.open()
    assert np.array_equal(camera.read(1.0).image, first[0].image)
    for _ in range(30):
        frame, free = camera.read(1.0), other.read(1.0)
    assert camera.rig.index == 30
    assert frame.index == 30
    assert free.index == 29


def test_camera_passes_commands_on() -> None:
    camera = RigCamera()
    camera.open()
    camera.command(valve_deg=12.0, speed_rpm=100.0)
    for _ in range(90):
        camera.rig.step()
    assert camera.read(1.0).truth["valve_deg"] == pytest.approx(12.0, abs=0.1)
    camera.release()
    for _ in range(200):
        camera.rig.step()
    assert camera.read(1.0).truth["valve_deg"] != pytest.approx(12.0, abs=0.1)
    with pytest.raises(ConfigError):
        camera.command(speed_rpm=-5.0)
