"""What training reads: a live camera is filmed once, and the region of the frames is settled before views are made."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from twin_edge.cameras import open_camera, refuse_unreadable
from twin_edge.cameras.folder import read_image
from twin_edge.filming import FilmConfig, FilmStats, film
from twin_edge.preprocess.region import Region, checked, describe, parse_region, to_fractions
from twin_training.framing import Framing, find_framing
from twin_training.recipe import Recipe
from twin_training.recordings import RIG, Report, is_image
from twin_training.survey import Survey, survey

AUTO: Final = "auto"
WHOLE: Final = "whole"
_FILM_QUALITY: Final = 95
_READ_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """How a region was settled."""

    recipe: Recipe
    """The recipe with the region in it."""
    survey: Survey | None
    """What a pass over the subject found; None when there was none to make."""
    framing: Framing | None
    """What follows from it."""


def readable(subject: str, recipe: Recipe, recording: Path, report: Report, *, resume: bool) -> str:
    """Returns what to read for a subject: itself, or the recording of a live camera, which is made first.

    Args:
        subject: `rig`, or a camera URI.
        recipe: Says how long a live camera is recorded.
        recording: Where its recording is put.
        report: Told about progress, in frames; whatever it raises ends the recording.
        resume: Whether a recording that is there is the one to go on with.

    Raises:
        CameraError: The camera cannot be read.
        ConfigError: It is no camera URI.
    """
    if subject in RIG or not open_camera(subject).live:
        return subject
    if not (resume and recording.exists()):
        config = FilmConfig(
            subject, recording, seconds=recipe.data.record_s, quality=_FILM_QUALITY, max_bytes=10**12, force=True
        )

        def tell(stats: FilmStats) -> None:
            fps = stats.fps or 1.0
            report(stats.frames, max(stats.frames + 1, round(fps * recipe.data.record_s)))

        try:
            film(config, stop=threading.Event(), on_stats=tell)
        except BaseException:
            if config.part is not None:
                config.part.unlink(missing_ok=True)
            raise
    return f"file:{recording}"


def settle_region(source: str, wish: str, recipe: Recipe, report: Report) -> Found:
    """Returns the recipe with the region that its views are made of.

    Args:
        source: What is read: `rig`, or the URI of a source that waits.
        wish: `auto`, `whole`, or four numbers, x,y,width,height, as pixels or fractions; empty for the recipe's own
            region, or `auto` where it has none.
        recipe: The recipe.
        report: Told about progress.

    Raises:
        CameraError: The source cannot be read.
        ConfigError: It is no region, or none of these frames.
        TrainingError: There are too few frames.
    """
    if not wish and recipe.data.region:
        return Found(recipe, None, None)
    if wish == WHOLE:
        return Found(_with_region(recipe, None), None, None)
    if wish and wish != AUTO:
        values = parse_region(wish)
        return Found(_with_region(recipe, to_fractions(values, _size_of(source))), None, None)
    # The rig is framed as it is, and stills are in no order: nothing moves from one to the next.
    if source in RIG or recipe.model.family == "article":
        return Found(_with_region(recipe, None), None, None)
    seen = survey(source, recipe.data.record_s, report)
    if seen.mixed:  # A region would be another part of each.
        return Found(_with_region(recipe, None), None, None)
    framing = find_framing(seen.frames, seen.size, recipe.model.size)
    return Found(_with_region(recipe, framing.region), seen, framing)


def check_wishes(subject: str, region: str, empty: str) -> None:
    """Refuses what surely cannot be read, before anything is made of it.

    Args:
        subject: `rig`, or a camera URI.
        region: As for `settle_region`.
        empty: An image or a video of the scene without the subject; empty for none.

    Raises:
        CameraError: A file is not there, or is none that can be read.
        ConfigError: It is no camera URI, or no region.
    """
    if region not in {"", AUTO, WHOLE}:
        parse_region(region)
    if subject not in RIG:
        refuse_unreadable(open_camera(subject))
    if empty and is_image(empty):
        read_image(Path(empty))
    elif empty:
        refuse_unreadable(open_camera(empty))


def describe_found(found: Found) -> str:
    """Returns what the region is and why, one line for people; empty when the whole frame was asked for."""
    region = found.recipe.view.region
    if found.framing is None or found.survey is None:
        return f"region: {describe(region)}" if region else ""
    framing = found.framing
    why = "nothing moves" if framing.moving is None else f"{framing.moving_share:.0%} of the frame moves at times"
    bars = ", black bars cut off" if framing.content is not None else ""
    return f"region: {describe(region, found.survey.size)}; {why}{bars}"


def _with_region(recipe: Recipe, region: Region | None) -> Recipe:
    values = () if region is None else checked(region)
    return replace(recipe, data=replace(recipe.data, region=values))


def _size_of(source: str) -> tuple[int, int]:
    """Returns (rows, columns) of the frames of a source."""
    camera = open_camera("rig:" if source in RIG else source)
    try:
        camera.open()
        image = camera.read(_READ_TIMEOUT_S).image
    finally:
        camera.close()
    return image.shape[0], image.shape[1]
