"""The rig: laws, autopilot, nuisances and faults put together, steppable with and without drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from twin_edge.cameras.base import Truth
from twin_edge.cameras.rig import faults as mishaps
from twin_edge.cameras.rig.autopilot import Autopilot
from twin_edge.cameras.rig.drawing import Appearance, draw_machine
from twin_edge.cameras.rig.faults import Fault
from twin_edge.cameras.rig.nuisances import Disturbance, Nuisances, apply_light, apply_sensor
from twin_edge.cameras.rig.physics import SPEED_MAX_RPM, VALVE_MAX_DEG, Inputs, Physics, settled_state
from twin_edge.cameras.rig.scenery import HEIGHT, WIDTH
from twin_edge.errors import ConfigError
from twin_edge.images import Image

_FPS_MIN, _FPS_MAX = 1.0, 240.0
_SEED_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RigConfig:
    """Which rig to run.

    Raises:
        ConfigError: A value is out of range.
    """

    seed: int = 0
    """Decides the start, the autopilot and the nuisances, 0 to 2^63 - 1; equal seeds give equal frames."""
    fps: float = 30.0
    """Frames per second, 1-240; the simulation moves on by 1 / fps seconds per frame."""
    nuisance: float = 1.0
    """Strength of noise, light changes, shake, compression and shadows, 0 (clean) to 1."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong, and when."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _SEED_MAX:
            raise ConfigError(f"rig seed {self.seed} is out of range", fix="give a whole number, 0 or more")
        if not _FPS_MIN <= self.fps <= _FPS_MAX:
            raise ConfigError(f"rig fps {self.fps} is out of range", fix=f"give {_FPS_MIN:.0f} to {_FPS_MAX:.0f}")
        if not 0.0 <= self.nuisance <= 1.0:
            raise ConfigError(f"rig nuisance {self.nuisance} is out of range", fix="give 0 to 1")


@dataclass(frozen=True, slots=True)
class _Instant:
    """What `Rig.draw` needs; kept so that a stopped picture can be drawn again later."""

    seen: Appearance
    disturbance: Disturbance
    turn_deg: float
    shift: tuple[float, float]
    fog_s: float | None
    hand_s: tuple[float, float | None] | None


