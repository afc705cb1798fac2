"""Recipes: what is trained, on what, for how long. A recipe is data: a TOML file, shipped here or the user's own."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from twin_edge.errors import ConfigError, ManifestError
from twin_edge.preprocess.view import ViewSpec

_SUFFIX = ".toml"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How a subject becomes training, validation and test views.

    A recording is cut into contiguous blocks, in time order, with gaps: neighboring frames are nearly equal, and
    interleaving them would measure memory instead of generalization. See `twin_training.splits`. The rig is recorded
    once for each seed instead.
    """

    train_share: float = 0.7
    """Share of a recording that is trained on, before the test, 0.3-0.9."""
    validation_share: float = 0.1
    """Share before the test for calibration and for choosing, as blocks spread over it, 0.05-0.3; a short recording
    gives up to a fifth. The rest, at the end, is the test."""
    gap_s: float = 2.0
    """Seconds left out on both sides of a block, 0-60; less where a tenth of the recording would go into that."""
    max_frames: int = 6000
    """Most frames that are used of a recording, evenly thinned out, 240-100000."""
    fps: float = 0.0
    """Frames per second at which the twin is to run and is measured, 0-120; the recording's when 0. All frames of the
    training part are trained on."""
    record_s: float = 120.0
    """Seconds that are recorded of a live camera, 5-86400."""
    rig_train_seeds: tuple[int, ...] = tuple(range(1000, 1060))
    """Rig episodes to train on."""
    rig_validation_seeds: tuple[int, ...] = tuple(range(2000, 2016))
    """Rig episodes for calibration."""
    rig_test_seeds: tuple[int, ...] = tuple(range(3000, 3016))
    """Rig episodes for the test."""
    rig_frames: int = 75
    """Frames drawn of each rig episode, 20-10000."""
    rig_stride: int = 8
    """Simulation steps (1/30 s) from one drawn frame to the next in training, 1-300; held-out episodes are drawn at 30
    a second."""
    rig_follow: int = 0
    """Simulation steps from each frame to a second one that is drawn for training, less than the stride; 0 draws none:
    the rate of a live camera, at which the twin is to be cheap."""
    denoise: str = "none"
    """Filter over the view on the device and in training: `none`, `gaussian` or `median`."""
    resize_mode: str = "fit-shortest"
    """`fit-shortest` (crop the centre), `fit-longest` (pad) or `squash`."""
    region: tuple[float, ...] = ()
    """What of the frame is looked at: x, y, width and height as shares of the frame's, 0-1; empty for what `--region`
    says, and in a run's resolved recipe for the whole frame."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the networks."""

    family: str = "twin"
    """`auto`: what the recording deserves; `twin`; `parts`: light over a plate, and parts that move by themselves; or
    `article`: the article's DCGAN with an encoder, without color (docs/article.md)."""
    size: int = 128
    """Height and width of views and renderings, pixels, a power of two from 32 to 256; for the article 28 to 64."""
    moving: bool = False
    """Whether the subject moves in the picture as a whole, before a fixed camera: its states then have a pose."""
    latent: int = 64
    """Length of the latent, 1-256."""
    encoder_side: int = 64
    """Height and width of what the encoder sees, pixels, a power of two from 8 to `size`."""
    encoder_atoms: int = 80
    """Entries of the encoder's dictionary of blocks, an eighth of that side, 1-512; no more than a block has values."""
    block: int = 16
    """Side of the blocks that the generator has a dictionary of, pixels, a power of two from 4 to 32."""
    atoms: int = 72
    """Entries of that dictionary, 1-512."""
    hidden: int = 32
    """Filters of the network that corrects the coefficients of the blocks, 1-512."""
    refiner: int = 24
    """Filters of the network that corrects the picture, 1-512."""
    reading: int = 0
    """Hidden values of the encoder of a fixed subject, 1-1024; with 0 the twin starts linear."""
    drawing: tuple[int, ...] = (256, 96)
    """Hidden values between latent and blocks of a twin that does not start linear, 1-1024; a picture is a linear map
    of the last of them."""
    encoder_filters: tuple[int, ...] = (64, 128)
    """Filters of the encoder of the article."""
    generator_filters: tuple[int, ...] = (256, 128, 64)
    """Channels of the stages of the generator of the article."""
    discriminator_filters: tuple[int, ...] = (32, 64, 96)
    """Filters of the discriminator's convolutions, each halving the patch."""
    patch: int = 64
    """Side of the patches that the discriminator sees, pixels, at most `size`."""

    @property
    def encoder_block(self) -> int:
        """Side of the blocks of what the encoder sees, pixels."""
        return self.encoder_side // 8

    @property
    def encoder_entries(self) -> int:
        """Entries of the encoder's dictionary of blocks."""
        return min(self.encoder_atoms, 3 * self.encoder_block**2)

    @property
    def channels(self) -> int:
        """Channels that the generator draws: colour, and the coverage of a moving subject."""
        return 4 if self.moving else 3

    @property
    def state_length(self) -> int:
        """Values of a state: pose and latent."""
        return self.latent + (4 if self.moving else 0)


