"""How alike two images are."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from twin_edge.images import Image

_PEAK: Final = 255.0
_C1: Final = (0.01 * _PEAK) ** 2
_C2: Final = (0.03 * _PEAK) ** 2
_SAME_DB: Final = 100.0


def psnr(reference: Image, image: Image) -> float:
    """Returns the peak signal-to-noise ratio in dB over all channels; 100 for equal images.

    Args:
        reference: uint8 of shape (height, width, 3).
        image: uint8 of the same shape.
    """
    difference = reference.astype(np.float32) - image
    error = float(np.mean(difference * difference))
    return _SAME_DB if error == 0 else min(_SAME_DB, 10 * math.log10(_PEAK**2 / error))


def ssim(reference: Image, image: Image) -> float:
    """Returns the mean structural similarity of the luma, -1 to 1.

    With the constants and the 11x11 Gaussian window (deviation 1.5) of Wang et al., "Image quality assessment: from
    error visibility to structural similarity", IEEE TIP 13(4), 2004. The window lies wholly inside the image.

    Args:
        reference: uint8 RGB of shape (height, width, 3), at least 11x11.
        image: uint8 RGB of the same shape.
    """
    a, b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in (reference, image))
    mean_a, mean_b = _window(a), _window(b)
    variance_a = _window(a * a) - mean_a * mean_a
    variance_b = _window(b * b) - mean_b * mean_b
    covariance = _window(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)) / (
        (mean_a * mean_a + mean_b * mean_b + _C1) * (variance_a + variance_b + _C2)
    )
    return float(np.mean(similarity))


def _window(
    image: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    blurred = cv2.GaussianBlur(image, (11, 11), 1.5)
    return np.asarray(blurred[5:-5, 5:-5], np.float32)
