"""The float models, as the reference that the quantized ones are held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_converters.run import Run, Views
from twin_edge.models import Quantization, in_channels
from twin_edge.models.scene import SCENE_VALUES
from twin_edge.twin.composition import Compositor
from twin_edge.twin.parts import PartsScene
from twin_edge.twin.tracking import Tracker

_CHANNELS: Final = 3


class FloatModel:
    """A float SavedModel with the signature `serve` for a single sample.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self._model = tf.saved_model.load(str(path))
        (specification,) = self._model.serve.input_signature
        self._input_shape = tuple(specification.shape)

    def __call__(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the outputs of samples, float32, both with the samples in the first dimension."""
        return np.concatenate([self._model.serve(tf.constant(sample[np.newaxis])).numpy() for sample in samples])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a single input, batch included."""
        return self._input_shape


class FloatTwin:
    """The float models of a run, used as the device uses the quantized ones.

    Args:
        run: What training left.

    Attributes:
        seen: Every crop that the encoder was shown, float32 of shape (height, width, channels), 0 to 1.
    """

    def __init__(self, run: Run) -> None:
        self._encoder, self._generator = FloatModel(run.encoder), FloatModel(run.generator)
        _, self._side, _, self._channels = self._encoder.input_shape
        self._run = run
        self._scene: PartsScene | None = None
        self._compositor: Compositor | None = None
        if run.labels is not None and run.plate is not None:
            self._scene = PartsScene(run.plate, run.labels, self._encoder.input_shape[2])
        elif run.plate is not None:
            self._compositor = Compositor(run.plate)
        self.seen: list[npt.NDArray[np.float32]] = []

    def encode(self, views: Views, latent: Quantization, cuts: Sequence[int] = (0,)) -> npt.NDArray[np.int8]:
        """Returns the states of views in time order, int8 of shape (n, state length).

        Args:
            views: uint8 RGB of shape (n, height, width, 3).
            latent: How the outputs of the encoder are quantized.
            cuts: Rows at which something else begins.
        """
        self.seen.clear()

        def read(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
            sample = in_channels(crop, self._channels).astype(np.float32) / 255
            self.seen.append(sample)
            return latent.quantize(self._encoder(sample[np.newaxis])[0])

        states: list[npt.NDArray[np.int8]] = []
        if self._scene is not None:
            for row, view in enumerate(views):
                scene, sheet = self._scene.look(view, None if row in cuts else states[-1][:SCENE_VALUES])
                states.append(np.concatenate([scene, read(sheet)]))
            return np.stack(states)
        if self._run.pose is None:
            return np.stack([read(self._shrunk(view)) for view in views])
        track = Tracker(read, latent, self._run.pose, views.shape[1], self._side)
        for row, view in enumerate(views):
            states.append(track(view, None if row in cuts else states[-1]))
        return np.stack(states)

    def render(self, states: npt.NDArray[np.int8], latent: Quantization) -> Views:
        """Returns the renderings of states, uint8 RGB of shape (n, height, width, 3)."""
        return self.compose(self._generator(latent.dequantize(states[:, self._run.latent_start :])), states)

    def compose(self, outputs: npt.NDArray[np.float32], states: npt.NDArray[np.int8]) -> Views:
        """Returns the renderings that outputs of a generator make.

        Args:
            outputs: float32 of shape (n, height, width, channels), -1 to 1.
            states: The states that they are drawn from, for the pose, int8 of shape (n, state length).
        """
        if self._scene is not None:
            pixels = to_pixels(outputs.reshape(len(outputs), -1, _CHANNELS))
            return np.stack(
                [self._scene.compose(one, state[:SCENE_VALUES]) for one, state in zip(pixels, states, strict=True)]
            )
        pose, drawn = self._run.pose, to_pixels(outputs)
        if pose is None or self._compositor is None:
            return drawn
        return np.stack(
            [
                self._compositor(one, pose.dequantize(state[: len(pose.steps)]))
                for one, state in zip(drawn, states, strict=True)
            ]
        )

    def _shrunk(self, view: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        if view.shape[0] == self._side:
            return view
        return np.asarray(cv2.resize(view, (self._side, self._side), interpolation=cv2.INTER_AREA), np.uint8)


def to_pixels(output: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Returns generator outputs of -1 to 1 as uint8 pixels; those of one channel as RGB."""
    pixels = np.clip(np.rint((output + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels.repeat(_CHANNELS, -1) if output.shape[-1] == 1 else pixels
