"""Training of a scene of parts: light and plate in closed form, then all parts together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.errors import TrainingError
from twin_edge.images import Image
from twin_edge.models.scene import SCENE_VALUES
from twin_edge.twin.parts import PartsScene, Sheet, boxes_of
from twin_training.loop import TrainingLoop
from twin_training.manifold import Perceptron
from twin_training.parts.learning import PartNetworks, appearance, evenly_over, share_out
from twin_training.parts.mixing import PartViews, with_mixtures
from twin_training.parts.networks import build_encoder, build_generator, drawing_and_picture, standardized
from twin_training.parts.regions import Regions, find_regions
from twin_training.parts.scene import LitScene, PartsLayout, light_up
from twin_training.recipe import Recipe
from twin_training.recordings import Views
from twin_training.start import LATENT_DEVIATION, OUTPUT, pairs_of

_WARMUP: Final = 200
_CHUNK: Final = 50
_VIEWS_AT_ONCE: Final = 128
_KEYS_OF_A_PART: Final = 16
_FLOOR: Final = 2.0
"""Mean squared error of the picture, levels^2, from where on less error is worth little."""


class PartsTrainer(TrainingLoop):
    """Trains the networks of all parts of a fixed scene.

    Args:
        recipe: What to train and how.
        views: Training views in time order, uint8 RGB of shape (n, size, size, 3).
        cuts: Where in them something else begins.
        on_stage: Told what is computed before the first step.
        empty: The scene without what moves, if that is known, uint8 RGB of shape (size, size, 3).

    Attributes:
        encoder: Sheets, float32 of 0 to 1, to latents of -1 to 1; there after `finish`.
        generator: Latents to the pixels of all parts, float32 of -1 to 1; there after `finish`.
        prior_deviation: Standard deviation of a latent value.
        scene: Plate and parts.

    Raises:
        TrainingError: Nothing moves.
    """

    prior_deviation = LATENT_DEVIATION

    def __init__(
        self,
        recipe: Recipe,
        views: Views,
        cuts: Sequence[int] = (0,),
        on_stage: Callable[[str], None] = lambda _stage: None,
        empty: Image | None = None,
    ) -> None:
        super().__init__(recipe)
        keras.utils.set_random_seed(recipe.train.seed)
        config = recipe.parts
        on_stage("light and plate")
        lit = light_up(views, empty)
        on_stage("parts")
        regions = find_regions(lit, views, config.weights)
        if not regions.shares:
            raise TrainingError("nothing moves in the training part", fix="record the subject at work")
        self.scene = PartsLayout(lit.plate, regions.labels, config.side)
        self.regions = regions
        sheet = Sheet(lit.plate, regions.labels, config.side)
        count = len(regions.shares)
        crops = np.empty((len(views), count, config.side, config.side, 3), np.uint8)
        for row, (view, light) in enumerate(zip(views, lit.lights, strict=True)):
            crops[row] = sheet(view, light).reshape(crops.shape[1:])
        on_stage("principal components")
        pairs = pairs_of(len(views), cuts)
        self._looks, self._pairs, self._views = [], [], len(views)
        pixels = _pixels_of(lit, views, regions)
        for number, box in enumerate(boxes_of(regions.labels), 1):
            # One part at a time, and its pixels let go of: together they are as large as the views.
            part = PartViews(crops[:, number - 1], pixels.pop(0), pairs)
            part = with_mixtures(part, regions.labels, number, box, config.latents, number)
            self._looks.append(appearance(part.crops, part.pixels, config.components))
            self._pairs.append(part.pairs)
            del part
        self._counts = share_out(self._looks, config.weights, config.components)
        self._nets = [
            PartNetworks(config, look, shared, number)
            for number, (look, shared) in enumerate(zip(self._looks, self._counts, strict=True))
        ]
        self._chances = [
            evenly_over(look.coefficients[pairs[:, 0]]) for look, pairs in zip(self._looks, self._pairs, strict=True)
        ]
        self._values = views[0].size
        # What no component says stays as it is, and is part of the error that a bit is weighed against.
        left = zip(self._looks, self._counts, strict=True)
        self._rest = sum(float(look.energies[shared:].sum()) for look, shared in left) / self._values
        self._learned = [variable for net in self._nets for variable in net.variables]
        self._optimizer = keras.optimizers.Adam(recipe.train.learning_rate)
        self._optimizer.build(self._learned)
        self._update = tf.function(self._learn, autograph=False)
        self._chunk: tuple[int, npt.NDArray[np.int64]] = (-1, np.zeros(0, np.int64))
        self.encoder: keras.Model
        self.generator: keras.Model
        self._readings: list[Perceptron] = []
        self._latents: npt.NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def finish(self) -> None:
        """Makes encoder and generator of what was learned."""
        readings, drawings, latents = [], [], []
        for net, look in zip(self._nets, self._looks, strict=True):
            part = standardized(net.learned(), look.crops, LATENT_DEVIATION)
            read = part.reading(look.crops.reshape(len(look.crops), -1).astype(np.float32) / 255)
            latents.append(OUTPUT.dequantize(OUTPUT.quantize(read)))
            readings.append(part.reading)
            drawings.append(drawing_and_picture(part, look, latents[-1]))
        self._readings, self._latents = readings, np.concatenate([values[: self._views] for values in latents], axis=1)
        self.encoder = build_encoder(readings, self.scene.side)
        self.generator = build_generator([drawing for drawing, _ in drawings], [picture for _, picture in drawings])

    def release(self) -> None:
        """Lets go of what only training needs; there is no going on from here."""
        del self._update, self._optimizer, self._nets, self._looks, self._learned

    def encode(self, views: Views, cuts: Sequence[int] = (0,)) -> npt.NDArray[np.int8]:
        """Returns the states of views in time order, as the device has them, int8 of shape (n, state length)."""
        scene = PartsScene(self.scene.plate, self.scene.labels, self.scene.side)
        count, starts, states = len(self._readings), frozenset(cuts), []
        before: npt.NDArray[np.int8] | None = None
        for row, view in enumerate(views):
            before, sheet = scene.look(view, None if row in starts else before)
            crops = sheet.reshape(count, 1, -1).astype(np.float32) / 255
            read = [reading(crop) for reading, crop in zip(self._readings, crops, strict=True)]
            states.append(np.concatenate([before, OUTPUT.quantize(np.concatenate(read, axis=1)[0])]))
        return np.stack(states)

    def render(self, states: npt.NDArray[np.int8]) -> Views:
        """Returns the renderings of states, uint8 RGB of shape (n, size, size, 3)."""
        scene = PartsScene(self.scene.plate, self.scene.labels, 0)
        latents = OUTPUT.dequantize(states[:, SCENE_VALUES:])
        drawn = (self.generator(latents[row : row + 64], training=False).numpy() for row in range(0, len(latents), 64))
        pixels = np.concatenate(
            [np.clip(np.rint((np.nan_to_num(part) + 1) * 127.5), 0, 255).astype(np.uint8) for part in drawn]
        )
        return np.stack(
            [scene.compose(one.reshape(-1, 3), state[:SCENE_VALUES]) for one, state in zip(pixels, states, strict=True)]
        )

    def imagine(self, count: int) -> Views:
        """Returns renderings in which every part does what it did at some time of its own, in the plate's light.

        Args:
            count: How many.

        Returns:
            uint8 RGB of shape (count, size, size, 3).
        """
        rng, values = np.random.default_rng(self.recipe.train.seed), self.recipe.parts.latents
        rows = rng.integers(0, len(self._latents), (count, len(self._readings)))
        latents = self._latents.reshape(len(self._latents), -1, values)
        chosen = np.stack([latents[rows[:, part], part] for part in range(rows.shape[1])], axis=1).reshape(count, -1)
        states = np.zeros((count, SCENE_VALUES + chosen.shape[1]), np.int8)
        states[:, SCENE_VALUES:] = OUTPUT.quantize(chosen)
        return self.render(states)

    def _one_step(self) -> dict[str, float]:
        config = self.recipe.train
        rate = config.learning_rate * min(1.0, (self.step + 1) / _WARMUP) * (1 - self.step / config.steps)
        key = tf.constant([config.seed, self.step], tf.int32)
        error, bits = self._update(tf.constant(self._rows()), tf.constant(rate, tf.float32), key)
        return {"error": float(error), "bits": float(bits)}

    def _rows(self) -> npt.NDArray[np.int64]:
        """Returns the rows of this step's views for each part, pairs one after the other."""
        number, place = divmod(self.step, _CHUNK)
        if self._chunk[0] != number:
            rng = np.random.default_rng((self.recipe.train.seed, number))
            shape = (_CHUNK, max(1, self.recipe.train.batch // 2))
            drawn = [
                pairs[rng.choice(len(pairs), shape, p=chance)]
                for pairs, chance in zip(self._pairs, self._chances, strict=True)
            ]
            self._chunk = number, np.stack(drawn, axis=1)
        return self._chunk[1][place].reshape(len(self._chances), -1)

    def _learn(self, rows: tf.Tensor, rate: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Does one step of gradient descent; returns the mean squared error, levels^2, and the bits of a view."""
        self._optimizer.learning_rate.assign(rate)
        error, bits = tf.constant(self._rest, tf.float32), tf.constant(0.0)
        with tf.GradientTape() as tape:
            for number, net in enumerate(self._nets):
                missed, taken = net.loss(rows[number], key + number * _KEYS_OF_A_PART)
                error += missed / self._values
                bits += taken
            # The logarithm of the error is what PSNR is about: a bit is then worth so many dB, whatever the error.
            total = tf.math.log(error + _FLOOR) + self.recipe.parts.bit_weight * bits
        self._optimizer.apply_gradients(zip(tape.gradient(total, self._learned), self._learned, strict=True))
        return error, bits

    def _variables(self) -> list[tf.Variable]:
        return [variable for net in self._nets for variable in net.state] + list(self._optimizer.variables)


def _pixels_of(lit: LitScene, views: Views, regions: Regions) -> list[npt.NDArray[np.uint8]]:
    """Returns the pixels of each part in all views, in the plate's light, uint8 of shape (n, pixels, 3) each."""
    places = [np.flatnonzero(regions.labels.ravel() == label) for label in range(1, len(regions.shares) + 1)]
    pixels = [np.empty((len(views), len(place), 3), np.uint8) for place in places]
    for first in range(0, len(views), _VIEWS_AT_ONCE):
        rows = np.arange(first, min(first + _VIEWS_AT_ONCE, len(views)))
        flat = lit.flat(views, rows).reshape(len(rows), -1, 3)
        for part, place in zip(pixels, places, strict=True):
            part[rows] = flat[:, place]
    return pixels
