"""From a subject to views: training, validation and test, apart in time or, for the rig, in seeds."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.cameras import open_camera
from twin_edge.cameras.folder import IMAGE_SUFFIXES, read_image
from twin_edge.cameras.rig import Rig, RigConfig
from twin_edge.errors import CameraEndedError, CameraTimeoutError, TrainingError
from twin_edge.images import Image
from twin_edge.preprocess.view import Viewer
from twin_edge.wording import counted
from twin_training import evidence
from twin_training.novelty import novel_blocks
from twin_training.recipe import DataConfig, Recipe
from twin_training.splits import LEAST_FRAMES, split, without
from twin_training.survey import has_no_end

RIG: Final = frozenset({"rig", "rig:"})
_READ_TIMEOUT_S: Final = 10.0
_LEAST_VALIDATION: Final = 20
_LEAST_USED: Final = 0.8
"""Share of the fewest frames that is left when the gaps are taken out."""
_EVEN: Final = 1.0
_STILL: Final = 0.001
_DEFAULT_FPS: Final = 30.0
_LIVE_SEEDS: Final = 8
_LATER_STEPS: Final = 90
_PHASES: Final = 7
_LIVE_FRAMES: Final = 100
_LIVE_VIEWS: Final = 600
_RIG_FPS: Final = 30.0
_EMPTY_FRAMES: Final = 240
_EMPTY_S: Final = 5.0
_VIEWS_AT_ONCE: Final = 256

Views = npt.NDArray[np.uint8]
"""Views in time order, uint8 RGB of shape (n, size, size, 3), 0-255."""

Report = Callable[[int, int | None], None]
"""Called with the frames read so far and how many there will be, None when unknown."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The views of a subject, split."""

    train: Views
    """Views to train on."""
    validation: Views
    """Views to calibrate on and to choose by."""
    test: Views
    """Views to measure on; nothing else sees them."""
    live: Views | None = None
    """Views at the rate of a live camera, for the codec; the end of `train` when None."""
    cuts: tuple[int, ...] = (0,)
    """Where in `train` something else begins: the next view does not follow the one before."""
    live_cuts: tuple[int, ...] = (0,)
    """Where in `live` something else begins."""
    followed: Views | None = None
    """Each view of `train` and the one that a live camera shows next, uint8 RGB of shape (n, 2, size, size, 3), of
    which `train` is a part; None when what follows is the next view."""
    validation_cuts: tuple[int, ...] = (0,)
    """Where in `validation` a block begins: the next view does not follow the one before."""
    validation_blocks: tuple[str, ...] = ("",)
    """What each of those blocks is, for people: its time in the recording, or the rig's seed."""
    test_cuts: tuple[int, ...] = (0,)
    """Where in `test` something else begins; nowhere in a recording's."""
    fps: float = _DEFAULT_FPS
    """Frames per second of `validation` and `test`."""
    continuous: bool = True
    """Whether it is one recording, of which the cuts leave out seconds; else episodes of the rig, apart from each
    other."""
    learned_blocks: tuple[str, ...] = ()
    """Times of blocks that were to be validation and are trained on, because nothing else shows what they do."""
    empty: Image | None = None
    """The scene without the subject, uint8 RGB of shape (size, size, 3); None when nobody has shown it."""

    def to_train_on(self) -> tuple[Views, tuple[int, ...]]:
        """Returns all views to train on, in time order, and where in them something else begins."""
        if self.followed is None:
            return self.train, self.cuts
        views = self.followed.reshape(-1, *self.train.shape[1:])
        return views, tuple(range(0, len(views), 2))

    def digest(self) -> str:
        """Returns the sha256 over all views."""
        total = hashlib.sha256()
        for views in (self.train, self.validation, self.test):
            total.update(repr(views.shape).encode())
            for first in range(0, len(views), _VIEWS_AT_ONCE):
                total.update(np.ascontiguousarray(views[first : first + _VIEWS_AT_ONCE]).data)
        if self.empty is not None:
            total.update(np.ascontiguousarray(self.empty).data)
        return total.hexdigest()


def record(subject: str, recipe: Recipe, report: Report = lambda _done, _total: None, empty: str = "") -> Dataset:
    """Makes the dataset of a subject.

    Args:
        subject: `rig`, or anything that `open_camera` takes: a camera URI, a video, a folder of images.
        recipe: How to split it and how to make views.
        report: Told about progress.
        empty: An image or a video of the scene without the subject, by the same camera; empty for none.

    Raises:
        CameraError: The subject cannot be read.
        ConfigError: It is no camera URI.
        TrainingError: There is too little of it, or nothing to be seen in it.
    """
    dataset = (
        _record_rig(recipe, report) if subject in RIG else _split(*_read_all(subject, recipe, report), recipe.data)
    )
    _check(dataset, subject, recipe.data)
    return replace(dataset, empty=read_empty(empty, recipe)) if empty else dataset


