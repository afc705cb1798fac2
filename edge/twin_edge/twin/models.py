"""The models of one twin, ready to run: views to states, states to renderings."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from twin_edge.images import Image
from twin_edge.models.engine import Quantization
from twin_edge.models.networks import Encoder, Generator, State
from twin_edge.models.pose import PoseSpec
from twin_edge.models.runtimes import Runtime
from twin_edge.models.scene import SCENE_VALUES, SHIFT_VALUES
from twin_edge.twin.composition import Compositor
from twin_edge.twin.exact import ExactGenerator, NearEncoder
from twin_edge.twin.parts import Labels, PartsScene
from twin_edge.twin.tracking import Tracker


@dataclass(frozen=True, slots=True)
class TwinSpec:
    """What the models of a twin are made of."""

    generator: bytes
    """The verified bytes of `generator.tflite`."""
    encoder: bytes | None
    """The verified bytes of `encoder.tflite`; None for one who only renders."""
    latent: Quantization
    """Real values of the int8 latent, and of the encoder's output."""
    size: tuple[int, int]
    """Height and width of views and renderings, pixels."""
    pose: PoseSpec | None = None
    """How the poses of a moving subject stand in states; None for others."""
    plate: Image | None = None
    """The background, uint8 RGB of shape (height, width, 3); None for a subject that is drawn as a whole."""
    labels: Labels | None = None
    """Where the parts of a fixed scene are, uint8 of shape (height, width); None without parts."""
    reach: npt.NDArray[np.int8] | None = None
    """Between what the latent values are held, int8 of shape (2, latent), low and high; None for no bounds."""


class TwinModels:
    """Encodes and renders; one thread uses one.

    Args:
        parts: What to run.
        runtime: What to run it on; None for no code but this project's, as for bundles from elsewhere: renderings are
            the same, states within a step or two.
        threads: CPU threads for one inference.

    Attributes:
        encoder: The encoder; None for one who only renders.
        generator: The generator.
        latent_start: Where in a state the latent begins.

    Raises:
        IncompatibleRuntimeError: The runtime cannot run the models.
        BundleError: There is no runtime, and the models are none that can be computed without one.
    """

    def __init__(self, parts: TwinSpec, runtime: Runtime | None, *, threads: int = 1) -> None:
        self.generator: Generator | ExactGenerator
        self.encoder: Encoder | NearEncoder | None = None
        if runtime is None:
            self.generator = ExactGenerator(parts.generator, parts.latent)
            if parts.encoder is not None:
                self.encoder = NearEncoder(parts.encoder)
        else:
            self.generator = Generator(parts.generator, runtime, parts.latent, threads=threads)
            if parts.encoder is not None:
                self.encoder = Encoder(parts.encoder, runtime, threads=threads)
        self._side = 0 if self.encoder is None else self.encoder.input_shape[1]
        self._pose = parts.pose
        self.latent_start = 0 if parts.pose is None else len(parts.pose.steps)
        self._scene: PartsScene | None = None
        self._compositor: Compositor | None = None
        if parts.plate is not None and parts.labels is not None:
            side = 0 if self.encoder is None else self.encoder.input_shape[2]
            self._scene = PartsScene(parts.plate, parts.labels, side)
            self.latent_start = SCENE_VALUES
        elif parts.plate is not None:
            self._compositor = Compositor(parts.plate)
        self._tracker: Tracker | None = None
        self._reach = parts.reach
        if self.encoder is not None and parts.pose is not None:
            self._tracker = Tracker(self.encoder, parts.latent, parts.pose, parts.size[0], self._side)

    def encode(self, view: Image, near: State | None = None) -> State:
        """Returns the state of a view.

        Args:
            view: uint8 RGB of shape (height, width, 3).
            near: The state of the frame before, near which a moving subject is looked for; without it the search
                starts from the middle, and takes longer. A fixed subject needs none.

        Returns:
            int8 of shape (state length,).

        Raises:
            RuntimeError: There is no encoder.
        """
        if self.encoder is None:
            raise RuntimeError("this twin was loaded to render only")
        return self._held(self._read(self.encoder, view, near))

    def _held(self, state: State) -> State:
        """Holds the latent of a state within what training has seen, in place: beyond it nothing drawn is known."""
        if self._reach is not None:
            latent = state[self.latent_start :]
            np.maximum(latent, self._reach[0], out=latent)
            np.minimum(latent, self._reach[1], out=latent)
        return state

    def _read(self, encoder: Encoder | NearEncoder, view: Image, near: State | None) -> State:
        if self._tracker is not None:
            return self._tracker(view, near)
        if self._scene is not None:
            scene, sheet = self._scene.look(view, None if near is None else near[:SCENE_VALUES])
            return np.concatenate([scene, encoder(sheet)])
        if view.shape[0] != self._side:
            width = encoder.input_shape[2]
            view = np.asarray(cv2.resize(view, (width, self._side), interpolation=cv2.INTER_AREA), np.uint8)
        return encoder(view)

    def read_at(self, view: Image, state: State) -> State:
        """Returns the state of a view whose pose is known to be that of `state`; see `encode`."""
        if self._tracker is not None:
            return self._held(self._tracker.read_at(view, state))
        if self._scene is not None and self.encoder is not None:
            scene, sheet = self._scene.look_at(view, state[:SHIFT_VALUES])
            return self._held(np.concatenate([scene, self.encoder(sheet)]))
        return self.encode(view)

    def render(self, state: State) -> Image:
        """Returns the rendering of a state.

        Args:
            state: int8 of shape (state length,).

        Returns:
            uint8 RGB of shape (height, width, 3), 0-255.
        """
        image = self.generator(state[self.latent_start :])
        if self._scene is not None:
            return self._scene.compose(image.reshape(-1, 3), state[:SCENE_VALUES])
        if self._pose is None or self._compositor is None:
            return image
        return self._compositor(image, self._pose.dequantize(state[: self.latent_start]))
