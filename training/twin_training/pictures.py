"""The pictures of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def losses_png(history: Sequence[Mapping[str, float]]) -> bytes:
    """Returns the loss curves.

    Args:
        history: One entry for each reported step, with `step` and the losses by name.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted({name for entry in history for name in entry} - {"step", "seconds"})
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
        if all(value > 0 for _, value in points):
            axis.set_yscale("log")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