class Rig:
    """A simulated pump skid with known truth; pure simulation, without a clock.

    Equal configurations with equal commands give byte-identical frames, drawn or skipped. Not thread-safe, except
    that `command` and `release` may be called from another thread than `step`.

    Args:
        config: Which rig; the default is seed 0, full nuisances, no faults.
    """

    def __init__(self, config: RigConfig | None = None) -> None:
        self.config = config if config is not None else RigConfig()
        streams = np.random.SeedSequence(self.config.seed).spawn(4)
        start, plan, nuisance, mishap = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)
        self._dt_s = 1.0 / self.config.fps
        self._autopilot = Autopilot(plan)
        self._physics = Physics(
            settled_state(
                speed_rpm=self._autopilot.speed_rpm,
                valve_deg=self._autopilot.valve_deg,
                level_pct=float(start.uniform(8.0, 92.0)),
                angle_deg=float(start.uniform(0.0, 360.0)),
            )
        )
        self._nuisances = Nuisances(nuisance, self.config.nuisance)
        self._hand_chance = float(mishap.random())
        self._valve_command: float | None = None
        self._speed_command: float | None = None
        self._index = 0
        self._stuck_bar: float | None = None
        self._canvas: Image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        self._warped: Image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        self._instant: _Instant
        self._compose()

    @property
    def index(self) -> int:
        """Steps made so far."""
        return self._index

    @property
    def t_s(self) -> float:
        """Simulated seconds since the start."""
        return self._index / self.config.fps

    def command(self, *, valve_deg: float | None = None, speed_rpm: float | None = None) -> None:
        """Takes inputs from the autopilot and sets them; None leaves an input as it is.

        Args:
            valve_deg: Valve, 0 (closed) to 90 (open).
            speed_rpm: Pump speed, 0-300.

        Raises:
            ConfigError: A value is out of range; nothing is changed then.
        """
        if valve_deg is not None and not 0.0 <= valve_deg <= VALVE_MAX_DEG:
            raise ConfigError(f"valve command {valve_deg} is out of range", fix=f"give 0 to {VALVE_MAX_DEG:.0f} deg")
        if speed_rpm is not None and not 0.0 <= speed_rpm <= SPEED_MAX_RPM:
            raise ConfigError(f"speed command {speed_rpm} is out of range", fix=f"give 0 to {SPEED_MAX_RPM:.0f} rpm")
        if valve_deg is not None:
            self._valve_command = float(valve_deg)
        if speed_rpm is not None:
            self._speed_command = float(speed_rpm)

    def release(self, *, valve: bool = True, speed: bool = True) -> None:
        """Gives inputs back to the autopilot, both unless told otherwise."""
        if valve:
            self._valve_command = None
        if speed:
            self._speed_command = None

    def step(self, count: int = 1) -> None:
        """Moves on by `count` frames, without drawing."""
        for _ in range(count):
            self._step()

    def _step(self) -> None:
        state = self._physics.state
        valve, speed = self._valve_command, self._speed_command
        ages = {fault.name: age for fault, age in self._active()}
        self._autopilot.advance(self._dt_s, state.level_pct)
        self._physics.advance(
            self._dt_s,
            Inputs(
                speed_rpm=self._autopilot.speed_rpm if speed is None else speed,
                valve_deg=self._autopilot.valve_deg if valve is None else valve,
                demand=self._autopilot.demand,
                leak=mishaps.leak_size(ages["leak"]) if "leak" in ages else 0.0,
                tripped=any(fault.trips and age > mishaps.TRIP_AFTER_S for fault, age in self._active()),
            ),
        )
        self._nuisances.advance(self._dt_s)
        self._index += 1
        self._compose()

    def _active(self) -> list[tuple[Fault, float]]:
        """Faults that are there now, each with its age in seconds."""
        aged = ((fault, fault.age_s(self.t_s)) for fault in self.config.faults)
        return [(fault, age) for fault, age in aged if age is not None]

    def _compose(self) -> None:
        """Notes down what is seen at this instant."""
        state = self._physics.state
        active = {fault.name: (fault, age) for fault, age in self._active()}
        ages = {name: age for name, (_, age) in active.items()}
        if "needle-stuck" not in ages:
            self._stuck_bar = None
        elif self._stuck_bar is None:
            self._stuck_bar = state.pressure_bar
        if "picture-stopped" in ages and self._index:
            return  # The picture stays what it was before; the machine goes on.
        turn_deg, shift = mishaps.knock(ages["camera-knocked"]) if "camera-knocked" in ages else (0.0, (0.0, 0.0))
        shaken = "bearing-wobble" in ages
        hand = active.get("hand")
        self._instant = _Instant(
            seen=Appearance(
                pressure_bar=state.pressure_bar if self._stuck_bar is None else self._stuck_bar,
                level_pct=state.level_pct,
                valve_deg=state.valve_deg,
                angle_deg=state.angle_deg,
                light="off" if "lamp-dead" in ages else state.light,
                wobble=mishaps.wobble(ages["bearing-wobble"], state.angle_deg) if shaken else (0.0, 0.0),
                leak_s=ages.get("leak", 0.0),
            ),
            disturbance=self._nuisances.current,
            turn_deg=turn_deg,
            shift=shift,
            fog_s=ages.get("lens-fogged"),
            hand_s=None if hand is None else (hand[1], hand[0].duration_s),
        )

    def draw(self) -> Image:
        """Draws this instant.

        Returns:
            uint8 BGR of shape (HEIGHT, WIDTH, 3), owned by the caller.
        """
        now, factor = self._instant, self.config.nuisance
        image = self._canvas
        draw_machine(image, now.seen)
        if now.hand_s is not None:
            mishaps.draw_hand(image, *now.hand_s, self._hand_chance)
        apply_light(image, now.disturbance, factor)
        image = self._seen_by_camera(image)
        if now.fog_s is not None:
            mishaps.fog(image, now.fog_s)
        image = apply_sensor(image, now.disturbance, factor)
        return image if image is not self._canvas and image is not self._warped else image.copy()

    def _seen_by_camera(self, image: Image) -> Image:
        """Shakes, and turns when it was knocked, the camera."""
        now = self._instant
        dx, dy = (now.shift[axis] + now.disturbance.shake[axis] for axis in (0, 1))
        if not (dx or dy or now.turn_deg):
            return image
        angle = math.radians(now.turn_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
        matrix = np.array([[cos, -sin, x - cos * x + sin * y + dx], [sin, cos, y - sin * x - cos * y + dy]])
        cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), self._warped, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
        return self._warped

    def truth(self) -> Truth:
        """What the machine knows about itself at this instant.

        Returns:
            `pressure_bar` 0-10, `speed_rpm` 0-300, `angle_deg` 0-360 (clockwise, marked spoke from 12 o'clock),
            `level_pct` 0-100, `valve_deg` 0-90, `light` (``off``, ``run``, ``warn`` or ``fault``: what the controller
            calls for, even when the lamp is dead), `fault` (names joined by ``+`` in alphabetical order, empty when
            there is none) and `t_s`. They are those of the machine, also where the picture shows something else.
        """
        state = self._physics.state
        return {
            "pressure_bar": state.pressure_bar,
            "speed_rpm": state.speed_rpm,
            "angle_deg": state.angle_deg,
            "level_pct": state.level_pct,
            "valve_deg": state.valve_deg,
            "light": state.light,
            "fault": "+".join(sorted({fault.name for fault, _ in self._active()})),
            "t_s": self.t_s,
        }
