"""What may be wrong with a recording, or with the twin that came of it, said before it is deployed.

What cannot be trained on at all is an error (`twin_training.recordings`); here is what can be, and with what to expect.
The numbers come from `twin_training.evidence`; the thresholds are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from twin_edge.baseline import compare
from twin_edge.images import Image
from twin_edge.models.pose import PoseSpec
from twin_training import evidence
from twin_training.evidence import Floats, Following
from twin_training.recordings import Dataset, Views
from twin_training.source import Found
from twin_training.targets import Canvases

if TYPE_CHECKING:
    from twin_training.start import Start  # which loads TensorFlow

LOST: Final = "lost-from-sight"
"""Kind of the finding that a subject is there and not found."""
_FEW: Final = 300
_LEAST_CONTRAST: Final = 4.0
_DIM: Final = 25.0
_BLANK_SHARE: Final = 0.02
_STILL_SHARE: Final = 0.002
_STRANGE_TIMES: Final = 2.0
_STRANGE_LEVELS: Final = 8.0
_STRANGE_SHARE: Final = 0.1
_CAMERA_SHARE: Final = 0.25
_GAIN_DB: Final = 1.0
_NO_GAIN_DB: Final = 0.1

_MOST_FOLLOWED: Final = 200
_GONE: Final = 0.2
_HALF: Final = 0.5
_CAUGHT: Final = 0.3
_LOST_SHARE: Final = 0.03
_CUT_SHARE: Final = 0.05
_PLATE_LEVELS: Final = 14.0
_TWO_SHARE: Final = 0.4
_BOTH_MOVE: Final = 1.5
_LEAST_SHOWN: Final = 0.7
_LIMIT: Final = 127

WORSE_THAN_BASELINE: Final = "worse-than-baseline"
"""Kind of a finding that conversion settles."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and that training cannot mend."""

    kind: str
    """Its name for programs: lower-case words with hyphens between them."""
    what: str
    """What is wrong, for people: a clause without a period."""
    evidence: float
    """The number that it rests on; `what` tells of what."""
    advice: str
    """What to do, or what to expect, an imperative or a clause."""

    def __str__(self) -> str:
        return f"{self.what}: {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as an object of JSON, the evidence rounded."""
        return asdict(self) | {"evidence": round(self.evidence, 4)}


def check_recording(dataset: Dataset, *, moving: bool, chosen: bool = False) -> list[Finding]:
    """Looks at the views of a subject before anything is trained.

    Args:
        dataset: Views in time order, each part large enough to train on.
        moving: Whether the recipe is for a subject that moves as a whole.
        chosen: Whether the recipe was chosen by what was measured: then it needs no advice.
    """
    train, validation, test = dataset.train, dataset.validation, dataset.test
    findings = [*_amount(train), *_light(train), *_still(validation, test), *_unlike(dataset)]
    parts = [part for part in np.split(train, list(dataset.cuts[1:])) if len(part) > 1]
    longest = train if dataset.continuous else max(parts, key=len)
    share = max(evidence.camera_motion(part) for part in (longest, test) if len(part) > 1)
    if share >= _CAMERA_SHARE:
        return [*findings, _camera_moves(share)]
    return findings if chosen else [*findings, *_recipe_fits(longest, validation, moving=moving)]


def check_views(views: Views) -> list[Finding]:
    """Looks at views that are spread over a whole recording, before it is split.

    Args:
        views: uint8 RGB of shape (n, size, size, 3), in time order.
    """
    findings = _light(views)
    if evidence.moving_share(views) < _STILL_SHARE:
        what = "nothing moves in the recording"
        findings.append(Finding("still", what, 0.0, "record it while it does what the twin is to follow"))
    share = evidence.camera_motion(views)
    return [*findings, _camera_moves(share)] if share >= _CAMERA_SHARE else findings


