from __future__ import annotations

import collections

import numpy as np
import pytest

from twin_edge.cameras.rig.autopilot import Autopilot
from twin_edge.cameras.rig.physics import (
    Inputs,
    Physics,
    State,
    settled_state,
    steady_pressure_bar,
)

DT = 1.0 / 30.0


def run(physics: Physics, seconds: float, **inputs: float) -> State:
    for _ in range(round(seconds / DT)):
        physics.advance(DT, Inputs(**inputs))
    return physics.state


def start(**values: float) -> Physics:
    values = {"speed_rpm": 200.0, "valve_deg": 30.0, "level_pct": 50.0} | values
    return Physics(settled_state(**values))


def test_opening_the_valve_raises_flow_and_lowers_pressure() -> None:
    physics = start()
    flow, pressure = physics.state.flow, physics.state.pressure_bar
    state = run(physics, 5, speed_rpm=200.0, valve_deg=80.0)
    assert state.flow > flow * 1.1
    assert state.pressure_bar < pressure * 0.7


def test_turning_faster_raises_flow_and_pressure() -> None:
    physics = start()
    flow, pressure = physics.state.flow, physics.state.pressure_bar
    state = run(physics, 6, speed_rpm=300.0, valve_deg=30.0)
    assert state.flow > flow * 1.3
    assert state.pressure_bar > pressure * 1.8


def test_speed_and_pressure_follow_with_inertia_and_settle() -> None:
    physics = start(speed_rpm=0.0)
    speeds, pressures = [], []
    for _ in range(300):
        physics.advance(DT, Inputs(speed_rpm=250.0, valve_deg=30.0))
        speeds.append(physics.state.speed_rpm)
        pressures.append(physics.state.pressure_bar)
    assert speeds[0] < 15
    assert np.all(np.diff(speeds) > 0)
    assert speeds[-1] == pytest.approx(250.0, abs=0.5)
    assert pressures[15] < 0.5 * pressures[-1]
    assert pressures[-1] == pytest.approx(steady_pressure_bar(250.0, 30.0), rel=0.01)


def test_level_integrates_inflow_minus_outflow() -> None:
    closed = run(start(valve_deg=0.0), 2, speed_rpm=200.0, valve_deg=0.0)
    assert closed.flow == 0.0
    assert closed.level_pct < 45  # nothing in, something out
    spared = run(start(), 2, speed_rpm=300.0, valve_deg=90.0, demand=0.3)
    assert spared.level_pct > 60
    physics = start()
    before = physics.state.level_pct
    physics.advance(DT, Inputs(speed_rpm=200.0, valve_deg=30.0, demand=1.0))
    change = (24.0 * physics.state.flow - 14.0 * np.sqrt(before / 100)) * DT
    assert physics.state.level_pct - before == pytest.approx(change)


def test_tank_is_bounded_and_a_leak_empties_it_and_takes_pressure() -> None:
    assert run(start(), 30, speed_rpm=300.0, valve_deg=90.0, demand=0.1).level_pct == 100.0
    assert 0.0 <= run(start(), 30, speed_rpm=0.0, valve_deg=0.0, demand=3.0).level_pct < 1.0
    tight = run(start(), 4, speed_rpm=200.0, valve_deg=30.0)
    leaking = run(start(), 4, speed_rpm=200.0, valve_deg=30.0, leak=1.0)
    assert leaking.level_pct < tight.level_pct - 15
    assert leaking.pressure_bar < 0.7 * tight.pressure_bar


def test_flywheel_turns_as_fast_as_the_speed_says() -> None:
    physics = start(speed_rpm=300.0, angle_deg=350.0)
    physics.advance(DT, Inputs(speed_rpm=300.0, valve_deg=30.0))
    assert physics.state.angle_deg == pytest.approx(50.0)  # 60 degrees on, across the top


@pytest.mark.parametrize(
    ("values", "light"),
    [
        ({"speed_rpm": 0.0}, "off"),
        ({}, "run"),
        ({"level_pct": 86.0}, "warn"),
        ({"level_pct": 12.0}, "warn"),
        ({"level_pct": 96.0}, "fault"),
        ({"level_pct": 3.0}, "fault"),
        ({"speed_rpm": 290.0, "valve_deg": 10.0}, "warn"),
        ({"speed_rpm": 299.0, "valve_deg": 2.0}, "fault"),
    ],
)
def test_stack_light_follows_the_state(values: dict[str, float], light: str) -> None:
    assert start(**values).state.light == light


def test_stack_light_waits_before_it_changes() -> None:
    physics = start()
    lights = []
    for _ in range(30):
        physics.advance(DT, Inputs(speed_rpm=200.0, valve_deg=30.0, tripped=True))
        lights.append(physics.state.light)
    assert lights[0] == "run"
    assert lights[-1] == "fault"
    assert 8 <= lights.index("fault") <= 10


def test_frame_rate_does_not_change_the_course_of_things() -> None:
    slow, fast = start(), start()
    for _ in range(5):
        slow.advance(1.0, Inputs(speed_rpm=280.0, valve_deg=60.0))
    for _ in range(1200):
        fast.advance(1.0 / 240.0, Inputs(speed_rpm=280.0, valve_deg=60.0))
    assert slow.state.speed_rpm == pytest.approx(fast.state.speed_rpm, rel=1e-6)
    assert slow.state.pressure_bar == pytest.approx(fast.state.pressure_bar, rel=0.02)
    assert slow.state.level_pct == pytest.approx(fast.state.level_pct, abs=1.0)


def test_autopilot_covers_the_envelope() -> None:
    rows, lights = [], collections.Counter[str]()
    for seed in range(36):
        pilot = Autopilot(np.random.default_rng(seed))
        physics = start(speed_rpm=pilot.speed_rpm, valve_deg=pilot.valve_deg)
        for _ in range(600):
            pilot.advance(DT, physics.state.level_pct)
            physics.advance(DT, Inputs(pilot.speed_rpm, pilot.valve_deg, pilot.demand))
            state = physics.state
            rows.append((state.pressure_bar, state.level_pct, state.speed_rpm, state.valve_deg))
            lights[state.light] += 1
    low, high = np.percentile(rows, (2, 98), axis=0)
    assert low[0] < 0.3
    assert high[0] > 7.0
    assert low[1] < 8.0
    assert high[1] > 92.0
    assert low[2] < 30.0
    assert high[2] > 285.0
    assert low[3] < 3.0
    assert high[3] > 83.0
    for light in ("off", "run", "warn", "fault"):
        assert lights[light] > 0.02 * len(rows)
    assert lights["run"] > 0.35 * len(rows)