def describe_learned(dataset: Dataset) -> str:
    """Returns which blocks are trained on instead of being held out, one line for people; empty for none."""
    blocks = dataset.learned_blocks
    if not blocks:
        return ""
    there, used = ("in this one", "it is") if len(blocks) == 1 else ("in these", "they are")
    return (
        f"{' and '.join(blocks)}: no other part before the test shows what happens {there}, so {used} used for "
        "training, not for validation"
    )


def read_empty(source: str, recipe: Recipe) -> Image:
    """Returns the view of a scene without its subject: the median of what an image or a video shows.

    Args:
        source: An image, or anything that `open_camera` takes.
        recipe: How to make views.

    Raises:
        CameraError: It cannot be read.
    """
    if is_image(source):
        return Viewer(recipe.view)(read_image(Path(source)))
    short = replace(recipe, data=replace(recipe.data, max_frames=_EMPTY_FRAMES, record_s=_EMPTY_S))
    views, _ = _read_all(source, short, lambda _done, _total: None)
    return np.asarray(np.median(views, axis=0), np.uint8)


def is_image(source: str) -> bool:
    """Whether a source is the file of an image, whatever its name; OpenCV takes some for videos of one frame."""
    path = Path(source)
    return path.suffix.lower() in IMAGE_SUFFIXES or (path.is_file() and cv2.haveImageReader(source))


def _record_rig(recipe: Recipe, report: Report) -> Dataset:
    data = recipe.data
    live_seeds = data.rig_train_seeds[:_LIVE_SEEDS]
    live_frames = min(_LIVE_FRAMES, data.rig_frames)
    total = (len(data.rig_train_seeds) + len(data.rig_validation_seeds) + len(data.rig_test_seeds)) * data.rig_frames
    total += len(live_seeds) * live_frames
    shape = (len(data.rig_train_seeds) * data.rig_frames, recipe.model.size, recipe.model.size, 3)
    followed = np.empty((shape[0], 2, *shape[1:]), np.uint8) if data.rig_follow else None
    done = 0

    def views_of(part: tuple[int, ...], frames: int, stride: int = 1, pairs: Views | None = None) -> Views:
        nonlocal done
        views = np.empty((len(part) * frames, *shape[1:]), np.uint8) if pairs is None else pairs[:, 0]
        viewer = Viewer(recipe.view)
        row = 0
        for place, seed in enumerate(part):
            rig = Rig(RigConfig(seed=seed))
            if stride == 1:  # A live camera shows a few seconds: of each episode others.
                rig.step(1 + _LATER_STEPS * (place % _PHASES))
            for number in range(frames):
                rig.step(stride - (data.rig_follow if pairs is not None and number else 0))
                viewer(rig.draw(), out=views[row])
                if pairs is not None:
                    rig.step(data.rig_follow)
                    viewer(rig.draw(), out=pairs[row, 1])
                row += 1
            done += frames
            report(done, total)
        return views

    train = views_of(data.rig_train_seeds, data.rig_frames, data.rig_stride, followed)
    parts = (data.rig_validation_seeds, data.rig_test_seeds)
    # As the device sees them: what the codec is fitted to, and what it is measured on, is a live camera's.
    validation, test = (views_of(part, data.rig_frames) for part in parts)
    live = views_of(live_seeds, live_frames)

    def cuts(views: Views, frames: int = data.rig_frames) -> tuple[int, ...]:
        return tuple(range(0, len(views), frames))

    return Dataset(
        train,
        validation,
        test,
        live,
        cuts(train),
        cuts(live, live_frames),
        followed,
        cuts(validation),
        tuple(f"seed {seed}" for seed in data.rig_validation_seeds),
        cuts(test),
        _RIG_FPS,
        continuous=False,
    )


