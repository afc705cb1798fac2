"""The training itself: from the linear twin to one that draws better than that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from twin_edge.images import Image
from twin_edge.quality import psnr
from twin_edge.twin.composition import Compositor
from twin_training import losses, start
from twin_training.linear import BlockMap, LinearMap, snapped
from twin_training.loop import TrainingLoop
from twin_training.manifold import Perceptron
from twin_training.memory import give_back
from twin_training.networks import build_discriminator, build_encoder, build_generator, make_quantizable, set_start
from twin_training.recipe import Recipe
from twin_training.recordings import Views
from twin_training.schedule import Phase, phase_at
from twin_training.targets import Canvases

LATENT_STEP: Final = start.OUTPUT.scale
"""Size of one int8 step of the latent."""

_CALIBRATION: Final = 600
_WEIGHED: Final = 400
_JUDGED: Final = 80
_JUDGEMENTS: Final = 6


class Trainer(TrainingLoop):
    """Trains the networks of one recipe on one set of views.

    Encoder and generator start from their closed form, and learn to say and draw what is better than that; the
    encoder's pose stays what it is. Views are taken in pairs, one after the other, so that what a latent costs on the
    wire can be learned too. Of all that they were, the networks that draw the validation views best are kept: a
    subject that does new things late in the recording must not be drawn worse than linearly.

    Args:
        recipe: What to train and how.
        views: Training views in time order, uint8 RGB of shape (n, size, size, 3).
        cuts: Where in them something else begins.
        validation: Views to choose by, in time order; the training views when None.
        on_stage: Told what of the closed form comes next.
        begun: Where to start from, if that is known already; it has to be of the same recipe and views.
        validation_cuts: Where in the validation views a block begins.
        empty: The scene without a moving subject, uint8 RGB of shape (size, size, 3); None when it is not known.

    Attributes:
        encoder: Crops, float32 of 0 to 1, to pose change and latent of -1 to 1.
        generator: Latents to what is drawn, float32 of -1 to 1.
        discriminator: Patches to how real they look.
        prior_deviation: Standard deviation of a latent value of the prior.
        start: Where training started.
    """

    prior_deviation = start.LATENT_DEVIATION

    def __init__(
        self,
        recipe: Recipe,
        views: Views,
        cuts: Sequence[int] = (0,),
        validation: Views | None = None,
        on_stage: Callable[[str], None] = lambda _stage: None,
        begun: start.Start | None = None,
        validation_cuts: Sequence[int] = (0,),
        empty: Image | None = None,
    ) -> None:
        super().__init__(recipe)
        keras.utils.set_random_seed(recipe.train.seed)
        model = recipe.model
        self.start = begun or start.prepare(model, views, cuts, recipe.train.seed, on_stage, recipe.manifold, empty)
        self.encoder = build_encoder(model)
        self.generator = build_generator(model)
        self.discriminator = build_discriminator(model)
        set_start(self.encoder, self.generator, self.start, model)
        # The networks have it now; of large views it is a hundred megabytes.
        self.start = replace(self.start, basis=self.start.basis[:0].copy())
        give_back()
        some = self.start.crops[:: max(1, len(views) // _CALIBRATION)]
        self._some_crops = (some / 255).astype(np.float32).reshape(len(some), -1)
        self._followed = _followed(len(views), cuts)
        # The pose was learned from known shifts; what is drawn knows nothing of it, nor of what it is read off.
        said = (np.arange(model.state_length) >= model.state_length - model.latent).astype(np.float32)
        shares = [np.float32(not model.moving), said if model.moving else np.float32(1)]
        self._said = [tf.constant(share) for share in shares for _ in ("kernel", "bias")]
        few = np.arange(0, len(views), max(1, len(views) // _WEIGHED))
        self._weights = losses.motion_weights(self.start.targets.pictures(few)[..., :3], recipe.train.motion_weight)
        self._compositor = None if self.start.scene is None else Compositor(self.start.scene.plate)
        self._optimizer = keras.optimizers.Adam(recipe.train.learning_rate, beta_2=0.99)
        self._critic_optimizer = keras.optimizers.Adam(
            recipe.train.discriminator_learning_rate, beta_1=0.5, beta_2=0.99
        )
        self._encoder_optimizer = keras.optimizers.Adam(recipe.train.learning_rate, beta_2=0.99)
        self._encoding, self._drawing = self.encoder.trainable_variables, self.generator.trainable_variables
        self._trained = [*self._encoding, *self._drawing]
        self._optimizer.build(self._drawing)
        self._encoder_optimizer.build(self._encoding)
        self._critic_optimizer.build(self.discriminator.trainable_variables)
        self._average = [tf.Variable(variable, trainable=False) for variable in self._trained]
        self._best = [tf.Variable(variable, trainable=False) for variable in self._trained]
        self._best_score = tf.Variable(-1.0, trainable=False)
        self._judged = views if validation is None else validation
        self._judged_cuts = tuple(cuts if validation is None else validation_cuts)
        # Without autograph: that would read this file when it traces a step, which may have changed since.
        self._draw_step = tf.function(self._draw_update, reduce_retracing=True, autograph=False)
        self._critic_step = tf.function(self._critic_update, reduce_retracing=True, autograph=False)

    @property
    def scene(self) -> start.Scene | None:
        """What there is beside the latent of a moving subject; None for a fixed one."""
        return self.start.scene

    def finish(self) -> None:
        """Takes the weights that drew the validation views best; after an adversarial end, the last ones."""
        if self.recipe.train.adversarial_weight:
            self._best_score.assign(-1.0)  # Pixel by pixel, what was before that end is always better.
        self._judge()
        for variable, best in zip(self._trained, self._best, strict=True):
            variable.assign(best)
        encoder = self._int8_encoder()
        values = [value for layer in encoder.layers for value in (layer.weights, layer.bias)]
        for variable, value in zip(self._encoding, values, strict=True):
            variable.assign(value.reshape(variable.shape))
        make_quantizable(self.generator, self.start.latents, self.recipe.model)

    def release(self) -> None:
        """Lets go of what only training needs; there is no going on from here."""
        if isinstance(self.start.targets, Canvases):
            self.start.targets.forget()
        del self._draw_step, self._critic_step, self._optimizer, self._encoder_optimizer, self._critic_optimizer

    def encode(self, views: Views, cuts: Sequence[int] = (0,)) -> npt.NDArray[np.int8]:
        """Returns the states of views in time order, as the device has them, int8 of shape (n, state length)."""
        encoder = self._int8_encoder()
        spec = None if self.start.scene is None else self.start.scene.pose
        return start.encode(encoder, views, cuts, spec, self.recipe.model)

    def render(self, states: npt.NDArray[np.int8]) -> Views:
        """Returns the renderings of states, uint8 RGB of shape (n, size, size, 3)."""
        first = states.shape[1] - self.recipe.model.latent
        latents = start.OUTPUT.dequantize(states[:, first:])
        parts = [_pixels(self.generator(latents[row : row + 32], training=False)) for row in range(0, len(latents), 32)]
        drawn = np.concatenate(parts)
        if self._compositor is None or self.start.scene is None:
            return drawn
        spec = self.start.scene.pose
        poses = [spec.dequantize(state[:first]) for state in states]
        return np.stack([self._compositor(canvas, pose) for canvas, pose in zip(drawn, poses, strict=True)])

    def imagine(self, count: int) -> Views:
        """Returns renderings of the prior, uint8 RGB of shape (count, size, size, 3)."""
        rng = np.random.default_rng(self.recipe.train.seed)
        model = self.recipe.model
        states = np.zeros((count, model.state_length), np.int8)
        states[:, model.state_length - model.latent :] = start.OUTPUT.quantize(
            rng.normal(0, self.prior_deviation, (count, model.latent))
        )
        return self.render(states)

    def _int8_encoder(self) -> Perceptron:
        """Returns the encoder as int8 has it; its biases make up for what that changes on average."""
        values, inputs = [np.asarray(variable) for variable in self._encoding], self._some_crops
        maps: tuple[LinearMap | BlockMap, ...] = ()
        for known, kernel, bias in zip(self.start.encoder.layers, values[::2], values[1::2], strict=True):
            exact = replace(known, weights=kernel.reshape(known.weights.shape), bias=bias)
            maps += (exact.with_weights(snapped(exact.weights), inputs),)
            inputs = Perceptron(maps, ends_bent=True)(self._some_crops)
        return Perceptron(maps)

    def _one_step(self) -> dict[str, float]:
        config = self.recipe.train
        phase = phase_at(self.step, config)
        if self.step == 0:
            self._judge()  # The linear twin is a candidate too.
        values = self._learn(phase)
        # The moving average changes slowly: looking at it now and then is enough.
        if (self.step + 1) % max(1, config.steps // _JUDGEMENTS) == 0:
            self._judge()
        return values

    def _learn(self, phase: Phase) -> dict[str, float]:
        config = self.recipe.train
        rng = np.random.default_rng((config.seed, self.step))
        if config.rate_weight:
            first = rng.integers(0, len(self._followed), -(-config.batch // 2))
            rows = np.stack([first, self._followed[first]], axis=1).reshape(-1)
        else:
            rows = rng.integers(0, len(self._followed), config.batch)  # Pairs would be alike, and teach half as much.
        seed = tf.constant([config.seed, self.step], tf.int32)
        self._optimizer.learning_rate.assign(phase.learning_rate)
        self._encoder_optimizer.learning_rate.assign(phase.learning_rate * config.encoder_rate)
        batch = self._batch(rows)
        values, generated = self._draw_step(*batch, seed, adversarial=phase.adversarial)
        if phase.adversarial:
            _crops, targets, _plates, weights = batch
            values |= self._critic_step(generated, targets, weights, seed, penalized=phase.r1)
        return {name: float(value) for name, value in values.items()}

    def _batch(self, rows: npt.NDArray[np.int64]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns what the encoder sees, what to draw, the plate under it, and how much each pixel counts."""
        known = self.start.targets
        crops, targets = tf.constant(self.start.crops[rows]), tf.constant(known.pictures(rows))
        seen, plates = known.seen(rows), known.plates(rows)
        if seen is None or plates is None:
            return crops, targets, tf.zeros((len(rows), 1, 1, 3), tf.uint8), tf.constant(self._weights)
        weights = self._weights * (seen[..., np.newaxis] > 0)
        return crops, targets, tf.constant(plates), tf.constant(weights.astype(np.float32))

    def _latents(self, crops: tf.Tensor, *, training: bool) -> tf.Tensor:
        return self.encoder(crops, training=training)[:, -self.recipe.model.latent :]

    def _draw_update(
        self,
        crops: tf.Tensor,
        targets: tf.Tensor,
        plates: tf.Tensor,
        weights: tf.Tensor,
        seed: tf.Tensor,
        *,
        adversarial: bool,
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Trains encoder and generator; returns the losses, and the renderings for the discriminator to judge."""
        config = self.recipe.train
        wanted = _real(targets)
        half = config.latent_noise_steps * LATENT_STEP
        seen = tf.cast(weights > 0, tf.float32)
        grain = tf.random.stateless_normal(tf.shape(crops), seed + 7, 0.0, config.crop_noise)
        with tf.GradientTape() as tape:
            latents = self._latents(tf.cast(crops, tf.float32) / 255 + grain, training=True)
            noise = tf.random.stateless_uniform(tf.shape(latents), seed, -half, half)
            drawn = self.generator(tf.clip_by_value(latents + noise, -1.0, 1.0), training=True)
            composed = self._composed(drawn, plates)
            total, values = losses.reconstruction_loss(wanted[..., :3] * seen, composed * seen, weights, config)
            values["change"] = tf.reduce_mean(tf.abs(latents[1::2] - latents[::2])) / self.prior_deviation
            total += config.rate_weight * values["change"]
            if self.recipe.model.moving:
                values["coverage"] = tf.reduce_mean(tf.abs(drawn[..., 3:] - wanted[..., 3:]) * seen)
                total += config.coverage_weight * values["coverage"]
            generated = composed * seen
            if adversarial:
                generated = tf.concat([generated, self._from_prior(plates, seed)], 0)
                looks = self.discriminator(self._patches(generated, seed + 2), training=False)
                values["adversarial"] = losses.generator_loss(looks)
                total += config.adversarial_weight * values["adversarial"]
        # An encoder that keeps its closed form has no use for gradients, which take a tenth of a step.
        encoding = self._encoding if config.encoder_rate else []
        gradients = tape.gradient(total, [*encoding, *self._drawing])
        count = len(encoding)
        if encoding:
            said = [gradient * share for gradient, share in zip(gradients[:count], self._said, strict=True)]
            self._encoder_optimizer.apply_gradients(zip(said, encoding, strict=True))
        self._optimizer.apply_gradients(zip(gradients[count:], self._drawing, strict=True))
        for average, variable in zip(self._average, self._trained, strict=True):
            average.assign(config.ema * average + (1 - config.ema) * tf.convert_to_tensor(variable))
        return {"loss": total, **values}, generated

    def _critic_update(
        self, renderings: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor, *, penalized: bool
    ) -> dict[str, tf.Tensor]:
        """Trains the discriminator on what the generator has just drawn beside what is real."""
        config = self.recipe.train
        seen = tf.cast(weights > 0, tf.float32)
        generated = self._patches(renderings, seed + 4)
        wanted = self._patches(_real(targets)[..., :3] * seen, seed + 5)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            real = self.discriminator(wanted, training=True)
            loss = losses.discriminator_loss(real, self.discriminator(generated, training=True))
            total = loss
            if penalized:
                with tf.GradientTape() as inner:
                    inner.watch(wanted)
                    score = tf.reduce_sum(self.discriminator(wanted, training=False))
                slope = tf.reduce_sum(tf.square(inner.gradient(score, wanted)), (1, 2, 3))
                total += config.r1_weight * tf.reduce_mean(slope) / tf.cast(tf.size(real[0]), tf.float32)
        self._critic_optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return {"discriminator": loss}

    def _composed(self, drawn: tf.Tensor, plates: tf.Tensor) -> tf.Tensor:
        """Returns what is drawn, over the plate where it leaves that free."""
        if not self.recipe.model.moving:
            return drawn
        coverage = (drawn[..., 3:] + 1) / 2
        return coverage * drawn[..., :3] + (1 - coverage) * _real(plates)

    def _from_prior(self, plates: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns renderings of the prior: without them the generator would be judged as a decoder only."""
        count = max(1, round(self.recipe.train.batch * self.recipe.train.prior_share))
        prior = tf.random.stateless_normal((count, self.recipe.model.latent), seed + 6, 0.0, self.prior_deviation)
        return self._composed(self.generator(tf.clip_by_value(prior, -1.0, 1.0), training=False), plates[:count])

    def _patches(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns one patch of every image, all from one random place: cheaper than whole images, and more varied."""
        size, patch = self.recipe.model.size, self.recipe.model.patch
        corner = tf.random.stateless_uniform((2,), seed, 0, size - patch + 1, tf.int32)
        return images[:, corner[0] : corner[0] + patch, corner[1] : corner[1] + patch, :]

    def _judge(self) -> None:
        """Keeps the averaged weights if they draw better than any before."""
        current = [variable.numpy() for variable in self._trained]
        for variable, average in zip(self._trained, self._average, strict=True):
            variable.assign(average)
        rows = np.unique(np.linspace(0, len(self._judged) - 1, min(len(self._judged), _JUDGED)).round().astype(int))
        renderings = self.render(self.encode(self._judged, self._judged_cuts)[rows])
        score = float(np.mean([psnr(a, b) for a, b in zip(self._judged[rows], renderings, strict=True)]))
        if score > float(self._best_score):
            self._best_score.assign(score)
            for best, average in zip(self._best, self._average, strict=True):
                best.assign(average)
        for variable, value in zip(self._trained, current, strict=True):
            variable.assign(value)

    def _variables(self) -> list[tf.Variable]:
        return [
            *self.encoder.variables,
            *self.generator.variables,
            *self.discriminator.variables,
            *self._optimizer.variables,
            *self._encoder_optimizer.variables,
            *self._critic_optimizer.variables,
            *self._average,
            *self._best,
            self._best_score,
        ]


def _followed(count: int, cuts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Returns for each view the row of the one that follows it, int64 of shape (count,); itself where none does."""
    rows = np.arange(count)
    following = np.minimum(rows + 1, count - 1)
    starts = np.isin(following, np.asarray(cuts, int))
    return np.where(starts, rows, following).astype(np.int64)


def _pixels(drawn: tf.Tensor) -> npt.NDArray[np.uint8]:
    """Returns the pixels of what is drawn, -1 to 1, uint8 of the same shape."""
    # A training that diverges draws what is no number; whoever looks at the loss says so.
    return np.clip(np.rint((np.nan_to_num(drawn.numpy()) + 1) * 127.5), 0, 255).astype(np.uint8)


def _real(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(pixels, tf.float32) / 127.5 - 1
