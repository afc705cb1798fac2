"""The manifest: what a bundle says of itself.

It is JSON, written in one canonical form, so that the bundle's digest (the sha256 of these bytes) depends on nothing
but its content. Reading is strict: the schema, the keys, the types and the ranges must be the ones below.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from twin_edge import strict_json
from twin_edge.baseline import BASELINES, Comparison, compare
from twin_edge.bundle import checks
from twin_edge.errors import ManifestError
from twin_edge.models.operators import Operator
from twin_edge.models.pose import POSE_VALUES, PoseSpec
from twin_edge.models.scene import LIGHT_VALUES, MOST_PARTS, SHIFT_NAMES
from twin_edge.preprocess.view import ViewSpec

SCHEMA = 4
MAX_MANIFEST_BYTES = 256 * 1024
MAX_STATE_BYTES = 1024
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_GRID = 64
MOST_VALUES = 3 * 1024 * 1024
"""Most values along one side of a tensor: those of the largest view."""
GAP_KINDS = 4
"""Scores that the gap is the largest of: fine cells, coarse cells, means of coarse cells, sharpness."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and digest of one member."""

    size: int
    """Bytes."""
    sha256: str
    """Lower-case hexadecimal digest, 64 characters."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One edge of a model."""

    shape: tuple[int, ...]
    """Shape, batch (1) included."""
    dtype: str
    """`int8` or `float32`."""
    scale: float
    """Real size of one int8 step, > 0; for a float tensor that of the int8 tensor behind it, or 0 for none."""
    zero_point: int
    """int8 value of 0, -128 to 127."""
    low: float
    """Smallest real value that the tensor carries."""
    high: float
    """Largest real value that the tensor carries."""


@dataclass(frozen=True, slots=True)
class StateSpec:
    """Layout of a state: the pose values, then the light, then the latent."""

    pose: tuple[str, ...]
    """Names of the pose values: where the subject is, or how far the camera of a scene of parts has been moved; empty
    for a fixed subject."""
    latent: int
    """Number of latent values, at least 1."""
    scale: float
    """Real size of one step of the latent."""
    zero_point: int
    """int8 value of a latent of 0."""
    deviation: float = 0.0
    """Standard deviation of the prior, real units, >= 0: the generator was trained on latents that are independent
    Gaussians around 0. Not sent over the wire; 0 there."""
    light: int = 0
    """Number of values of the light of a scene of parts; 0 for other subjects."""
    low: tuple[int, ...] = ()
    """Lowest int8 value of each latent value that training has seen, with some room; not sent over the wire."""
    high: tuple[int, ...] = ()
    """Highest, likewise: the device holds the latent between them."""

    @property
    def length(self) -> int:
        """Bytes of a raw state."""
        return self.latent_start + self.latent

    @property
    def latent_start(self) -> int:
        """Where in a state the latent begins."""
        return len(self.pose) + self.light


@dataclass(frozen=True, slots=True)
class PartsSpec:
    """The parts of a fixed scene; their places stand in the member `parts.png`."""

    count: int
    """How many there are, 1-16."""
    side: int
    """Height and width of each as the encoder sees it, pixels, 8-64."""


