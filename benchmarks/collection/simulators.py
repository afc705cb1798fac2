"""Simulators written by others, filmed: classic control tasks of gymnasium, and a robot arm of PyBullet."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from collection.video_file import VideoForm, comment_of, write_video
from twin_edge.errors import ConfigError
from twin_edge.images import Image

_QUIET: Final = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
_FORCES: Final = (0, 1)
_POLE_GAINS: Final = (0.6, 1.2, 18.0, 3.2)
"""How hard the cart is pushed for its place, speed, the pole's angle and its speed."""
_CART_REACH: Final = 1.6
_HOLD_S: Final = (1.5, 5.0)
_TORQUE_HOLD_S: Final = (0.3, 1.2)
_JOINT_SPEED: Final = 8.0
"""Radians per second at which the swinging arm is braked."""
_STATIONS: Final = 5
_ARM_SIZE: Final = (360, 480)
_MOVE_S: Final = (0.9, 2.0)
_REST_S: Final = (0.2, 1.0)
_STATION_SPREAD: Final = 0.05
"""Standard deviation of where the arm stops around a station, radians."""
_ARM_LOW: Final = np.array([-1.1, 0.2, -0.4, -1.9, -0.6, -1.0, -1.5])
_ARM_HIGH: Final = np.array([1.1, 0.9, 0.4, -0.9, 0.6, 1.0, 1.5])


@dataclass(frozen=True, slots=True)
class Play:
    """A simulator's recording."""

    task: str
    """`cartpole`, `acrobot` or `arm`."""
    seed: int
    """Of everything that happens."""
    seconds: float = 150.0
    """Length, above 0."""
    fps: int = 20
    """Pictures per second, 1 or more."""

    @property
    def comment(self) -> str:
        """All settings, as they stand in the file."""
        return json.dumps(asdict(self))


def make_play(path: Path, play: Play) -> None:
    """Renders a simulator's recording, unless it is there.

    Raises:
        ConfigError: The simulator is not installed.
    """
    if comment_of(path) == play.comment:
        return
    write_video(path, VideoForm(play.fps), enumerate(_TASKS[play.task](play)), play.comment)


def _cartpole(play: Play) -> Iterator[Image]:
    """A pole balanced on a cart that is sent from place to place; when it falls, another begins."""
    environment = _environment("CartPole-v1")
    simulator = environment.unwrapped
    chance = np.random.default_rng(play.seed)
    state, _ = environment.reset(seed=play.seed)
    target, until_s, time_s = 0.0, 0.0, 0.0
    for number in range(round(play.seconds * play.fps)):
        while time_s * play.fps < number:
            if time_s >= until_s:
                target, until_s = chance.uniform(-_CART_REACH, _CART_REACH), time_s + chance.uniform(*_HOLD_S)
            push = float(np.dot(_POLE_GAINS, state - np.array([target, 0.0, 0.0, 0.0])))
            state, _, fallen, *_ = simulator.step(_FORCES[push + chance.normal(0.0, 1.0) > 0])
            time_s += float(simulator.tau)
            if fallen:
                state, _ = environment.reset()
        yield _bgr(environment.render())


def _acrobot(play: Play) -> Iterator[Image]:
    """Two links that swing, driven at the joint between them."""
    environment = _environment("Acrobot-v1")
    simulator = environment.unwrapped
    simulator.dt = 1.0 / play.fps
    chance = np.random.default_rng(play.seed)
    environment.reset(seed=play.seed)
    action, until_s = 1, 0.0
    for number in range(round(play.seconds * play.fps)):
        if number / play.fps >= until_s:
            action, until_s = int(chance.integers(0, 3)), number / play.fps + chance.uniform(*_TORQUE_HOLD_S)
        speed = float(simulator.state[3])
        # Nothing brakes this machine by itself: without this it would spin faster and faster.
        simulator.step((0 if speed > 0 else 2) if abs(speed) > _JOINT_SPEED else action)
        yield _bgr(environment.render())


def _arm(play: Play) -> Iterator[Image]:
    """A robot arm that moves between the stations of its cell, never twice to quite the same place."""
    engine, data = _module("pybullet"), _module("pybullet_data")
    client = engine.connect(engine.DIRECT)
    try:
        engine.setAdditionalSearchPath(data.getDataPath(), physicsClientId=client)
        engine.loadURDF("plane.urdf", physicsClientId=client)
        robot = engine.loadURDF("kuka_iiwa/model.urdf", useFixedBase=1, physicsClientId=client)
        height, width = _ARM_SIZE
        look = engine.computeViewMatrix((1.5, -1.5, 1.1), (0.15, 0.0, 0.5), (0.0, 0.0, 1.0))
        lens = engine.computeProjectionMatrixFOV(45.0, width / height, 0.1, 8.0)
        for joints in _joints(play):
            for joint, angle in enumerate(joints):
                engine.resetJointState(robot, joint, float(angle), physicsClientId=client)
            pixels = engine.getCameraImage(
                width, height, look, lens, renderer=engine.ER_TINY_RENDERER, shadow=1, physicsClientId=client
            )[2]
            yield _bgr(np.asarray(pixels, np.uint8).reshape(height, width, 4)[..., :3])
    finally:
        engine.disconnect(client)


def _joints(play: Play) -> Iterator[npt.NDArray[np.float64]]:
    """Goes through the joint angles of a work cell's arm, radians, shape (7,)."""
    # The cell is the same in every recording; what happens in it is not.
    stations = np.random.default_rng(7).uniform(_ARM_LOW, _ARM_HIGH, (_STATIONS, len(_ARM_LOW)))
    chance = np.random.default_rng(play.seed)
    at, goal = stations[0], stations[0]
    begin_s, move_s, rest_s = 0.0, 1.0, 0.0
    for number in range(round(play.seconds * play.fps)):
        time_s = number / play.fps
        if time_s >= begin_s + move_s + rest_s:
            at, begin_s = goal, time_s
            goal = stations[chance.integers(0, _STATIONS)] + chance.normal(0.0, _STATION_SPREAD, len(_ARM_LOW))
            move_s, rest_s = chance.uniform(*_MOVE_S), chance.uniform(*_REST_S)
        share = min(1.0, (time_s - begin_s) / move_s)
        yield at + (goal - at) * (share**3 * (10.0 - 15.0 * share + 6.0 * share**2))


_TASKS: Final[dict[str, Callable[[Play], Iterator[Image]]]] = {"cartpole": _cartpole, "acrobot": _acrobot, "arm": _arm}


def _environment(name: str) -> Any:
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    _module("pygame")
    return _module("gymnasium").make(name, render_mode="rgb_array")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed", fix="pip install 'twin-edge[bench]'") from error


def _bgr(picture: Any) -> Image:
    return np.ascontiguousarray(np.asarray(picture, np.uint8)[..., ::-1])