@dataclass(frozen=True, slots=True)
class ManifoldConfig:
    """How a twin that does not start linear learns where it starts (`twin_training.manifold`)."""

    steps: int = 8000
    """Steps between principal coefficients, 1-1000000; a thousand take about three seconds."""
    batch: int = 128
    """Views of a step, 2-4096, in pairs of one and the next."""
    learning_rate: float = 2e-3
    """Highest learning rate (Adam), 1e-6 to 0.1."""
    bit_weight: float = 0.01
    """What a bit of a frame is worth, as a relative change of the mean squared error, 0-1: 0.01 is 0.04 dB."""


@dataclass(frozen=True, slots=True)
class PartsConfig:
    """How a fixed scene with parts that move by themselves is learned (`twin_training.parts`)."""

    latents: int = 4
    """Latent values of a part, 1-32; those that a part does not need cost nothing."""
    side: int = 16
    """Height and width of a part as the encoder sees it, pixels, 8-64."""
    reading: tuple[int, ...] = (32,)
    """Hidden values from a part's pixels to its latent, 1-1024 each."""
    drawing: tuple[int, ...] = (96, 128)
    """Hidden values from the latent to the coefficients of its picture, 1-1024 each."""
    components: int = 128
    """Most principal components that a part is drawn with, 2-256."""
    weights: int = 1_000_000
    """Weights that the last layers of all parts may have, 1000-8000000: most of the bundle, some four bits each."""
    bit_weight: float = 0.013
    """What a bit of a frame is worth, as a relative change of the mean squared error, 0-1: 0.013 is 0.06 dB."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How the networks are trained."""

    steps: int = 1200
    """Training steps, 1-1000000."""
    batch: int = 16
    """Images of a step, 2-256."""
    learning_rate: float = 2e-3
    """Highest learning rate of the generator (Adam, one-cycle cosine), 1e-6 to 0.1."""
    encoder_rate: float = 0.0
    """Learning rate of the encoder's latent, relative to the generator's, 0-1; with 0 it stays in its closed form."""
    rate_weight: float = 0.0
    """Weight of the mean change of the latent from one view to the next, in deviations: what packets have to carry."""
    crop_noise: float = 0.01
    """Deviation of the noise on what the encoder sees in training, 0-0.5: it must not learn the recording's grain."""
    warmup_share: float = 0.05
    """Share of the steps in which the learning rate rises to it, 0-0.5."""
    l1_weight: float = 1.0
    """Weight of the mean absolute error."""
    l2_weight: float = 4.0
    """Weight of the mean squared error."""
    ssim_weight: float = 0.3
    """Weight of 1 - SSIM."""
    coverage_weight: float = 0.05
    """Weight of the mean absolute error of a moving subject's coverage."""
    motion_weight: float = 2.0
    """How much more pixels count that move: a pixel's weight is 1 + this * its deviation / the mean deviation."""
    adversarial_weight: float = 0.0
    """Weight of the adversarial loss of the generator; 0 trains no discriminator, 0.3 makes a difference."""
    adversarial_share: float = 0.3
    """Share of the steps, at the end, in which the adversarial loss is on, 0-1."""
    prior_share: float = 0.25
    """Share of the discriminator's generated patches that come from the prior instead of from views, 0-1."""
    discriminator_learning_rate: float = 4e-4
    """Learning rate of the discriminator (Adam, b1 0.5)."""
    r1_weight: float = 2.0
    """Weight of the R1 gradient penalty (Mescheder et al., arXiv 1801.04406), every 8th discriminator step."""
    latent_noise_steps: float = 0.5
    """Half-width of the uniform noise on the latent, int8 steps, 0-16: 0.5 is for int8 alone, more for the codec."""
    ema: float = 0.99
    """Decay of the moving average of the weights that is kept in the end, 0-0.9999."""
    seed: int = 1
    """Seed of all randomness; equal seeds give equal models on the same machine and software."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What a conversion must reach, measured on the test views in int8."""

    max_baseline_loss_db: float = 0.1
    """Most that what a subscriber sees may be worse than the best baseline at as many bytes, dB."""
    max_psnr_loss_db: float = 0.5
    """Most that int8 may lose to float, dB."""
    max_share_apart: float = 1e-5
    """Most of all values that may differ between runtimes by more than 2/255, 0-1."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe."""

    name: str
    """Its name: the file's, without ending."""
    data: DataConfig = field(default_factory=DataConfig)
    """From subject to views."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes of the networks."""
    manifold: ManifoldConfig = field(default_factory=ManifoldConfig)
    """Where they start when that is not linear."""
    parts: PartsConfig = field(default_factory=PartsConfig)
    """What a scene of parts is drawn with."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How they are trained."""
    gate: GateConfig = field(default_factory=GateConfig)
    """What a conversion must reach."""

    @property
    def view(self) -> ViewSpec:
        """How a frame becomes a view."""
        return ViewSpec.from_json(
            {
                "height": self.model.size,
                "width": self.model.size,
                "resize_mode": self.data.resize_mode,
                "denoise": self.data.denoise,
                "colour": "RGB",
                "region": list(self.data.region) or None,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the resolved recipe: every value, defaults included."""
        tree: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return tree

    def digest(self) -> str:
        """Returns the sha256 of the resolved recipe."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def shipped_recipes() -> list[str]:
    """Returns the names of the recipes in the package."""
    folder = importlib.resources.files("twin_training") / "recipes"
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))


