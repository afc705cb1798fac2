"""Principal components of the training views: where the latent starts from.

Left to itself, an autoencoder spends most of a short training on agreeing with itself what each latent value shall
mean. Principal components are that agreement, in closed form: encoder and generator first learn to map to and from
the leading coefficients, whitened, and are then trained together freely. On the rig, with equal steps, this start is
worth several dB (docs/training.md).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from twin_training.recordings import Views

_MOST_SAMPLES: Final = 1200
_SIDE: Final = 64


def principal_coefficients(views: Views, count: int) -> npt.NDArray[np.float32]:
    """Returns the coefficients of each view on the leading principal components, strongest first.

    Args:
        views: uint8 RGB of shape (n, size, size, 3).
        count: How many components; with fewer than that to be had, the rest is noise of no meaning.

    Returns:
        float32 of shape (n, count), each column of mean 0 and deviation 1.
    """
    pixels = _reduced(views)
    pixels -= pixels.mean(0)
    sample = pixels[:: max(1, -(-len(pixels) // _MOST_SAMPLES))]
    # The Gram matrix of the samples has the same leading subspace as the covariance of the pixels, and is far smaller.
    values, vectors = np.linalg.eigh(sample @ sample.T)
    strongest = np.argsort(values)[::-1][: min(count, len(sample) - 1)]
    components = vectors[:, strongest].T.astype(np.float32) @ sample
    components /= np.linalg.norm(components, axis=1, keepdims=True) + 1e-9
    coefficients = np.zeros((len(views), count), np.float32)
    coefficients[:, : len(strongest)] = pixels @ components.T
    return (coefficients / (coefficients.std(0) + 1e-6)).astype(np.float32)


def _reduced(views: Views) -> npt.NDArray[np.float32]:
    """Returns the views at 64x64 or less, float32 of shape (n, pixels), -1 to 1."""
    n, size = views.shape[:2]
    factor = max(1, size // _SIDE)
    side = size // factor
    reduced = np.empty((n, side * side * 3), np.float32)
    for start in range(0, n, 256):
        part = views[start : start + 256]
        blocks = part.reshape(len(part), side, factor, side, factor, 3).mean(axis=(2, 4), dtype=np.float32)
        reduced[start : start + len(part)] = blocks.reshape(len(part), -1) / 127.5 - 1
    return reduced
