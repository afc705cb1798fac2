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
from typing import Any

import numpy as np
import numpy.typing as npt

from twin_edge.errors import ConfigError, ConversionError
from twin_edge.preprocess import ViewSpec

Views = npt.NDArray[np.uint8]
"""Views in time order, uint8 RGB of shape (n, height, width, 3), 0-255."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the deployed models must reach on the test views."""

    min_psnr_db: float
    """Least PSNR, dB."""
    min_ssim: float
    """Least SSIM."""
    max_psnr_loss_db: float
    """Most that int8 may lose to float, dB."""


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
    calibration: Views
    """Views of the training part, for the ranges of the activations."""
    validation: Views
    """Views for the calibration of the gap."""
    test: Views
    """Views that only measuring sees."""

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
                fix="finish it: twin-train with the same name and --resume",
            )
        try:
            recipe: Mapping[str, Any] = json.loads((folder / "recipe.json").read_bytes())
            # From memory: of a damaged file NumPy would leave its handle open.
            content = io.BytesIO((folder / "dataset.npz").read_bytes())
            with np.load(content, allow_pickle=False) as saved:
                parts = {part: saved[part] for part in ("calibration", "validation", "test")}
                data_digest = str(saved["digest"])
            gate = Gate(**recipe["gate"])
            view = ViewSpec.from_json(
                {
                    "height": recipe["model"]["size"],
                    "width": recipe["model"]["size"],
                    "resize_mode": recipe["data"]["resize_mode"],
                    "denoise": recipe["data"]["denoise"],
                    "colour": "RGB",
                }
            )
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
            raise ConversionError(f"the run folder {folder} is not readable ({error})", fix="train it again") from error
        name = folder.resolve().name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise ConfigError(f"'{name}' cannot be the name of a bundle", fix="rename the run folder")
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        return cls(name, encoder, generator, str(recipe["name"]), digest, data_digest, view, gate, **parts)
