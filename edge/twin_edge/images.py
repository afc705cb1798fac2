"""The one image type that everything passes around."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""An image, uint8 of shape (height, width, 3), 0-255; BGR for frames, RGB for views and renderings."""
