"""The laws of the rig: a pump that fills a draining tank through a valve.

```
speed command --inertia--> speed --+-- pump curve --> flow --+-- level (integrates inflow - outflow, 0..100 %)
valve command --actuator-> valve --+                         +-- pressure (first-order lag)
```

The pump holds ``P0 * s^2 - R * q^2`` bar at flow ``q``, the valve lets ``q = a * sqrt(p)`` through; solved for the
pressure that is ``p = P0 * s^2 / (1 + R * a^2)``. So opening the valve raises the flow and lowers the pressure, and
turning faster raises both. The tank drains by gravity, ``sqrt(level)``, times what the plant demands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SPEED_MAX_RPM = 300.0
VALVE_MAX_DEG = 90.0
PRESSURE_MAX_BAR = 10.0
LEVEL_MAX_PCT = 100.0

_SHUTOFF_BAR = 9.9
_PUMP_SLOPE = 3.0
_PRESSURE_LAG_S = 0.45
_SPEED_INERTIA_S = 1.1
_VALVE_LAG_S = 0.35
_FILL_PCT_PER_S = 24.0
"""Level gained per second at full flow with nothing flowing out."""
_DRAIN_PCT_PER_S = 14.0
"""Level lost per second from a full tank at a demand of 1."""
_LEAK_PCT_PER_S = 26.0
_LEAK_PRESSURE_LOSS = 0.45
"""Share of the pressure that a leak takes."""
_SUBSTEP_S = 1.0 / 30.0
_LIGHT_HOLD_S = 0.3

_STOPPED_RPM = 6.0
_WARN_LEVEL_PCT = (18.0, 82.0)
_FAULT_LEVEL_PCT = (7.0, 93.0)
_WARN_PRESSURE_BAR = 7.8
_FAULT_PRESSURE_BAR = 9.2

FULL_FLOW = math.sqrt(_SHUTOFF_BAR / (1.0 + _PUMP_SLOPE))
"""Flow at full speed with the valve open, in the unit of `State.flow` before it is normalized."""


@dataclass(slots=True)
class State:
    """Where the machine is at one instant; mutable, owned by its `Physics`."""

    t_s: float = 0.0
    """Seconds since the start, 0 and more."""
    speed_rpm: float = 0.0
    """Pump and flywheel speed, 0-300 rpm."""
    angle_deg: float = 0.0
    """Flywheel angle of the marked spoke, degrees clockwise from 12 o'clock, 0 up to and without 360."""
    valve_deg: float = 0.0
    """Valve opening, 0 (closed, lever upright) to 90 (open, lever along the pipe)."""
    pressure_bar: float = 0.0
    """Pressure behind the pump, 0-10 bar."""
    level_pct: float = 50.0
    """Level of the tank, 0-100 %."""
    flow: float = 0.0
    """Flow into the tank, 0-1, 1 at full speed with the valve open."""
    light: str = "off"
    """Stack light that the controller calls for: off, run, warn or fault."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What acts on the machine during one step."""

    speed_rpm: float
    """Speed command, 0-300 rpm."""
    valve_deg: float
    """Valve command, 0-90 degrees."""
    demand: float = 1.0
    """What the plant draws from the tank, as a factor, more than 0."""
    leak: float = 0.0
    """Size of the leak, 0 (tight) to 1."""
    tripped: bool = False
    """True when a guard of the machine itself (vibration, leak detector) has tripped."""


def steady_pressure_bar(speed_rpm: float, valve_deg: float) -> float:
    """Pressure that a tight machine settles at, 0-10 bar."""
    speed = speed_rpm / SPEED_MAX_RPM
    opening = valve_opening(valve_deg)
    return _SHUTOFF_BAR * speed * speed / (1.0 + _PUMP_SLOPE * opening * opening)


def valve_opening(valve_deg: float) -> float:
    """Free cross-section of the valve, 0-1, from its angle in degrees, 0-90."""
    return math.sin(math.radians(valve_deg))


