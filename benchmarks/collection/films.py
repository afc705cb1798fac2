"""The rig filmed: video files of the simulated machine, each with its truth beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from collection.video_file import VideoForm, comment_of, write_video
from twin_edge.cameras.rig import Fault, Rig, RigConfig
from twin_edge.images import Image

_HAND_S: Final = 4.0
_PHONE_SIZE: Final = (720, 1280)
_PHONE_PICTURE: Final = (648, 864)
"""Height and width of the rig's picture within a phone's: black bars on all sides."""
_STEPS: Final = (2, 3, 4)
"""Ticks of 1/60 s from one picture to the next at a variable rate: 20 pictures a second on average."""


@dataclass(frozen=True, slots=True)
class Film:
    """How the rig is filmed."""

    seed: int
    """The rig's seed."""
    seconds: float
    """Length, above 0."""
    phone: bool = False
    """Filmed as phones do it: 1280x720 with black bars, turned by metadata, at a variable rate; else 480x360."""
    light: float = 1.0
    """Factor of the light at the start, above 0."""
    light_end: float = 1.0
    """Factor of the light at the end; in between it goes evenly."""
    shift: tuple[int, int] = (0, 0)
    """How far the picture has moved to the right and down, pixels of 480x360."""
    hands_at_s: tuple[float, ...] = ()
    """When a hand passes, seconds since the start, each for 4 s."""

    @property
    def ticks_per_s(self) -> int:
        """Ticks of the file's clock, and steps of the rig, in a second."""
        return 60 if self.phone else 20

    @property
    def comment(self) -> str:
        """All settings, as they stand in the file."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a film."""

    tick: int
    """When, in ticks since the start."""
    picture: Image
    """uint8 BGR of shape (height, width, 3)."""
    truth: dict[str, float | str]
    """What the rig knew; see `Rig.truth`."""


def shoot(film: Film) -> Iterator[Shot]:
    """Goes through the pictures of a film."""
    faults = tuple(Fault("hand", at_s, _HAND_S) for at_s in film.hands_at_s)
    rig = Rig(RigConfig(seed=film.seed, fps=film.ticks_per_s, faults=faults))
    pace = np.random.default_rng(film.seed)
    last = round(film.seconds * film.ticks_per_s)
    while rig.index < last:
        truth = dict(rig.truth())
        yield Shot(rig.index, _seen(film, rig.draw(), rig.index / last), truth)
        rig.step(int(pace.choice(_STEPS)) if film.phone else 1)


def _seen(film: Film, image: Image, along: float) -> Image:
    light = film.light + (film.light_end - film.light) * along
    if not math.isclose(light, 1.0):
        image = np.asarray(cv2.convertScaleAbs(image, alpha=light), np.uint8)
    return as_filmed(film, image)


def as_filmed(film: Film, image: Image) -> Image:
    """Returns a picture of the rig as a film has it, in unchanged light.

    Args:
        film: The film.
        image: uint8 BGR of shape (360, 480, 3).
    """
    if film.shift != (0, 0):
        matrix = np.array([[1.0, 0.0, film.shift[0]], [0.0, 1.0, film.shift[1]]])
        image = np.asarray(
            cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101), np.uint8
        )
    if film.phone:
        wide = np.zeros((*_PHONE_SIZE, 3), np.uint8)
        top, left = ((_PHONE_SIZE[axis] - _PHONE_PICTURE[axis]) // 2 for axis in (0, 1))
        part = wide[top : top + _PHONE_PICTURE[0], left : left + _PHONE_PICTURE[1]]
        part[:] = cv2.resize(image, _PHONE_PICTURE[::-1], interpolation=cv2.INTER_CUBIC)
        image = wide
    return image


def truth_path(video: Path) -> Path:
    """Returns where the truth of a film lies: arrays of one value a picture, `time_s` and those of `Rig.truth`."""
    return video.with_suffix(".npz")


def make_film(path: Path, film: Film) -> None:
    """Renders a film and its truth, unless both are there."""
    if comment_of(path) == film.comment and truth_path(path).exists():
        return
    truths: list[dict[str, float | str]] = []

    def pictures() -> Iterator[tuple[int, Image]]:
        for shot in shoot(film):
            truths.append(shot.truth | {"time_s": shot.tick / film.ticks_per_s})
            yield shot.tick, shot.picture

    write_video(path, VideoForm(film.ticks_per_s, rotated=film.phone), pictures(), film.comment)
    columns = {name: np.array([truth[name] for truth in truths]) for name in truths[0]}
    np.savez_compressed(truth_path(path), **columns)
