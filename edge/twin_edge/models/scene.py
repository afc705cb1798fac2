"""What a state says of a fixed scene beside its parts: how far the camera has been moved, and the light."""

from __future__ import annotations

from typing import Final

SHIFT_NAMES: Final = ("tx", "ty")
"""Names of the values of the camera's shift: to the right and down."""
SHIFT_VALUES: Final = len(SHIFT_NAMES)
WAVES: Final = 3
"""Cosines along each side of the field of gains: 1, half a wave, a whole wave."""
LIGHT_VALUES: Final = WAVES * WAVES + 2
"""Values of the light: the cosines' coefficients row by row, then the offsets of red and of blue."""
SCENE_VALUES: Final = SHIFT_VALUES + LIGHT_VALUES
"""Values of a state before its latent."""
MOST_PARTS: Final = 16
"""Most parts of a scene."""
