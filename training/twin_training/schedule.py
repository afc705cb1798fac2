"""What is on at each step of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twin_training.recipe import TrainConfig

_FLOOR = 0.005
_R1_EVERY = 8


@dataclass(frozen=True, slots=True)
class Phase:
    """The settings of one step."""

    learning_rate: float
    """Of the generator."""
    adversarial: bool
    """Whether the discriminator is on."""
    r1: bool
    """Whether the discriminator's step has the gradient penalty."""


def phase_at(step: int, config: TrainConfig) -> Phase:
    """Returns the phase of a step.

    The learning rate rises shortly and falls to nearly nothing; towards the end the discriminator joins in.

    Args:
        step: From 0.
        config: How long and how strong.
    """
    progress = step / config.steps
    rise = min(1.0, progress / config.warmup_share) if config.warmup_share else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * progress))
    adversarial = config.adversarial_weight > 0 and progress >= 1 - config.adversarial_share
    return Phase(
        learning_rate=config.learning_rate * max(_FLOOR, rise * fall),
        adversarial=adversarial,
        r1=adversarial and step % _R1_EVERY == 0,
    )