def _camera_moves(share: float) -> Finding:
    what = f"the camera moves: the whole edge of the picture shifts in {share:.0%} of the views that were compared"
    advice = "mount the camera firmly and record again, or expect a high gap whenever it moves"
    return Finding("camera-moves", what, share, advice)


def check_shown(share: float) -> list[Finding]:
    """Looks at how much of what moves is in the view, 0-1."""
    if share >= _LEAST_SHOWN:
        return []
    what = f"the view shows only {share:.0%} of the area in which something moves; the rest is cut off"
    advice = 'choose what matters with --region, or show all of it by `resize_mode = "fit-longest"` in a recipe'
    return [Finding("motion-cut-off", what, share, advice)]


def check_framing(found: Found, dataset: Dataset, *, uses_empty: bool) -> list[Finding]:
    """Looks at what of the frames the views show, and at the picture of the empty scene.

    Args:
        found: How the region was settled.
        dataset: The views that came of it.
        uses_empty: Whether the recipe learns its background from the picture of the empty scene.
    """
    findings = [] if found.framing is None else check_shown(found.framing.shown)
    if dataset.empty is None:
        return findings
    if not uses_empty:
        what = "the picture of the empty scene is not used: this recipe has no background of its own"
        return [*findings, Finding("empty-unused", what, 0.0, "leave --empty out")]
    apart = evidence.difference_from_scene(dataset.train, dataset.empty)
    if apart > _PLATE_LEVELS:
        what = (
            f"the picture of the empty scene differs by {apart:.0f} of 255 from what the recording shows of that scene"
        )
        advice = "take it with the same camera in the same place and light, right before or after the recording"
        findings.append(Finding("empty-differs", what, apart, advice))
    return findings


def _amount(train: Views) -> list[Finding]:
    if len(train) >= _FEW:
        return []
    return [
        Finding(
            "few-frames",
            f"there are only {len(train)} frames to train on",
            len(train),
            f"record at least {_FEW}, better a minute in which the subject does all that it does; the twin draws badly "
            "what training has not shown",
        )
    ]


def _light(train: Views) -> list[Finding]:
    sample = evidence.some(train)
    blank = float((evidence.contrast(sample) < _LEAST_CONTRAST).mean())
    findings = []
    if blank > _BLANK_SHARE:
        what = f"{blank:.0%} of the training views show nothing but one even color"
        findings.append(Finding("blank-views", what, blank, "cut them out, or find out what covers the lens at times"))
    brightness = float(np.percentile(sample[:, ::4, ::4], 95))
    if brightness < _DIM:
        what = f"the picture is very dark: 95 % of its values are below {brightness:.0f} of 255"
        findings.append(Finding("dark", what, brightness, "give the subject more light, or the camera more exposure"))
    return findings


def _still(validation: Views, test: Views) -> list[Finding]:
    findings = []
    for name, views, used in (
        ("validation", validation, "the gap's calibration"),
        ("test", test, "the measured quality"),
    ):
        share = evidence.moving_share(views)
        if share < _STILL_SHARE:
            what = f"nothing moves in the {name} part of the recording"
            findings.append(
                Finding(f"{name}-still", what, share, f"record longer; {used} says nothing about the subject at work")
            )
    return findings


def _unlike(dataset: Dataset) -> list[Finding]:
    usual, of_test = evidence.distances_from_span(dataset.train, evidence.some(dataset.test))
    _, of_validation = evidence.distances_from_span(dataset.train, dataset.validation)
    limit = max(_STRANGE_LEVELS, _STRANGE_TIMES * usual)

    def finding(kind: str, name: str, distances: Floats, consequence: str) -> list[Finding]:
        share = float((distances > limit).mean())
        if share <= _STRANGE_SHARE:
            return []
        times = float(np.median(distances[distances > limit])) / max(usual, 1.0)
        what = (
            f"{share:.0%} of {name} looks unlike the training part: it is {times:.1f} times as far from that as pieces "
            "of the training part are from each other"
        )
        advice = (
            "cut it out if it does not belong to the subject, else record more of what it shows, so that training sees "
            f"it; {consequence}"
        )
        return [Finding(kind, what, times, advice)]

    findings = []
    ranges = zip(dataset.validation_cuts, (*dataset.validation_cuts[1:], len(of_validation)), strict=True)
    for block, (first, end) in zip(dataset.validation_blocks, ranges, strict=True):
        name = f"the validation block {block}" if block else "the validation part"
        consequence = "else the choice of the recipe and the calibration of the gap rest on views that are not usual"
        findings += finding("validation-unlike-training", name, of_validation[first:end], consequence)
    consequence = "else expect a low measured quality, and a high gap whenever the subject looks like that"
    return [*findings, *finding("test-unlike-training", "the test part", of_test, consequence)]


