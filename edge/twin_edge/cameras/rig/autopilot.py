"""The autopilot: moves the commands of the rig through random set-points."""

from __future__ import annotations

import math

import numpy as np

from twin_edge.cameras.rig.physics import SPEED_MAX_RPM, VALVE_MAX_DEG

_VALVE_HOLD_S = (2.0, 7.0)
_SPEED_HOLD_S = (3.0, 9.0)
_DEMAND_HOLD_S = (4.0, 12.0)
_STOP_SHARE = 0.09
"""Share of the speed set-points that stop the machine."""
_DEMAND_RANGE = (0.3, 3.2)
_LEVEL_BAND_PCT = (12.0, 88.0)
_REACTION_S = (0.5, 4.0)


class Autopilot:
    """Chooses set-points, each held for some random seconds, so that recordings cover the envelope.

    Args:
        rng: Its own random stream; two autopilots on equal streams do the same.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.valve_deg = self._pick_valve()
        self.speed_rpm = self._pick_speed()
        self.demand = self._pick_demand()
        self._left_s = [self._hold(_VALVE_HOLD_S), self._hold(_SPEED_HOLD_S), self._hold(_DEMAND_HOLD_S)]
        self._out_of_band = False

    def advance(self, dt_s: float, level_pct: float) -> None:
        """Lets `dt_s` seconds pass; set-points whose time is over are replaced.

        Args:
            dt_s: Seconds since the last call.
            level_pct: Level of the tank, 0-100 %; out of its band, the autopilot changes the demand after a moment.
        """
        self._left_s = [left - dt_s for left in self._left_s]
        if self._left_s[0] <= 0.0:
            self.valve_deg = self._pick_valve()
            self._left_s[0] = self._hold(_VALVE_HOLD_S)
        if self._left_s[1] <= 0.0:
            self.speed_rpm = self._pick_speed()
            self._left_s[1] = self._hold(_SPEED_HOLD_S)
        out_of_band = not _LEVEL_BAND_PCT[0] <= level_pct <= _LEVEL_BAND_PCT[1]
        if out_of_band and not self._out_of_band:
            self._left_s[2] = min(self._left_s[2], self._hold(_REACTION_S))
        self._out_of_band = out_of_band
        if self._left_s[2] <= 0.0:
            self.demand = self._pick_demand()
            self._left_s[2] = self._hold(_DEMAND_HOLD_S)
            if out_of_band:  # A tank about to run over is drawn from, one about to run dry is spared.
                self.demand = _DEMAND_RANGE[1 if level_pct > _LEVEL_BAND_PCT[1] else 0]
                self._left_s[2] = self._hold(_REACTION_S)

    def _hold(self, bounds: tuple[float, float]) -> float:
        return float(self._rng.uniform(*bounds))

    def _pick_valve(self) -> float:
        # The flow saturates early, so that a uniform choice would leave the closed end, and high pressures, rare.
        return VALVE_MAX_DEG * math.pow(self._rng.random(), 1.4)

    def _pick_speed(self) -> float:
        if self._rng.random() < _STOP_SHARE:
            return 0.0
        # Pressure goes with the square of the speed and falls with the valve: this makes it about uniform.
        return SPEED_MAX_RPM * math.pow(self._rng.uniform(0.001, 1.0), 0.35)

    def _pick_demand(self) -> float:
        low, high = (math.log(bound) for bound in _DEMAND_RANGE)
        return math.exp(float(self._rng.uniform(low, high)))
