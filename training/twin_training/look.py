"""A look at a subject before anything is trained: a frame with the region, what moves, and what was found."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from twin_edge.filming.preview import framed
from twin_edge.images import Image
from twin_edge.pictures import encode_png
from twin_edge.preprocess.region import Region, describe, to_pixels
from twin_edge.preprocess.view import Plan, Viewer
from twin_edge.twin.parts import boxes_of
from twin_training.diagnosis import Finding, check_shown, check_views
from twin_training.framing import Floats, Framing, find_framing, motion_map, moving_mask, shown_share
from twin_training.parts.regions import find_regions
from twin_training.parts.scene import light_up
from twin_training.recipe import Recipe
from twin_training.recordings import RIG, Report, Views
from twin_training.source import AUTO, readable, settle_region
from twin_training.survey import Survey, survey

_WIDTH: Final = 640
_LOOK_S: Final = 20.0
"""How much of a live camera, or of a rig, is looked at, seconds."""
_GAP: Final = 16
_LINE_HEIGHT: Final = 24
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_PAPER: Final = 250
_INK: Final = (50, 50, 50)
_WARNING: Final = (30, 70, 190)
_COLOURS: Final = ((60, 180, 255), (255, 160, 60), (120, 220, 90), (200, 90, 230), (230, 220, 60))
_LETTERS: Final = 140
_OFTEN: Final = 0.25
"""Share of the frames from which on motion is drawn in the strongest colour."""
_SHOWN: Final = 0.004


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """Something found in the frame, to be drawn on it."""

    label: str
    """What it is, ASCII."""
    region: Region
    """Where it is, shares of the frame."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a subject gave."""

    survey: Survey
    """The pass over it."""
    recipe: Recipe
    """The recipe, with the region."""
    framing: Framing
    """What was found of bars and motion."""
    motion: Floats
    """In which share of the frames each pixel is not as usual, 0-1, of the survey's small frames."""
    warnings: tuple[Finding, ...]
    """What is wrong with it, as far as that can be told without training."""
    boxes: tuple[LabelledBox, ...] = ()
    """What else is to be drawn on the frame."""

    @property
    def lines(self) -> list[str]:
        """What was found, a line each."""
        seen, framing = self.survey, self.framing
        stated = f", {seen.stated_fps:.4g} stated" if _differs(seen.stated_fps, seen.fps) else ""
        rate = f"{seen.fps:.4g} a second{stated}"
        turned = f", turned by {seen.rotation} degrees as its metadata say" if seen.rotation else ""
        bars = (
            f"black bars: without them {describe(framing.content, seen.size)}" if framing.content else "no black bars"
        )
        moves = (
            "nothing moves"
            if framing.moving is None
            else f"{framing.moving_share:.0%} of the frame moves at times; the view shows {framing.shown:.0%} of that"
        )
        mixed = ["frames are of different sizes: only those as large as the first one are looked at"] * seen.mixed
        return [
            *mixed,
            f"{seen.size[1]}x{seen.size[0]}, {seen.count} frames in {seen.seconds:.1f} s, {rate}{turned}",
            bars,
            moves,
            f"region: {describe(self.recipe.view.region, seen.size)}",
        ]

    def png(self) -> bytes:
        """Returns the picture as PNG."""
        frame = _framed_frame(self.survey.sample, self.recipe, self.boxes)
        heat = _heat(self.survey.sample, self.motion)
        both = [_resized(picture, _WIDTH) for picture in (frame, heat)]
        gap: Image = np.full((both[0].shape[0], _GAP, 3), _PAPER, np.uint8)
        row = np.concatenate([both[0], gap, both[1]], axis=1)
        texts = [(line, _INK) for line in self.lines]
        texts += [
            (part, _WARNING)
            for warning in self.warnings
            for part in textwrap.wrap(f"warning: {warning}", _LETTERS, subsequent_indent="    ")
        ]
        below: Image = np.full((_GAP + _LINE_HEIGHT * len(texts) + _GAP // 2, row.shape[1], 3), _PAPER, np.uint8)
        for number, (text, colour) in enumerate(texts, 1):
            place = (_GAP // 2, _LINE_HEIGHT * number)
            cv2.putText(below, _ascii(text), place, _FONT, 0.5, colour, 1, cv2.LINE_AA)
        return encode_png(np.asarray(np.concatenate([row, below])[..., ::-1], np.uint8))


def look(
    subject: str,
    region: str,
    recipe: Recipe,
    report: Report = lambda _done, _total: None,
    boxes: Sequence[LabelledBox] = (),
) -> Looked:
    """Looks at a subject.

    Args:
        subject: As for training.
        region: `auto`, `whole`, or four numbers.
        recipe: How large views are.
        report: Told about progress.
        boxes: What else is to be drawn on the frame.

    Raises:
        CameraError: It cannot be read.
        ConfigError: It is no camera URI, or no region.
        TrainingError: It has too few frames.
    """
    recipe = replace(recipe, data=replace(recipe.data, record_s=min(recipe.data.record_s, _LOOK_S)))
    with tempfile.TemporaryDirectory() as folder:
        source = readable(
            "rig:" if subject in RIG else subject, recipe, Path(folder) / "live.mkv", report, resume=False
        )
        seen = survey(source, recipe.data.record_s, report)
        framing = find_framing(seen.frames, seen.size, recipe.model.size)
        values = () if framing.region is None else framing.region
        settled = _with(recipe, values) if region == AUTO else settle_region(source, region, recipe, report).recipe
    motion = motion_map(seen.frames)
    framing = replace(framing, shown=shown_share(moving_mask(motion), settled.view.region))
    views = _views(seen, settled)
    warnings = [*check_views(views), *check_shown(framing.shown)]
    return Looked(seen, settled, framing, motion, tuple(warnings), (*boxes, *_parts(views, seen.size, settled)))


def _parts(views: Views, size: tuple[int, int], recipe: Recipe) -> list[LabelledBox]:
    """Returns what would be the parts of a fixed scene; none where that is one region or none."""
    plan = Plan(recipe.view, size)
    target = [(part.stop - part.start) for part in plan.target]
    if target != [recipe.view.height, recipe.view.width]:  # Padded: the view shows more than the frame.
        return []
    labels = find_regions(light_up(views), views, recipe.parts.weights).labels
    if labels.max() <= 1:
        return []
    (rows, columns), found = plan.source, []
    down, across = ((part.stop - part.start) / side for part, side in zip(plan.source, target, strict=True))
    for number, box in enumerate(boxes_of(labels), 1):
        left, top = columns.start + box.left * across, rows.start + box.top * down
        place = (left / size[1], top / size[0], box.width * across / size[1], box.height * down / size[0])
        found.append(LabelledBox(f"part {number}", place))
    return found


def _with(recipe: Recipe, region: tuple[float, ...]) -> Recipe:
    return replace(recipe, data=replace(recipe.data, region=region))


def _views(seen: Survey, recipe: Recipe) -> Views:
    """Returns views of the survey's small frames: good enough for light and motion, not for detail."""
    viewer = Viewer(recipe.view)
    return np.stack([viewer(frame) for frame in seen.frames])


def _framed_frame(sample: Image, recipe: Recipe, boxes: Sequence[LabelledBox]) -> Image:
    picture = framed(sample, recipe.view)
    thick = max(1, max(sample.shape) // 500)
    for number, box in enumerate(boxes):
        left, top, width, height = to_pixels(box.region, (sample.shape[0], sample.shape[1]))
        colour = _COLOURS[number % len(_COLOURS)]
        cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), colour, thick)
        place = (left + 2, max(12 * thick, top - 3 * thick))
        cv2.putText(picture, _ascii(box.label), place, _FONT, 0.4 * thick, colour, thick, cv2.LINE_AA)
    return picture


def _heat(sample: Image, motion: Floats) -> Image:
    """Returns a gray frame on which what moves glows, the more often the brighter."""
    gray = cv2.cvtColor(cv2.cvtColor(sample, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.float32) * 0.5
    strength = cv2.resize(np.sqrt(np.clip(motion / _OFTEN, 0, 1)), sample.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.asarray(strength * 255, np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    weight = np.where(strength > np.sqrt(_SHOWN / _OFTEN), 0.85, 0.0)[..., np.newaxis]
    return np.asarray(gray * (1 - weight) + colours * weight, np.uint8)


def _resized(picture: Image, width: int) -> Image:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    how = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def _differs(stated: float | None, measured: float) -> bool:
    return stated is not None and abs(stated - measured) > 0.02 * max(stated, measured)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