def _recipe_fits(train: Views, held: Views, *, moving: bool) -> list[Finding]:
    gain = evidence.registration_gain(train, held)
    if not moving and gain > _GAIN_DB:
        return [
            Finding(
                "moves-as-a-whole",
                f"the subject moves as a whole: aligning its views makes linear renderings {gain:.1f} dB better",
                gain,
                "train it with --recipe face, or with `moving = true` in a recipe of your own",
            )
        ]
    if moving and gain < _NO_GAIN_DB:
        return [
            Finding(
                "stays-in-place",
                f"the subject does not move as a whole: aligning its views changes linear renderings by {gain:+.1f} dB",
                gain,
                "train it with --recipe linear, or with `moving = false` in a recipe of your own: it is drawn as well, "
                "and each state has four bytes less",
            )
        ]
    return []


@dataclass(frozen=True, slots=True)
class Stage:
    """What following a moving subject is judged by."""

    plate: Image
    """The background, uint8 RGB of shape (size, size, 3)."""
    core: Image
    """What of the canvas is subject most of the time, 0 or 255, uint8 of shape (size, size)."""
    spec: PoseSpec
    """How poses stand in states."""
    train: Following
    """How it was followed in the training part."""


def follow(views: Views, states: npt.NDArray[np.int8], spec: PoseSpec) -> Following:
    """Returns evenly spaced views with where their states say that the subject is.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        states: Their states, pose first, int8 of shape (n, state length).
        spec: How poses stand in states.
    """
    rows = np.unique(np.linspace(0, len(views) - 1, min(len(views), _MOST_FOLLOWED)).round().astype(int))
    values = states[rows, : len(spec.steps)]
    saturated = (np.abs(values.astype(np.int16)) >= _LIMIT).any(1)
    return Following(views[rows], [spec.dequantize(value) for value in values], saturated)


def stage_of(start: Start, views: Views) -> Stage | None:
    """Returns what following is judged by, None for a fixed subject.

    Args:
        start: Where training starts.
        views: The training views, uint8 RGB of shape (n, size, size, 3).
    """
    if start.scene is None or not isinstance(start.targets, Canvases):
        return None
    core = np.where(start.targets.often, np.uint8(255), np.uint8(0))
    return Stage(start.scene.plate, core, start.scene.pose, follow(views, start.states, start.scene.pose))


def check_following(stage: Stage, held: Following | None = None, name: str = "the test part") -> list[Finding]:
    """Looks at how a moving subject was followed.

    Args:
        stage: What was learned of background and subject, and the training part.
        held: Held-out views with their poses, to be judged instead; the training part when None.
        name: What those are, for people.
    """
    masks = evidence.foregrounds(stage.train.views, stage.plate)
    regions = evidence.two_regions(masks)
    two = regions.share > _TWO_SHARE and regions.motion > _BOTH_MOVE
    if held is not None:
        return [] if two else _leaving(name, stage, held, masks)
    findings = _background(stage)
    if two:
        what = f"{regions.share:.0%} of the training views show two separate regions of similar size that move"
        advice = (
            "record one of them alone, or choose it with --region; a twin follows one subject, and draws the other "
            "badly wherever training has seldom shown it"
        )
        return [*findings, Finding("two-subjects", what, regions.share, advice)]
    return [*findings, *_leaving("the training part", stage, stage.train, masks)]