def _read_all(subject: str, recipe: Recipe, report: Report) -> tuple[Views, float]:
    """Reads a whole source; returns its views, thinned out to the recipe's most, and their rate in frames per second.

    How long it is need not be known: whenever twice the most have gathered, every second one is dropped.
    """
    most, size = recipe.data.max_frames, recipe.model.size
    # One array that grows in place: a list of views would take its memory twice in the end.
    kept = np.empty((0, size, size, 3), np.uint8)
    stride, read, count = 1, 0, 0
    times: list[float] = []
    for index, (view, time_s) in enumerate(_views(subject, recipe)):
        times = [*times[:1], time_s]
        read = index + 1
        if index % stride == 0:
            if count >= len(kept):
                kept.resize((count + _VIEWS_AT_ONCE, *kept.shape[1:]), refcheck=False)
            kept[count] = view
            count += 1
            if count >= 2 * most:
                count = _thinned(kept, count, 2)
                stride *= 2
        if index % 32 == 0:
            report(index, None)
    if not count:
        raise TrainingError(f"{subject} has no frames", fix="give a video, a folder of images or a camera that has")
    thin = -(-count // most)
    count = _thinned(kept, count, thin)
    kept.resize((count, *kept.shape[1:]), refcheck=False)
    # By the frames' own times: what a file states is wrong where its rate varies.
    rate = (read - 1) / (times[-1] - times[0]) if times[-1] > times[0] else _DEFAULT_FPS
    return kept, rate / (stride * thin)


def _thinned(views: Views, count: int, every: int) -> int:
    """Moves every n-th of the first `count` views to the front; returns how many these are."""
    for place, row in enumerate(range(0, count, every)):
        views[place] = views[row]
    return -(-count // every)


def _views(subject: str, recipe: Recipe) -> Iterator[tuple[npt.NDArray[np.uint8], float]]:
    """Gives each view with its time, seconds."""
    viewer = Viewer(recipe.view)
    camera = open_camera(subject)
    bounded = camera.live or has_no_end(camera.uri)
    first_s: float | None = None
    try:
        camera.open()
        while True:
            frame = camera.read(_READ_TIMEOUT_S)
            time_s = frame.time_us / 1e6 if frame.source_s is None else frame.source_s
            first_s = time_s if first_s is None else first_s
            if bounded and time_s - first_s >= recipe.data.record_s:
                return
            yield viewer(frame.image), time_s
    except (CameraEndedError, CameraTimeoutError) as error:
        if isinstance(error, CameraTimeoutError) and not camera.live:
            raise
    finally:
        camera.close()


def _split(views: Views, fps: float, data: DataConfig) -> Dataset:
    """Cuts a recording into training, validation blocks and test, with gaps between them; see `splits.split`.

    The memory of the recording becomes that of the training part.
    """
    if len(views) < LEAST_FRAMES:
        return Dataset(views, views[:0], views[:0])
    parts = split(len(views), data.train_share, data.validation_share, round(data.gap_s * fps))
    novel = sorted(novel_blocks(views, parts))
    learned = tuple(_times(parts.validation[number], fps) for number in novel)
    parts = without(parts, novel)
    held = sum(end - start for start, end in parts.validation)
    # Calibration needs its frames: of a short recording all are taken, whatever the rate.
    every = max(1, min(round(fps / data.fps), held // _LEAST_VALIDATION)) if data.fps else 1
    validation, validation_cuts = _joined(views, parts.validation, every)
    live, live_cuts = _joined(views, _last(parts.train, every * _LIVE_VIEWS), every) if every > 1 else (None, (0,))
    test = views[parts.test[0] : parts.test[1] : every].copy()
    train, cuts = _brought_to_front(views, parts.train)
    return Dataset(
        train,
        validation,
        test,
        live,
        cuts,
        live_cuts,
        validation_cuts=validation_cuts,
        validation_blocks=tuple(_times(block, fps) for block in parts.validation),
        fps=fps / every,
        learned_blocks=learned,
    )


def _times(block: tuple[int, int], fps: float) -> str:
    return f"{block[0] / fps:.1f} s to {block[1] / fps:.1f} s"


def _joined(views: Views, ranges: Sequence[tuple[int, int]], every: int = 1) -> tuple[Views, tuple[int, ...]]:
    """Returns ranges of the views one after the other, every n-th view of each, and the rows at which each begins."""
    parts = [views[start:end:every] for start, end in ranges]
    return np.concatenate(parts), _starts([len(part) for part in parts])


def _brought_to_front(views: Views, ranges: Sequence[tuple[int, int]]) -> tuple[Views, tuple[int, ...]]:
    """Returns ranges of the views, which are lost otherwise, as `_joined` does: they are most of a recording."""
    lengths = [end - start for start, end in ranges]
    rows = itertools.chain.from_iterable(range(start, end) for start, end in ranges)
    for place, row in enumerate(rows):
        views[place] = views[row]
    views.resize((sum(lengths), *views.shape[1:]), refcheck=False)
    return views, _starts(lengths)


def _starts(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(start) for start in np.cumsum([0, *lengths[:-1]]))


def _last(ranges: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Returns the last so many rows of ranges, as ranges."""
    kept: list[tuple[int, int]] = []
    for start, end in reversed(ranges):
        if most > 0:
            kept.insert(0, (max(start, end - most), end))
            most -= end - start
    return kept


def _check(dataset: Dataset, subject: str, data: DataConfig) -> None:
    used = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    if used < LEAST_FRAMES * _LEAST_USED or len(dataset.validation) < _LEAST_VALIDATION:
        rate = f" at {data.fps:g} a second" if data.fps else ""
        held = f", {len(dataset.validation)} of them to calibrate on" if len(dataset.validation) else ""
        raise TrainingError(
            f"{subject} has {counted(used, 'usable frame')}{held}: too few to train on",
            fix=f"record at least {LEAST_FRAMES} frames{rate}; a minute of the subject doing all it does is better",
        )
    if evidence.contrast(evidence.some(dataset.train, 100)).mean() < _EVEN:
        raise TrainingError(f"{subject} shows nothing but one even color", fix="check the camera, its lens and light")
    if evidence.moving_share(dataset.train) < _STILL:
        raise TrainingError(
            f"{subject} never moves in its first part", fix="record it while it does what the twin is to follow"
        )
