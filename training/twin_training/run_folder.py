"""The run folder: all that training hands to conversion, and to the person who looks."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from twin_edge.files import replacing, write_atomic, writing
from twin_training.parts.scene import PartsLayout
from twin_training.recipe import Recipe
from twin_training.recordings import Dataset
from twin_training.run_guard import CHECKPOINT, METRICS, RECIPE
from twin_training.start import Scene

_CALIBRATION_FRAMES: Final = 300
_CODEC_FRAMES: Final = 600


class RunFolder:
    """Names and writes what is in a run folder.

    Args:
        path: The folder; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self.dataset = path / "dataset.npz"
        self.metrics = path / METRICS
        self.recipe = path / RECIPE
        self.recording = path / "recording.mkv"
        self.scene = path / "scene.npz"
        self.samples = path / "samples.png"
        self.losses = path / "losses.png"

    def begin(self, recipe: Recipe, *, resume: bool) -> None:
        """Writes the resolved recipe; old results are not to be taken for those of a new training.

        Raises:
            TwinEdgeError: The folder cannot be written.
        """
        with writing(self.path):
            if not resume:
                self.metrics.unlink(missing_ok=True)
                self.checkpoint.unlink(missing_ok=True)
        write_atomic(self.recipe, (json.dumps(recipe.to_json(), indent=2) + "\n").encode())

    def end(self) -> None:
        """Removes what only an unfinished run needs: checkpoint and recording.

        Raises:
            TwinEdgeError: The folder cannot be written.
        """
        with writing(self.path):
            self.checkpoint.unlink(missing_ok=True)
            self.recording.unlink(missing_ok=True)

    def write_dataset(self, dataset: Dataset) -> None:
        """Writes what conversion needs of the dataset: calibration views (of training), validation and test views.

        Validation is several blocks: with it go the rows at which they begin and what each of them is, as with the test
        the rows at which something else begins, and the frames per second of both.
        For the codec there are consecutive views as well, at the rate of a live camera (`live`) and as they were
        trained on (`paced`), with the rows at which something else begins.

        Raises:
            TwinEdgeError: The folder cannot be written; an older file stays.
        """
        step = max(1, len(dataset.train) // _CALIBRATION_FRAMES)
        live, live_cuts = dataset.live, dataset.live_cuts
        paced, paced_cuts = dataset.train[:_CODEC_FRAMES], [cut for cut in dataset.cuts if cut < _CODEC_FRAMES]
        if live is None:
            # The paced views are then those of a recording at a low frame rate.
            first = max(0, len(dataset.train) - _CODEC_FRAMES)
            live, live_cuts = dataset.train[first:], (0, *(cut - first for cut in dataset.cuts if cut > first))
            paced, paced_cuts = dataset.train[::step], [0]
        with replacing(self.dataset) as temporary, writing(self.dataset), temporary.open("wb") as file:
            np.savez(
                file,
                calibration=dataset.train[::step],
                validation=dataset.validation,
                test=dataset.test,
                live=live,
                live_cuts=np.array(live_cuts),
                paced=paced,
                paced_cuts=np.array(paced_cuts),
                validation_cuts=np.array(dataset.validation_cuts),
                validation_blocks=np.array(dataset.validation_blocks),
                test_cuts=np.array(dataset.test_cuts),
                fps=np.array(dataset.fps),
                digest=np.array(dataset.digest()),
            )
            file.flush()
            os.fsync(file.fileno())

    def write_models(self, encoder: keras.Model, generator: keras.Model) -> None:
        """Writes the models, as Keras files and, for the converter, as SavedModels for a single image.

        Raises:
            TwinEdgeError: The folder cannot be written; older models stay.
        """
        with writing(self.path):
            for model in (encoder, generator):
                new, old = self.path / f".{model.name}.new", self.path / "float" / model.name
                shutil.rmtree(new, ignore_errors=True)
                _export(model, new)
                keras_file = self.path / f".{model.name}.keras"
                model.save(keras_file)
                keras_file.replace(self.path / f"{model.name}.keras")
                old.parent.mkdir(exist_ok=True)
                shutil.rmtree(old, ignore_errors=True)
                new.replace(old)

    def write_scene(self, scene: Scene | PartsLayout | None) -> None:
        """Writes pose and plate of a moving subject, or plate and parts of a fixed scene; nothing for others.

        Raises:
            TwinEdgeError: The folder cannot be written; an older file stays.
        """
        if scene is None:
            self.scene.unlink(missing_ok=True)
            return
        buffer = io.BytesIO()
        if isinstance(scene, PartsLayout):
            np.savez(buffer, plate=scene.plate, labels=scene.labels, side=np.array(scene.side))
        else:
            np.savez(buffer, steps=np.array(scene.pose.steps), reach=np.array(scene.pose.reach), plate=scene.plate)
        write_atomic(self.scene, buffer.getvalue())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics.

        Raises:
            TwinEdgeError: The folder cannot be written; an older file stays.
        """
        write_atomic(self.metrics, (json.dumps(metrics, indent=2, sort_keys=True) + "\n").encode())


def _export(model: keras.Model, path: Path) -> None:
    logging.getLogger("tensorflow").setLevel(logging.WARNING)  # it announces each file
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda inputs: model(inputs, training=False),
        input_signature=[tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)],
    )
    archive.write_out(str(path), verbose=False)