def _background(stage: Stage) -> list[Finding]:
    subjects = evidence.subject_masks(stage.core, stage.train.poses)
    levels = evidence.outside_difference(stage.train.views, stage.plate, subjects)
    if levels <= _PLATE_LEVELS:
        return []
    what = f"the background changes: outside of the subject, views differ by {levels:.0f} of 255 from how it usually is"
    advice = (
        "keep camera, exposure and light as they are, and others out of the picture; a twin has one still background"
    )
    return [Finding("background-changes", what, levels, advice)]


def _leaving(name: str, stage: Stage, followed: Following, known: evidence.Masks) -> list[Finding]:
    """Judges a part of the recording, named for people, by the foregrounds that the training views have."""
    masks = evidence.foregrounds(followed.views, stage.plate)
    usual = float(np.median(known.mean((1, 2))))
    amounts = masks.mean((1, 2))
    there = amounts > _HALF * usual
    caught = (masks & evidence.subject_masks(stage.core, followed.poses)).mean((1, 2)) / np.maximum(amounts, 1e-6)
    gone = float((amounts < _GONE * usual).mean())
    lost = float((there & ((caught < _CAUGHT) | followed.saturated)).mean())
    cut = float((evidence.visible_shares(stage.core, followed.poses) < _HALF).mean())
    findings = []
    if gone > _LOST_SHARE:
        what = f"the subject is not in the picture in {gone:.0%} of {name}"
        advice = "cut these parts out; a twin always draws its subject, so its gap is high while the subject is gone"
        findings.append(Finding("leaves-the-picture", what, gone, advice))
    elif cut > _CUT_SHARE:
        what = f"more than half of the subject is outside of the picture in {cut:.0%} of {name}"
        advice = "move the camera back, or point it at where the subject is; what is not seen cannot be learned"
        findings.append(Finding("leaves-the-picture", what, cut, advice))
    if lost > _LOST_SHARE:
        what = f"tracking has lost the subject in {lost:.0%} of {name}, though it is in the picture"
        advice = (
            "record slower motion, or more frames per second, or begin with the subject in the middle of the picture"
        )
        findings.append(Finding(LOST, what, lost, advice))
    return findings


def check_result(
    test: Mapping[str, float], baseline: Mapping[str, Any], mean_image: Mapping[str, Any]
) -> list[Finding]:
    """Looks at what was measured on the test views.

    Each argument has `psnr_db` and `ssim`, the baseline its `method` and `bytes` as well.

    Args:
        test: Of the trained twin, in float.
        baseline: Of the best of what needs no network, at no more bytes than the twin's states take.
        mean_image: Of the mean training view.
    """
    findings = []
    compared = compare(
        test["psnr_db"],
        test["ssim"],
        baseline["psnr_db"],
        baseline["ssim"],
        baseline=baseline["method"],
        rate_bytes=baseline["bytes"],
    )
    if compared.worse:
        what = f"the twin before conversion is {compared.text}"
        advice = (
            "look whether twin-convert says so too, which compares both at the bytes that the twin takes; if so, train "
            "longer or on more of the subject"
        )
        findings.append(Finding(WORSE_THAN_BASELINE, what, test["psnr_db"] - baseline["psnr_db"], advice))
    over_mean = test["psnr_db"] - mean_image["psnr_db"]
    if over_mean < _GAIN_DB:
        how = f"only {over_mean:.1f} dB better" if over_mean >= 0 else f"{-over_mean:.1f} dB worse"
        what = f"on held-out views the twin is {how} than one still picture of the subject"
        advice = "look at samples.png, and record more of what the subject does; the twin hardly shows any of it"
        findings.append(Finding("hardly-better-than-a-still", what, over_mean, advice))
    return findings
