"""The rig as a camera, and the URI that describes it."""

from __future__ import annotations

import re
import time

from twin_edge.cameras.base import Frame
from twin_edge.cameras.rig.faults import FAULT_NAMES, Fault
from twin_edge.cameras.rig.machine import Rig, RigConfig
from twin_edge.errors import CameraError, ConfigError

_KEYS = ("seed", "fault", "at", "duration", "nuisance", "fps")
_HELP = f"give rig: followed by any of {', '.join(f'{key}=' for key in _KEYS)} separated by commas"
_MAX_URI = 1000
_MAX_FAULTS = 16
_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def parse_rig(uri: str) -> RigConfig:
    """Reads a rig URI.

    Args:
        uri: `rig:`, or for example `rig:seed=7,fault=leak+hand,at=20+40,duration=5,nuisance=0.5,fps=30`. Several
            faults are joined by ``+``; `at` and `duration` then have one value for all, or one for each.

    Raises:
        ConfigError: Not a rig URI, an unknown or repeated key, or a value out of range.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != "rig" or not colon or len(uri) > _MAX_URI:
        raise ConfigError(f"{uri[:40]!r} is not a rig camera", fix=_HELP)
    values: dict[str, str] = {}
    for item in rest.split(",") if rest else []:
        key, equals, value = item.partition("=")
        if key not in _KEYS or not equals:
            raise ConfigError(f"unknown rig option {item[:40]!r}", fix=_HELP)
        if key in values:
            raise ConfigError(f"rig option {key!r} is given twice", fix="give it once; join several faults by +")
        values[key] = value
    return RigConfig(
        seed=_whole("seed", values.get("seed", "0")),
        fps=_decimal("fps", values.get("fps", "30")),
        nuisance=_decimal("nuisance", values.get("nuisance", "1")),
        faults=_faults(values),
    )


def _faults(values: dict[str, str]) -> tuple[Fault, ...]:
    if "fault" not in values:
        for key in ("at", "duration"):
            if key in values:
                raise ConfigError(
                    f"rig option {key!r} needs a fault", fix=f"add fault= one of {', '.join(FAULT_NAMES)}"
                )
        return ()
    names = values["fault"].split("+")
    if len(names) > _MAX_FAULTS:
        raise ConfigError(f"{len(names)} rig faults are too many", fix=f"give at most {_MAX_FAULTS}")
    starts = _per_fault("at", values.get("at", "0"), len(names))
    durations = _per_fault("duration", values["duration"], len(names)) if "duration" in values else [None] * len(names)
    return tuple(Fault(*fault) for fault in zip(names, starts, durations, strict=True))


def _per_fault(key: str, text: str, count: int) -> list[float]:
    numbers = [_decimal(key, part) for part in text.split("+")]
    if len(numbers) == 1:
        return numbers * count
    if len(numbers) != count:
        raise ConfigError(
            f"rig option {key!r} has {len(numbers)} values for {count} faults", fix="give one for all, or one for each"
        )
    return numbers


def _whole(key: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ConfigError(f"rig option {key!r} is {text[:40]!r}", fix="give a whole number, 0 or more")
    return int(text)


def _decimal(key: str, text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ConfigError(f"rig option {key!r} is {text[:40]!r}", fix="give a number such as 5 or 0.5")
    return float(text)


class RigCamera:
    """A camera in front of a rig; frames carry their truth.

    It starts at the same instant whenever it is opened. The rig's time moves on by 1 / fps per frame read, however
    fast it is read.

    Args:
        uri: As for `parse_rig`.

    Raises:
        ConfigError: The URI is wrong.
    """

    live = False

    def __init__(self, uri: str = "rig:") -> None:
        self.uri = uri
        self._config = parse_rig(uri)
        self.fps: float | None = self._config.fps
        self._rig = Rig(self._config)
        self._opened = False
        self._fresh = True

    @property
    def rig(self) -> Rig:
        """The rig in front of the camera; another one after the camera was closed and opened again."""
        return self._rig

    def command(self, *, valve_deg: float | None = None, speed_rpm: float | None = None) -> None:
        """Takes inputs from the autopilot, see `Rig.command`; may be called from any thread.

        Raises:
            ConfigError: A value is out of range.
        """
        self._rig.command(valve_deg=valve_deg, speed_rpm=speed_rpm)

    def release(self, *, valve: bool = True, speed: bool = True) -> None:
        """Gives inputs back to the autopilot, see `Rig.release`; may be called from any thread."""
        self._rig.release(valve=valve, speed=speed)

    def open(self) -> None:
        """Puts the camera in front of its rig."""
        if not self._fresh:
            self._rig = Rig(self._config)
            self._fresh = True
        self._opened = True

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - a rig never keeps anyone waiting
        """Moves the rig on by a frame and draws it; see `Camera.read`.

        Raises:
            CameraError: The camera is not open.
        """
        if not self._opened:
            raise CameraError("rig camera is not open", fix="open it first")
        if self._fresh:
            self._fresh = False
        else:
            self._rig.step()
        image = self._rig.draw()
        index = self._rig.index
        return Frame(image, time.time_ns() // 1000, index, self._rig.truth(), index / self._config.fps)

    def close(self) -> None:
        """Closes the camera; see `Camera.close`."""
        self._opened = False