def load_recipe(name_or_path: str) -> Recipe:
    """Loads a shipped recipe by its name, or a TOML file by its path.

    Raises:
        ConfigError: There is no such recipe, or it has an unknown key or a value out of range; says which.
    """
    if name_or_path in shipped_recipes():
        text = (importlib.resources.files("twin_training") / "recipes" / f"{name_or_path}{_SUFFIX}").read_text()
        return parse_recipe(name_or_path, text)
    path = Path(name_or_path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"there is no recipe {name_or_path}",
            fix=f"give the path of a TOML file, or one of {', '.join(shipped_recipes())}",
        ) from error
    return parse_recipe(path.stem, text)


def parse_recipe(name: str, text: str) -> Recipe:
    """Reads a recipe out of TOML.

    Raises:
        ConfigError: It is not TOML, or has an unknown key or a value out of range; says which.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the recipe {name} is not TOML ({error})", fix="correct the file") from error
    return recipe_from_json({"name": name, **tree})


def recipe_from_json(tree: Mapping[str, Any]) -> Recipe:
    """Returns the recipe of a resolved or partial tree.

    Raises:
        ConfigError: A key is unknown or a value out of range; says which.
    """
    recipe = _build(Recipe, tree, "recipe")
    _check(recipe)
    return recipe


SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {
        "size": 64,
        "latent": 48,
        "encoder_side": 32,
        "block": 8,
        "atoms": 40,
        "hidden": 24,
        "refiner": 16,
        "patch": 32,
    },
    "standard": {},
    "large": {"size": 256, "latent": 96, "block": 32, "atoms": 128, "hidden": 48, "refiner": 16, "patch": 96},
}
"""Sizes that a recipe can be made in, and what of its model they change; a recipe as it is makes the standard one."""


LARGE = "large"
_MOST_LARGE_FRAMES = 5000
"""Most frames of a recording that are used for large views, which are a gigabyte then."""


def in_size(recipe: Recipe, name: str) -> Recipe:
    """Returns a recipe in another size.

    Args:
        recipe: A recipe of the twin family.
        name: One of `SIZES`.

    Raises:
        ConfigError: There is no such size, or the recipe comes in one size only.
    """
    if name not in SIZES:
        raise ConfigError(f"there is no size {name}", fix=f"choose {', '.join(SIZES)}")
    if recipe.model.family == "article":
        raise ConfigError(f"the recipe {recipe.name} comes in one size", fix="leave --size out")
    model, data, train = replace(recipe.model, **dict(SIZES[name])), recipe.data, recipe.train
    if name == LARGE:
        data = replace(data, max_frames=min(data.max_frames, _MOST_LARGE_FRAMES))
        # Where all of the picture is drawn in each step, one takes four times as long, and starts from more.
        train = replace(train, steps=-(-train.steps // 2)) if recipe.model.family == "twin" else train
    changed = replace(recipe, model=model, data=data, train=train)
    _check(changed)
    return changed


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Returns a recipe that trains for another number of steps.

    Raises:
        ConfigError: It is out of range.
    """
    changed = replace(recipe, train=replace(recipe.train, steps=steps))
    _check(changed)
    return changed


