"""What is on at each step of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twin_training.recipe import TrainConfig

_PRINCIPAL_SHARE = 0.4
_RELEASE_SHARE = 0.15
_FLOOR = 0.005
_R1_EVERY = 8


@dataclass(frozen=True, slots=True)
class Phase:
    """The settings of one step."""

    learning_rate: float
    """Of encoder and generator."""
    principal: bool
    """Whether the generator is fed the principal coefficients instead of the encoder's latents."""
    principal_weight: float
    """Weight of the encoder's distance to the principal coefficients."""
    adversarial: bool
    """Whether the discriminator is on."""
    r1: bool
    """Whether the discriminator's step has the gradient penalty."""


def phase_at(step: int, config: TrainConfig) -> Phase:
    """Returns the phase of a step.

    First the encoder learns the principal coefficients and the generator learns from them; then both are joined, and
    the hold on the principal coefficients is released; at the end the discriminator joins in.

    Args:
        step: From 0.
        config: How long and how strong.
    """
    progress = step / config.steps
    rise = min(1.0, progress / config.warmup_share) if config.warmup_share else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * progress))
    adversarial = config.adversarial_weight > 0 and progress >= 1 - config.adversarial_share
    held = 1 - (progress - _PRINCIPAL_SHARE) / _RELEASE_SHARE
    return Phase(
        learning_rate=config.learning_rate * max(_FLOOR, rise * fall),
        principal=progress < _PRINCIPAL_SHARE,
        principal_weight=1.0 if progress < _PRINCIPAL_SHARE else 0.3 * max(0.0, held),
        adversarial=adversarial,
        r1=adversarial and step % _R1_EVERY == 0,
    )
