"""Renderings of states that no camera has seen: samples of what the twin knows.

A draw begins with latent values that are independent Gaussians around 0, the prior; the pose stays what it is for a
subject in its usual place. But few such states are ones that views have: between two places of a needle lie two faint
needles. So the rendering is shown to the encoder, and what that says is rendered again, a few times over: each round
leads nearer to what views look like. Of several draws the one is taken that changed least in the end. Walking back and
forth: Bengio et al., "Generalized denoising auto-encoders as generative models", arXiv 1305.6663.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from twin_edge.bundle import Bundle, StateSpec
from twin_edge.errors import ConfigError
from twin_edge.files import refuse_unwritable, write_atomic
from twin_edge.images import Image
from twin_edge.models import Quantization, Runtime, State
from twin_edge.pictures import contact_sheet
from twin_edge.twin import Twin

MOST_ON_SHEET: Final = 256
"""Most renderings on one sheet."""
MOST_SCALE: Final = 4.0
"""Widest spread of the samples, in deviations of the prior."""
ROUNDS: Final = 12
"""Rounds from the draw to the sample."""
MOST_ROUNDS: Final = 100
"""Most rounds; long before, samples begin to look alike."""
_DRAWS: Final = 4
"""Draws for each sample."""


def draw_states(state: StateSpec, count: int, seed: int, scale: float = 1.0) -> npt.NDArray[np.int8]:
    """Draws states from the prior.

    Args:
        state: Layout of the states.
        count: How many, at least 1.
        seed: Seed of the draw, >= 0; equal seeds give equal states, and a longer draw starts with a shorter one.
        scale: Spread, 0 to 4: 1 is the prior, 0 its mean, less than 1 gives samples that are safer and more alike.

    Returns:
        int8 of shape (count, state length); pose and light are 0.

    Raises:
        ConfigError: A value is out of range.
    """
    if count < 1 or seed < 0 or not 0 <= scale <= MOST_SCALE:
        raise ConfigError(
            f"{count} samples of seed {seed} and scale {scale:g} cannot be drawn",
            fix=f"take at least 1 sample, a seed of 0 or more and a scale from 0 to {MOST_SCALE:g}",
        )
    normal = np.random.default_rng(seed).standard_normal((count, state.latent))
    states = np.zeros((count, state.length), np.int8)
    real = normal * state.deviation * scale
    states[:, state.latent_start :] = Quantization(state.scale, state.zero_point).quantize(real)
    return states


def imagine(
    bundle: Bundle,
    count: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    rounds: int = ROUNDS,
    runtime: Runtime | None = None,
) -> Iterator[Image]:
    """Renders samples.

    Args:
        bundle: The twin.
        count: How many samples, at least 1.
        seed: Seed of the draw, >= 0.
        scale: Spread; see `draw_states`.
        rounds: Rounds of each, 0 to 100; with 0 they are samples of the prior as they are drawn.
        runtime: A TFLite runtime, for a bundle that is trusted; None for none.

    Yields:
        Renderings, uint8 RGB of shape (height, width, 3).

    Raises:
        ConfigError: A value is out of range.
        IncompatibleRuntimeError: The runtime cannot run this bundle.
        IntegrityError: The models are not the ones that the manifest describes.
        BundleError: There is no runtime, and the twin is shown on devices only.
    """
    if not 0 <= rounds <= MOST_ROUNDS:
        raise ConfigError(f"{rounds} rounds are none that can be made", fix=f"take 0 to {MOST_ROUNDS}")
    states = draw_states(bundle.manifest.state, count * (_DRAWS if rounds else 1), seed, scale)
    twin = Twin(bundle, runtime, encodes=rounds > 0, native=False)
    if not rounds:
        for state in states:
            yield twin.render(state)
        return
    for draws in states.reshape(count, _DRAWS, -1):
        settled = [_settle(twin, state, rounds) for state in draws]
        yield min(settled, key=lambda one: one[1])[0]


def _settle(twin: Twin, state: State, rounds: int) -> tuple[Image, float]:
    """Returns the rendering that some rounds lead to, and how much the last one has still changed the state."""
    change = 0.0
    for _ in range(rounds):
        said = twin.read_at(twin.render(state), state)
        change = float(np.abs(said.astype(np.int16) - state).mean())
        state = said
    return twin.render(state), change


def write_sheet(
    bundle: Bundle,
    path: Path,
    count: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    rounds: int = ROUNDS,
    runtime: Runtime | None = None,
) -> None:
    """Writes a contact sheet of samples.

    Args:
        bundle: The twin.
        path: The PNG file.
        count: How many samples, 1 to 256.
        seed: Seed of the draw, >= 0.
        scale: Spread; see `draw_states`.
        rounds: Rounds of each; see `imagine`.
        runtime: A TFLite runtime, for a bundle that is trusted; None for none.

    Raises:
        ConfigError: A value is out of range, or the place of the file cannot be used.
        IncompatibleRuntimeError: The runtime cannot run this bundle.
        BundleError: There is no runtime, and the twin is shown on devices only.
        TwinEdgeError: The file cannot be written; an older one stays.
    """
    if count > MOST_ON_SHEET:
        raise ConfigError(f"{count} samples do not fit on a sheet", fix=f"take {MOST_ON_SHEET} at most")
    refuse_unwritable(path)
    renderings = list(imagine(bundle, count, seed=seed, scale=scale, rounds=rounds, runtime=runtime))
    labels = [f"#{number}" for number in range(count)]
    write_atomic(path, contact_sheet(renderings, labels, columns=max(8, math.isqrt(count))))