class Physics:
    """Integrates the laws with a fixed step.

    Args:
        state: Where to start; owned by this object afterwards.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self._light_candidate = state.light
        self._light_age_s = 0.0

    def advance(self, dt_s: float, inputs: Inputs) -> None:
        """Moves the machine on by `dt_s` seconds, in equal substeps of at most 1/30 s."""
        substeps = max(1, math.ceil(dt_s / _SUBSTEP_S - 1e-6))
        for _ in range(substeps):
            self._substep(dt_s / substeps, inputs)

    def _substep(self, dt_s: float, inputs: Inputs) -> None:
        state = self.state
        # First-order lags are integrated exactly, so that no frame rate makes them unstable.
        state.speed_rpm += (inputs.speed_rpm - state.speed_rpm) * -math.expm1(-dt_s / _SPEED_INERTIA_S)
        state.valve_deg += (inputs.valve_deg - state.valve_deg) * -math.expm1(-dt_s / _VALVE_LAG_S)
        state.angle_deg = (state.angle_deg + 6.0 * state.speed_rpm * dt_s) % 360.0

        settled = steady_pressure_bar(state.speed_rpm, state.valve_deg)
        settled *= 1.0 - _LEAK_PRESSURE_LOSS * inputs.leak
        state.pressure_bar += (settled - state.pressure_bar) * -math.expm1(-dt_s / _PRESSURE_LAG_S)
        state.pressure_bar = min(max(state.pressure_bar, 0.0), PRESSURE_MAX_BAR)
        state.flow = valve_opening(state.valve_deg) * math.sqrt(state.pressure_bar) / FULL_FLOW

        inflow = _FILL_PCT_PER_S * state.flow
        drain = _DRAIN_PCT_PER_S * inputs.demand + _LEAK_PCT_PER_S * inputs.leak
        outflow = drain * math.sqrt(state.level_pct / LEVEL_MAX_PCT)
        state.level_pct = min(max(state.level_pct + (inflow - outflow) * dt_s, 0.0), LEVEL_MAX_PCT)
        state.t_s += dt_s
        self._light(dt_s, inputs)

    def _light(self, dt_s: float, inputs: Inputs) -> None:
        """Lets the stack light follow, once the reason for a change has lasted (no flicker at a limit)."""
        wanted = _wanted_light(self.state, inputs)
        if wanted != self._light_candidate:
            self._light_candidate = wanted
            self._light_age_s = 0.0
        self._light_age_s += dt_s
        if self._light_age_s >= _LIGHT_HOLD_S:
            self.state.light = wanted


def _wanted_light(state: State, inputs: Inputs) -> str:
    if state.speed_rpm < _STOPPED_RPM and inputs.speed_rpm < _STOPPED_RPM:
        return "off"
    level, pressure = state.level_pct, state.pressure_bar
    if inputs.tripped or not _FAULT_LEVEL_PCT[0] <= level <= _FAULT_LEVEL_PCT[1] or pressure > _FAULT_PRESSURE_BAR:
        return "fault"
    if not _WARN_LEVEL_PCT[0] <= level <= _WARN_LEVEL_PCT[1] or pressure > _WARN_PRESSURE_BAR:
        return "warn"
    return "run"


def settled_state(
    *, speed_rpm: float, valve_deg: float, level_pct: float, angle_deg: float = 0.0, demand: float = 1.0
) -> State:
    """A state whose fast quantities have settled, to start from.

    Args:
        speed_rpm: Speed, 0-300 rpm.
        valve_deg: Valve, 0-90 degrees.
        level_pct: Level, 0-100 %.
        angle_deg: Flywheel angle, degrees.
        demand: Demand, as in `Inputs`.
    """
    pressure = steady_pressure_bar(speed_rpm, valve_deg)
    state = State(
        speed_rpm=speed_rpm,
        angle_deg=angle_deg % 360.0,
        valve_deg=valve_deg,
        pressure_bar=pressure,
        level_pct=level_pct,
        flow=valve_opening(valve_deg) * math.sqrt(pressure) / FULL_FLOW,
    )
    state.light = _wanted_light(state, Inputs(speed_rpm=speed_rpm, valve_deg=valve_deg, demand=demand))
    return state
