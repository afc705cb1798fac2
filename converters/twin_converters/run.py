"""What a training run left for conversion: files, nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_converters.baselines import RatePoint
from twin_edge.errors import ConfigError, ConversionError
from twin_edge.models.pose import PoseSpec
from twin_edge.models.scene import SCENE_VALUES
from twin_edge.preprocess import ViewSpec

Views = npt.NDArray[np.uint8]
"""Views in time order, uint8 RGB of shape (n, height, width, 3), 0-255."""


_CUT: Final = ("validation", "test", "live", "paced")
_SETTLED_HERE: Final = "worse-than-baseline"
"""Kind of a warning of training that conversion answers itself, at equal bytes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the deployed models must reach on the test views."""

    max_psnr_loss_db: float
    """Most that int8 may lose to float, dB."""
    max_baseline_loss_db: float = 0.1
    """Most that what a subscriber sees may be worse than the best baseline at as many bytes, dB."""
    max_share_apart: float = 1e-6
    """Most of all values that may differ between runtimes by more than the tolerance, 0-1."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished training run."""

    name: str
    """Its name: the folder's."""
    encoder: Path
    """SavedModel of the float encoder."""
    generator: Path
    """SavedModel of the float generator."""
    recipe_name: str
    """Name of the recipe."""
    recipe_digest: str
    """sha256 of the resolved recipe."""
    data_digest: str
    """sha256 of all views."""
    view: ViewSpec
    """How a frame becomes a view."""
    gate: Gate
    """What the conversion must reach."""
    prior_deviation: float
    """Standard deviation of the latent values that the generator was trained on as its prior."""
    pose: PoseSpec | None
    """How poses stand in states; None for a fixed subject."""
    ahead_error: float
    """By how much the squared error of what comes after the recording is larger than that of the validation blocks,
    0-255 squared, at least 0."""
    plate: npt.NDArray[np.uint8] | None
    """The background, uint8 RGB of shape (height, width, 3); None for a subject that is drawn as a whole."""
    labels: npt.NDArray[np.uint8] | None
    """Where the parts of a fixed scene are, uint8 of shape (height, width); None without parts."""
    baselines: tuple[RatePoint, ...]
    """What needs no network, at many rates, on the test views."""
    warnings: tuple[str, ...]
    """What training found wrong with the recording or the twin, a line each."""
    calibration: Views
    """Views of the training part, for the ranges of the activations."""
    validation: Views
    """Views for calibration: several blocks spread over the recording."""
    validation_cuts: tuple[int, ...]
    """Rows of `validation` at which a block begins."""
    validation_blocks: tuple[str, ...]
    """What each block is, for people."""
    test: Views
    """Views that only measuring sees."""
    test_cuts: tuple[int, ...]
    """Rows of `test` at which something else begins."""
    fps: float
    """Frames per second of validation and test, > 0."""
    live: Views
    """Consecutive views at the rate of a live camera."""
    live_cuts: tuple[int, ...]
    """Rows of `live` at which something else begins."""
    paced: Views
    """Consecutive views that are further apart."""
    paced_cuts: tuple[int, ...]
    """Rows of `paced` at which something else begins."""

    @property
    def latent_start(self) -> int:
        """Where in a state the latent begins: after what says where subject, or camera and light, are."""
        if self.labels is not None:
            return SCENE_VALUES
        return 0 if self.pose is None else len(self.pose.steps)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Reads a run folder.

        Raises:
            ConfigError: It is no run folder, or its training has not finished.
            ConversionError: A file in it is not readable.
        """
        if not folder.is_dir():
            raise ConfigError(f"there is no run folder {folder}", fix="train first: twin-train SUBJECT --name NAME")
        encoder, generator = folder / "float" / "encoder", folder / "float" / "generator"
        if not (folder / "metrics.json").is_file() or not encoder.is_dir() or not generator.is_dir():
            raise ConfigError(
                f"the training in {folder} has not finished",
                fix=f"finish it: twin-train SUBJECT --name {folder.resolve().name} --resume",
            )
        try:
            recipe: Mapping[str, Any] = json.loads((folder / "recipe.json").read_bytes())
            # An open file: of a damaged one NumPy would leave its own handle open.
            with (folder / "dataset.npz").open("rb") as file, np.load(file, allow_pickle=False) as saved:
                parts = {part: saved[part] for part in ("calibration", "validation", "test", "live", "paced")}
                cuts = {part: tuple(saved[f"{part}_cuts"].tolist()) for part in _CUT}
                blocks, fps = tuple(saved["validation_blocks"].tolist()), float(saved["fps"])
                data_digest = str(saved["digest"])
            metrics = json.loads((folder / "metrics.json").read_bytes())
            prior_deviation = float(metrics["prior_deviation"])
            ahead_error = float((metrics.get("extrapolation") or {}).get("excess", 0.0))
            baselines = tuple(RatePoint.from_json(point) for point in metrics["baselines"])
            warnings = tuple(
                f"{found['what']}: {found['advice']}"
                for found in metrics.get("warnings", ())
                if found["kind"] != _SETTLED_HERE
            )
            pose, plate, labels = _read_scene(folder / "scene.npz")
            gate = Gate(**recipe["gate"])
            view = ViewSpec.from_json(
                {
                    "height": recipe["model"]["size"],
                    "width": recipe["model"]["size"],
                    "resize_mode": recipe["data"]["resize_mode"],
                    "denoise": recipe["data"]["denoise"],
                    "colour": "RGB",
                    "region": recipe["data"].get("region") or None,
                }
            )
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
            raise ConversionError(
                f"the run folder {folder} is damaged, or an earlier release made it ({_said(error)})",
                fix=f"train it again: twin-train SUBJECT --name {folder.resolve().name} --force",
            ) from error
        name = folder.resolve().name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise ConfigError(f"'{name}' cannot be the name of a bundle", fix="rename the run folder")
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        return cls(
            name,
            encoder,
            generator,
            str(recipe["name"]),
            digest,
            data_digest,
            view,
            gate,
            prior_deviation,
            pose,
            ahead_error,
            plate,
            labels,
            baselines,
            warnings,
            validation_blocks=blocks,
            fps=fps,
            live_cuts=cuts["live"],
            paced_cuts=cuts["paced"],
            validation_cuts=cuts["validation"],
            test_cuts=cuts["test"],
            **parts,
        )


def _said(error: Exception) -> str:
    """Returns what an error says; that of a key that is not there is the bare key."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _read_scene(
    path: Path,
) -> tuple[PoseSpec | None, npt.NDArray[np.uint8] | None, npt.NDArray[np.uint8] | None]:
    """Returns pose, plate and labels, each None where the twin has none."""
    if not path.exists():
        return None, None, None
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as saved:
        if "labels" in saved:
            return None, saved["plate"], saved["labels"]
        steps, reach = (tuple(float(value) for value in saved[name]) for name in ("steps", "reach"))
        pose = PoseSpec((steps[0], steps[1], steps[2], steps[3]), (reach[0], reach[1], reach[2], reach[3]))
        return pose, saved["plate"], None