def check_name(name: str) -> None:
    """Refuses a name that is none for a run folder and a bundle.

    Raises:
        ConfigError: It has other characters than letters, digits, `_`, `-` and `.`, or too many.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise ConfigError(f"'{name}' cannot be a name", fix="use letters, digits, '-', '_' and '.', 64 at most")


_MAY_BE_EMPTY = frozenset({"recipe.data.region"})
_SIZES = frozenset({32, 64, 128, 256})
_FAMILIES = ("auto", "twin", "parts", "article")
_ARTICLE_SIZES = range(28, 65, 4)
_LEAST_STAGES = 2
_MOST_FILTERS = 1024
_LEAST_TEST_SHARE = 0.05


def _build(kind: type[_T], tree: Mapping[str, Any], where: str) -> _T:
    hints = get_type_hints(kind)
    unknown = sorted(set(tree) - set(hints))
    if unknown:
        raise ConfigError(f"{where} has the unknown key '{unknown[0]}'", fix=f"known are {', '.join(hints)}")
    return kind(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in tree.items()})


_KINDS: Mapping[type, str] = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{where} is {value!r:.40}", fix=f"write it as a table, [{where.removeprefix('recipe.')}]"
            )
        return _build(hint, value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not (value or where in _MAY_BE_EMPTY):
            raise ConfigError(f"{where} is {value!r:.40}", fix="give an array with at least one value, such as [1, 2]")
        return tuple(_convert(get_args(hint)[0], entry, where) for entry in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} is {value!r:.40}", fix=f"give {_KINDS[hint]}")
    return value


_RANGES: Mapping[str, tuple[float, float]] = {
    "data.train_share": (0.3, 0.9),
    "data.validation_share": (0.05, 0.3),
    "data.gap_s": (0, 60),
    "data.max_frames": (240, 100_000),
    "data.record_s": (5, 86_400),
    "data.fps": (0, 120),
    "data.rig_frames": (20, 10_000),
    "data.rig_stride": (1, 300),
    "data.rig_follow": (0, 30),
    "model.latent": (1, 256),
    "model.reading": (0, 1024),
    "model.patch": (16, 256),
    "model.encoder_atoms": (1, 512),
    "model.atoms": (1, 512),
    "model.hidden": (1, 512),
    "model.refiner": (1, 512),
    "manifold.steps": (1, 1_000_000),
    "manifold.batch": (2, 4096),
    "manifold.learning_rate": (1e-6, 0.1),
    "manifold.bit_weight": (0, 1),
    "parts.latents": (1, 32),
    "parts.side": (8, 64),
    "parts.components": (2, 256),
    "parts.weights": (1000, 8_000_000),
    "parts.bit_weight": (0, 1),
    "train.steps": (1, 1_000_000),
    "train.batch": (2, 256),
    "train.learning_rate": (1e-6, 0.1),
    "train.encoder_rate": (0, 1),
    "train.rate_weight": (0, 100),
    "train.crop_noise": (0, 0.5),
    "train.warmup_share": (0, 0.5),
    "train.l1_weight": (0, 1e3),
    "train.l2_weight": (0, 1e3),
    "train.ssim_weight": (0, 1e3),
    "train.motion_weight": (0, 100),
    "train.coverage_weight": (0, 1e3),
    "train.adversarial_weight": (0, 10),
    "train.adversarial_share": (0, 1),
    "train.prior_share": (0, 1),
    "train.discriminator_learning_rate": (1e-6, 0.1),
    "train.r1_weight": (0, 1e3),
    "train.latent_noise_steps": (0, 16),
    "train.ema": (0, 0.9999),
    "train.seed": (0, 2**31 - 1),
    "train.checkpoint_every": (1, 1_000_000),
    "gate.max_baseline_loss_db": (0, 100),
    "gate.max_psnr_loss_db": (0, 100),
    "gate.max_share_apart": (0, 1),
}


def _check(recipe: Recipe) -> None:
    for path, (low, high) in _RANGES.items():
        section, key = path.split(".")
        value = getattr(getattr(recipe, section), key)
        if not low <= value <= high:
            raise ConfigError(f"recipe.{path} is {value}", fix=f"choose a value from {low:g} to {high:g}")
    _check_data(recipe)
    _check_model(recipe.model)
    for name in ("reading", "drawing"):
        values = getattr(recipe.parts, name)
        if not values or not all(1 <= n <= _MOST_FILTERS for n in values):
            raise ConfigError(f"recipe.parts.{name} is {list(values)}", fix=f"choose values from 1 to {_MOST_FILTERS}")


def _check_data(recipe: Recipe) -> None:
    data = recipe.data
    if data.train_share + data.validation_share > 1 - _LEAST_TEST_SHARE:
        raise ConfigError("recipe.data leaves less than 5 % for the test", fix="lower train_share or validation_share")
    seeds = (*data.rig_train_seeds, *data.rig_validation_seeds, *data.rig_test_seeds)
    if len(seeds) != len(set(seeds)):
        raise ConfigError("recipe.data uses a rig seed twice", fix="give training, validation and test their own seeds")
    if data.rig_follow >= data.rig_stride:
        raise ConfigError(f"recipe.data.rig_follow is {data.rig_follow}", fix="take less than rig_stride")
    try:
        _ = recipe.view
    except ManifestError as error:
        raise ConfigError(f"recipe.data makes no view ({error.message})", fix="correct the recipe") from error


def _check_model(model: ModelConfig) -> None:
    if model.family not in _FAMILIES:
        raise ConfigError(f"recipe.model.family is '{model.family}'", fix=f"choose {' or '.join(_FAMILIES)}")
    if model.family == "article":
        _check_article(model)
        return
    if model.size not in _SIZES:
        raise ConfigError(f"recipe.model.size is {model.size}", fix="choose 32, 64, 128 or 256")
    for name, low, high in (("encoder_side", 8, model.size), ("block", 4, 32)):
        value = getattr(model, name)
        if not low <= value <= high or value & (value - 1):
            raise ConfigError(f"recipe.model.{name} is {value}", fix=f"choose a power of two from {low} to {high}")
    _check_filters(model, ("discriminator_filters", model.size.bit_length() - 1))
    if model.reading:
        if model.moving:
            raise ConfigError("recipe.model.reading is for subjects that stay in place", fix="set it to 0")
        if not model.drawing or not all(1 <= n <= _MOST_FILTERS for n in model.drawing):
            raise ConfigError(
                f"recipe.model.drawing is {list(model.drawing)}", fix=f"choose values from 1 to {_MOST_FILTERS}"
            )
    if model.patch > model.size:
        raise ConfigError("recipe.model.patch is larger than the view", fix=f"take {model.size} at most")


def _check_filters(model: ModelConfig, *wanted: tuple[str, int]) -> None:
    for name, most in wanted:
        filters = getattr(model, name)
        if not _LEAST_STAGES <= len(filters) <= most:
            raise ConfigError(f"recipe.model.{name} has {len(filters)} entries", fix=f"take 2 to {most}")
        if not all(1 <= n <= _MOST_FILTERS for n in filters):
            raise ConfigError(f"recipe.model.{name} is out of range", fix=f"choose values from 1 to {_MOST_FILTERS}")


def _check_article(model: ModelConfig) -> None:
    if model.size not in _ARTICLE_SIZES:
        raise ConfigError(f"recipe.model.size is {model.size}", fix="choose 28, 32, 36, ... 64 for the article")
    for name, count in (("encoder_filters", 2), ("generator_filters", 3), ("discriminator_filters", 2)):
        filters = getattr(model, name)
        if len(filters) != count or not all(1 <= n <= _MOST_FILTERS for n in filters):
            raise ConfigError(
                f"recipe.model.{name} is {list(filters)}", fix=f"take {count} values from 1 to {_MOST_FILTERS}"
            )