@dataclass(frozen=True, slots=True)
class GapCalibration:
    """What the residual of this twin looks like on frames of the subject that it has not seen in training.

    Residuals are those of the cells of a fine grid, of a coarse one of half as many rows and columns (as many where the
    number is odd), of the means of the coarse cells, and the sharpness, in this order; see `twin_edge.twin.residual`.
    """

    rows: int
    """Fine cells from top to bottom, 1-64; divides the view's height."""
    columns: int
    """Fine cells from left to right, 1-64; divides the view's width."""
    mean: tuple[float, ...]
    """Mean of each residual in normal frames."""
    deviation: tuple[float, ...]
    """Standard deviation of each residual in normal frames, > 0."""
    centers: tuple[float, ...]
    """Usual score of fine cells, coarse cells, means of coarse cells, and sharpness, in standard deviations."""
    scales: tuple[float, ...]
    """How far above that each of the four is in one frame of a hundred, > 0."""
    quantiles: tuple[float, ...]
    """The raw score of normal frames at evenly spaced ranks from 0 to 0.995, ascending."""
    cell_limit: float
    """Standardized residual that in 99 % of normal frames no cell exceeds."""
    state_limits: tuple[float, ...] = ()
    """Distance from the nearest known state beyond which each part is strange, int8 steps, > 0; empty without parts."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured on test frames that neither training nor calibration has seen."""

    frames: int
    """Number of test frames."""
    float_psnr_db: float
    """Mean PSNR of the float models, dB."""
    float_ssim: float
    """Mean SSIM of the float models, 0-1."""
    int8_psnr_db: float
    """Mean PSNR of the deployed models, dB."""
    int8_ssim: float
    """Mean SSIM of the deployed models, 0-1."""
    runtime_levels: int = 0
    """Most levels by which the same states rendered differently on the runtimes where it was made, 0-255."""
    baseline: str = ""
    """What needs no network and is best at `default_bytes`: `mean`, `pca` or `registered-pca`; empty where none was
    measured."""
    baseline_psnr_db: float = 0.0
    """Mean PSNR of the baseline at `default_bytes`, dB; 0 where it was not measured."""
    baseline_ssim: float = 0.0
    """Mean SSIM of the same."""
    runtime_steps: int = 0
    """Most int8 steps by which the same views were encoded differently on those runtimes, 0-255; 0 for a moving
    subject: there one view starts from the one before it."""

    default_psnr_db: float = 0.0
    """Mean PSNR of what a subscriber sees, through the deployed models, the codec at its default level and the
    renderer, dB; 0 where it was not measured."""
    default_ssim: float = 0.0
    """Mean SSIM of the same."""
    default_bytes: float = 0.0
    """Payload bytes a frame of the same, in packets of 250 ms."""
    default_fps: float = 0.0
    """Frames per second of the test frames that this was measured on: at a lower rate a frame takes more bytes."""

    @property
    def beats_baseline(self) -> bool:
        """Whether what a subscriber sees is at least as good as the baseline; True where that is not known."""
        return not self.against_baseline.worse

    @property
    def against_baseline(self) -> Comparison:
        """What a subscriber sees beside the baseline at as many bytes."""
        return compare(
            self.default_psnr_db,
            self.default_ssim,
            self.baseline_psnr_db if self.baseline and self.default_psnr_db else 0.0,
            self.baseline_ssim,
            baseline=self.baseline,
            rate_bytes=self.default_bytes,
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """What the bundle was made from."""

    recipe: str
    """Name of the training recipe."""
    recipe_digest: str
    """sha256 of the resolved recipe."""
    data_digest: str
    """sha256 over all views that training, calibration and test used."""
    software: str
    """Name and version of the software that made it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself."""

    name: str
    """Name of the twin's model, as given to `--name`."""
    origin: Origin
    """What it was made from."""
    files: Mapping[str, FileEntry]
    """Every other member of the bundle."""
    view: ViewSpec
    """How a frame becomes a view."""
    state: StateSpec
    """Layout of a state."""
    pose: PoseSpec | None
    """What the pose values of a moving subject mean; None for others."""
    parts: PartsSpec | None
    """The parts of a fixed scene; None for a subject that is drawn as a whole."""
    tensors: Mapping[str, TensorSpec]
    """`encoder.input`, `encoder.output`, `generator.input` and `generator.output`."""
    operators: Mapping[str, tuple[Operator, ...]]
    """Operators of each model."""
    minimum_runtime: str
    """Oldest TFLite release that has them all, such as `2.8.0`."""
    gap: GapCalibration
    """Calibration of the reality gap."""
    quality: Quality
    """Measured quality."""
    digest: str = field(default="", compare=False)
    """sha256 of the manifest's bytes; identifies the bundle."""

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of the manifest."""
        tree = asdict(self)
        del tree["digest"]
        tree["schema"] = SCHEMA
        tree["view"] = self.view.to_json()
        tree["operators"] = {
            name: [[operator.name, operator.version] for operator in operators]
            for name, operators in self.operators.items()
        }
        return (json.dumps(tree, allow_nan=False, sort_keys=True, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Reads an untrusted manifest.

        Raises:
            ManifestError: It is not a manifest that this release can read; says where.
        """
        try:
            tree = strict_json.parse(data, max_bytes=MAX_MANIFEST_BYTES)
        except ValueError as error:
            raise ManifestError(f"the manifest is not readable ({error})", fix=_REMAKE) from error
        if not isinstance(tree, dict):
            raise ManifestError("the manifest is not a JSON object", fix=_REMAKE)
        if tree.get("schema") != SCHEMA:
            raise ManifestError(
                f"the bundle has manifest schema {tree.get('schema')!r:.40}, this release reads schema {SCHEMA}",
                fix=_other_release(tree),
            )
        try:
            return cls._from_tree(tree, hashlib.sha256(data).hexdigest())
        except ManifestError as error:
            raise ManifestError(f"the manifest is wrong ({error.message})", fix=_REMAKE) from error

    @classmethod
    def _from_tree(cls, tree: dict[str, Any], digest: str) -> Manifest:
        names = (
            "schema", "name", "origin", "files", "view", "state", "pose", "parts", "tensors", "operators",
            "minimum_runtime",
            "gap", "quality",
        )  # fmt: skip
        item = checks.Item("", tree).only(*names)
        view = ViewSpec.from_json(tree["view"])
        state, pose = _state(item["state"]), _pose(item["pose"])
        parts = _parts(item["parts"])
        if pose is not None and parts is not None:
            raise ManifestError("'pose' and 'parts' exclude each other")
        named = POSE_VALUES if pose is not None else SHIFT_NAMES if parts is not None else ()
        if state.pose != named:
            raise ManifestError("'state.pose' does not fit 'pose' and 'parts'")
        if state.light != (0 if parts is None else LIGHT_VALUES):
            raise ManifestError("'state.light' does not fit 'parts'")
        if pose is not None and view.height != view.width:
            raise ManifestError("a view with a pose must be square")
        return cls(
            name=item["name"].text(pattern=_NAME),
            origin=_origin(item["origin"]),
            files={key: _file_entry(entry) for key, entry in item["files"].items(most=16)},
            view=view,
            state=state,
            pose=pose,
            parts=parts,
            tensors={key: _tensor(entry) for key, entry in item["tensors"].only(*TENSORS).items(most=len(TENSORS))},
            operators={
                key: tuple(_operator(pair) for pair in entry.list(least=1, most=64))
                for key, entry in item["operators"].items(most=8)
            },
            minimum_runtime=item["minimum_runtime"].text(pattern=re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}")),
            gap=_gap(item["gap"], view, parts),
            quality=_quality(item["quality"]),
            digest=digest,
        )


TENSORS = ("encoder.input", "encoder.output", "generator.input", "generator.output")
_REMAKE = "get the bundle again from where it was made, or make it again with twin-convert"
_BASELINE = re.compile(f"(?:{'|'.join(BASELINES)})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_POSE = {"steps": (1e3, 1e3, 1.0, 0.1), "reach": (1e3, 1e3, 10.0, 1.0)}
"""Pixels, pixels, radians, logarithm: with every value of a state, magnifications then stay finite."""


def _other_release(tree: dict[str, Any]) -> str:
    """Returns what to do about a manifest of another schema than this release reads."""
    schema, name = tree.get("schema"), tree.get("name")
    if type(schema) is not int:
        return _REMAKE
    if schema > SCHEMA:
        return "a later release made it: upgrade twin-edge"
    run = name if isinstance(name, str) and _NAME.fullmatch(name) else "NAME"
    return f"an earlier release made it: make it again where it was trained, with 'twin-convert runs/{run} --force'"


def _origin(item: checks.Item) -> Origin:
    item.only("recipe", "recipe_digest", "data_digest", "software")
    return Origin(
        recipe=item["recipe"].text(pattern=_NAME),
        recipe_digest=item["recipe_digest"].text(pattern=_SHA256),
        data_digest=item["data_digest"].text(pattern=_SHA256),
        software=item["software"].text(pattern=re.compile(r"[ -~]{1,80}")),
    )


def _file_entry(item: checks.Item) -> FileEntry:
    item.only("size", "sha256")
    return FileEntry(size=item["size"].whole(low=1, high=MAX_FILE_BYTES), sha256=item["sha256"].text(pattern=_SHA256))


def _state(item: checks.Item) -> StateSpec:
    item.only("pose", "light", "latent", "scale", "zero_point", "deviation", "low", "high")
    pose = tuple(entry.text(pattern=re.compile(r"[a-z_]{1,16}")) for entry in item["pose"].list(most=4))
    latent = item["latent"].whole(low=1, high=MAX_STATE_BYTES - LIGHT_VALUES - len(pose))
    low, high = (
        tuple(entry.whole(low=-128, high=127) for entry in item[key].list(least=latent, most=latent))
        for key in ("low", "high")
    )
    if any(one > other for one, other in zip(low, high, strict=True)):
        raise ManifestError("'state.low' is above 'state.high'")
    return StateSpec(
        pose=pose,
        light=item["light"].whole(low=0, high=LIGHT_VALUES),
        latent=latent,
        low=low,
        high=high,
        scale=item["scale"].number(low=1e-9, high=1e9),
        zero_point=item["zero_point"].whole(low=-128, high=127),
        deviation=item["deviation"].number(low=0, high=1e9),
    )


def _pose(item: checks.Item) -> PoseSpec | None:
    if item.value is None:
        return None
    item.only("steps", "reach")
    steps, reach = (
        tuple(
            entry.number(low=1e-6, high=high)
            for entry, high in zip(item[key].list(least=4, most=4), _MOST_POSE[key], strict=True)
        )
        for key in ("steps", "reach")
    )
    return PoseSpec(
        (steps[0], steps[1], steps[2], steps[3]),
        (reach[0], reach[1], reach[2], reach[3]),
    )


def _parts(item: checks.Item) -> PartsSpec | None:
    if item.value is None:
        return None
    item.only("count", "side")
    return PartsSpec(count=item["count"].whole(low=1, high=MOST_PARTS), side=item["side"].whole(low=8, high=64))


def _tensor(item: checks.Item) -> TensorSpec:
    item.only("shape", "dtype", "scale", "zero_point", "low", "high")
    return TensorSpec(
        shape=tuple(entry.whole(low=1, high=MOST_VALUES) for entry in item["shape"].list(least=2, most=4)),
        dtype=item["dtype"].text(pattern=re.compile("int8|float32")),
        scale=item["scale"].number(low=0, high=1e9),
        zero_point=item["zero_point"].whole(low=-128, high=127),
        low=item["low"].number(low=-1e9, high=1e9),
        high=item["high"].number(low=-1e9, high=1e9),
    )


def _operator(item: checks.Item) -> Operator:
    name, version = item.list(least=2, most=2)
    return Operator(name.text(pattern=re.compile("[A-Z0-9_]{1,40}")), version.whole(low=1, high=1000))


def _gap(item: checks.Item, view: ViewSpec, parts: PartsSpec | None) -> GapCalibration:
    item.only("rows", "columns", "mean", "deviation", "centers", "scales", "quantiles", "cell_limit", "state_limits")
    rows, columns = (item[key].whole(low=1, high=MAX_GRID) for key in ("rows", "columns"))
    if view.height % rows or view.width % columns:
        raise ManifestError("'gap' has a grid that does not divide the view")

    def numbers(key: str, count: int, low: float, high: float, *, most: int | None = None) -> tuple[float, ...]:
        entries = item[key].list(least=count, most=most or count)
        return tuple(entry.number(low=low, high=high) for entry in entries)

    count = residual_count(rows, columns)
    quantiles = numbers("quantiles", 2, -1e6, 1e6, most=1001)
    if list(quantiles) != sorted(quantiles):
        raise ManifestError("'gap.quantiles' do not ascend")
    return GapCalibration(
        rows,
        columns,
        numbers("mean", count, -1e3, 1e3),
        numbers("deviation", count, 1e-6, 1e3),
        numbers("centers", GAP_KINDS, -1e6, 1e6),
        numbers("scales", GAP_KINDS, 1e-6, 1e6),
        quantiles,
        item["cell_limit"].number(low=-1e6, high=1e6),
        numbers("state_limits", parts.count if parts else 0, 1e-6, 1e6),
    )


def coarse_grid(rows: int, columns: int) -> tuple[int, int]:
    """Returns rows and columns of the coarse grid of a fine one: half of each, or as many where that is odd."""
    down, across = (cells // 2 if cells % 2 == 0 else cells for cells in (rows, columns))
    return down, across


def residual_count(rows: int, columns: int) -> int:
    """Returns how many residuals there are on a fine grid: its cells, those of the coarse one twice, and sharpness."""
    down, across = coarse_grid(rows, columns)
    return rows * columns + 2 * down * across + 1


def _quality(item: checks.Item) -> Quality:
    item.only(
        "frames", "float_psnr_db", "float_ssim", "int8_psnr_db", "int8_ssim", "runtime_levels", "baseline",
        "baseline_psnr_db", "baseline_ssim", "runtime_steps", "default_psnr_db", "default_ssim", "default_bytes",
        "default_fps",
    )  # fmt: skip
    return Quality(
        frames=item["frames"].whole(low=1, high=10**9),
        float_psnr_db=item["float_psnr_db"].number(low=0, high=200),
        float_ssim=item["float_ssim"].number(low=-1, high=1),
        int8_psnr_db=item["int8_psnr_db"].number(low=0, high=200),
        int8_ssim=item["int8_ssim"].number(low=-1, high=1),
        runtime_levels=item["runtime_levels"].whole(low=0, high=255),
        baseline=item["baseline"].text(pattern=_BASELINE),
        baseline_psnr_db=item["baseline_psnr_db"].number(low=0, high=200),
        baseline_ssim=item["baseline_ssim"].number(low=-1, high=1),
        runtime_steps=item["runtime_steps"].whole(low=0, high=255),
        default_psnr_db=item["default_psnr_db"].number(low=0, high=200),
        default_ssim=item["default_ssim"].number(low=-1, high=1),
        default_bytes=item["default_bytes"].number(low=0, high=1e6),
        default_fps=item["default_fps"].number(low=0, high=1e6),
    )
