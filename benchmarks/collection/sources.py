"""Views that are measured on: of second recordings, of strangers, and the truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from collection.faults import Views
from collection.recordings import COLLECTION, OWN, Recording
from twin_edge.cameras import Frame, open_camera
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.errors import CameraEndedError, CameraError
from twin_edge.images import Image
from twin_edge.preprocess.view import Viewer, ViewSpec

_DEFAULT_FPS: Final = 30.0
_READ_TIMEOUT_S: Final = 10.0
_MOST_VIEWS: Final = 6000
_STRANGER_VIEWS: Final = 100
_STRANGER_SEED: Final = 424242


@dataclass(frozen=True, slots=True)
class Filmed:
    """Views of a whole recording."""

    views: Views
    """uint8 RGB of shape (n, height, width, 3), in time order."""
    fps: float
    """Views per second."""


def read_views(subject: str, spec: ViewSpec, fps: float = 0.0, most: int = _MOST_VIEWS) -> Filmed:
    """Reads a recording as a device does.

    Args:
        subject: A path, or the URI of a camera that waits.
        spec: How frames become views.
        fps: About how many views a second to keep, by leaving frames out evenly; all when 0.
        most: Most views, at least 1; a recording that is longer is cut off.

    Raises:
        CameraError: It cannot be read, or has no frames.
    """
    camera = open_camera(subject)
    viewer = Viewer(spec)
    try:
        camera.open()
        stated = camera.fps or _DEFAULT_FPS
        every = max(1, round(stated / fps)) if fps else 1
        views = []
        for number, image in enumerate(_images(camera.read)):
            if number % every == 0:
                views.append(viewer(image).copy())
            if len(views) == most:
                break
    finally:
        camera.close()
    if not views:
        raise CameraError(f"{subject} has no frames", fix="record it again")
    return Filmed(np.stack(views), stated / every)


def _images(read: Callable[[float], Frame]) -> Iterator[Image]:
    try:
        while True:
            yield read(_READ_TIMEOUT_S).image
    except CameraEndedError:
        return


def stranger_views(recording: Recording, clips: Path, spec: ViewSpec) -> Views:
    """Returns views of another subject: of the same kind where the clips have one, else any, else of the rig.

    Args:
        recording: What it must not be.
        clips: Where recordings are.
        spec: How frames become views.
    """
    others = [other for other in COLLECTION if _family(other) != _family(recording) and not other.second_recording_of]
    for other in sorted(others, key=lambda other: other.kind != recording.kind):
        path = Path(other.subject(clips))
        if path.is_file():
            return read_views(str(path), spec, most=_STRANGER_VIEWS).views
    viewer, rig = Viewer(spec), Rig(RigConfig(seed=_STRANGER_SEED))
    views = np.empty((_STRANGER_VIEWS, spec.height, spec.width, 3), np.uint8)
    for view in views:
        rig.step()
        viewer(rig.draw(), out=view)
    # A rig is no stranger to the rig, unless it hangs from the ceiling.
    return views[:, ::-1].copy() if _family(recording) == "rig" else views


def _family(recording: Recording) -> str:
    if recording.kind == OWN:
        return OWN
    return (recording.second_recording_of or recording.name).split("-", maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of the frames of a film."""

    pressure_bar: npt.NDArray[np.float64]
    """Pressure, bar, of each frame."""
    faulty: npt.NDArray[np.bool_]
    """Whether something is before the camera that is not of the subject, of each frame."""

    def every(self, stride: int) -> Truth:
        """Returns the truth of every n-th frame."""
        return Truth(self.pressure_bar[::stride], self.faulty[::stride])


def read_truth(path: Path) -> Truth:
    """Reads the truth of a film."""
    with np.load(path, allow_pickle=False) as saved:
        return Truth(saved["pressure_bar"], saved["fault"] != "")
