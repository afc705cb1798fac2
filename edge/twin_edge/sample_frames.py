"""Frames that show a bundle its own subject, for measuring it where no camera looks at that.

A twin that is shown something else is not measured as it runs: its tracker searches in every frame, and its states
leap, so that they are long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from twin_edge.bundle import Bundle
from twin_edge.cameras import Frame, RigCamera
from twin_edge.images import Image
from twin_edge.models.pose import Pose
from twin_edge.models.runtimes import Runtime
from twin_edge.preprocess.view import Plan
from twin_edge.runtime.reporting import OUT_OF_SYNC_GAP
from twin_edge.twin import Twin

WIDTH, HEIGHT, FPS = 640, 480, 30
_FRAMES: Final = 16
_NOISE: Final = 2.0
"""Standard deviation of the noise of a camera by daylight, 1/255."""
_FARTHEST: Final = Pose(2.0, 1.0, 0.03, 0.01)
"""How far a subject that can move does: some 20 pixels a second, of 128."""


@dataclass(frozen=True, slots=True)
class SampleFrames:
    """Frames in the order of time, at 30 a second; after the last one the first one follows without a leap."""

    frames: tuple[Frame, ...]
    """The frames, 640x480."""
    shown: str
    """What they show, for people."""


def sample_frames(bundle: Bundle, runtime: Runtime) -> SampleFrames:
    """Returns frames of the rig for a twin of the rig, else the golden views, moved if the subject can move.

    Args:
        bundle: Whom to show its subject.
        runtime: What to look with whether it is the rig's.

    Raises:
        BundleError: The runtime cannot run the bundle, or its golden samples are not readable.
    """
    rig = _film_rig()
    if _knows(Twin(bundle, runtime), rig):
        return SampleFrames(_to_and_fro(rig), "the rig")
    images = _paint(bundle)
    moved = f", moved by up to {_FARTHEST.tx:g} pixels" if bundle.manifest.pose else ""
    views = "view" if len(bundle.golden().views) == 1 else "views"
    return SampleFrames(_to_frames(images), f"the bundle's golden {views}{moved}, with a camera's noise")


def _film_rig() -> list[Image]:
    camera = RigCamera(f"rig:fps={FPS}")
    camera.open()
    images = [camera.read(1.0).image for _ in range(_FRAMES)]
    camera.close()
    if images[0].shape[:2] == (HEIGHT, WIDTH):
        return images
    return [np.asarray(cv2.resize(image, (WIDTH, HEIGHT)), np.uint8) for image in images]


def _knows(twin: Twin, images: list[Image]) -> bool:
    """Returns whether images show what the twin has learned."""
    gaps = []
    for image in images[:: _FRAMES // 4]:
        view = twin.make_view(image)
        state = twin.encode(view)
        gaps.append(twin.compare(view, twin.render(state), state).score)
    return float(np.median(gaps)) < OUT_OF_SYNC_GAP


def _to_and_fro(images: list[Image]) -> tuple[Frame, ...]:
    return _to_frames([*images, *images[-2:0:-1]])


def _paint(bundle: Bundle) -> list[Image]:
    """Returns frames whose views are the golden ones, in turns."""
    spec = bundle.manifest.view
    views, states, plate, pose = bundle.golden().views, bundle.golden().states, bundle.plate(), bundle.manifest.pose
    plan = Plan(spec, (HEIGHT, WIDTH))
    random = np.random.default_rng(0)
    images = []
    for number in range(_FRAMES):
        # Each golden view for a while, not in every frame another one.
        chosen = number * len(views) // _FRAMES
        view = views[chosen]
        if pose is not None:
            where = pose.dequantize(states[chosen, : len(pose.steps)])
            view = _moved(view, view if plate is None else plate, where, number / _FRAMES)
        image: Image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        part = image[plan.source]
        part[:] = cv2.resize(view[plan.target], part.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., ::-1]
        rows, columns = plan.source
        borders = (rows.start, HEIGHT - rows.stop, columns.start, WIDTH - columns.stop)
        image = np.asarray(cv2.copyMakeBorder(part, *borders, cv2.BORDER_REPLICATE), np.uint8)
        noisy = image + random.normal(0.0, _NOISE, image.shape)
        images.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return images


def _moved(view: Image, plate: Image, where: Pose, turn: float) -> Image:
    """Returns a view whose subject has gone a part of its way round, 0-1, over the plate."""
    size = view.shape[0]
    across, along = math.sin(2 * math.pi * turn), math.cos(2 * math.pi * turn)
    far = _FARTHEST
    change = Pose(far.tx * across, far.ty * along, far.rotation * along, far.log_scale * across)
    # Where the subject would be in the middle of the view, changed, and back to where it is.
    matrix = where.then(change).then(where.inverse()).matrix(size)
    moved = plate.copy()
    cv2.warpAffine(view, matrix, (size, size), dst=moved, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    return moved


def _to_frames(images: list[Image]) -> tuple[Frame, ...]:
    return tuple(Frame(image, number * 1_000_000 // FPS, number) for number, image in enumerate(images))
