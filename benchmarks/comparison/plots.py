"""Rate-distortion plots."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from comparison.points import METHODS, Point

mpl.use("Agg")

_STYLES: Final = {
    "twin": ("#d62728", "o", 2.6),
    "registered-pca": ("#1f77b4", "s", 1.8),
    "registered-pca-delta": ("#17becf", "s", 1.2),
    "hold-last": ("#7f7f7f", "v", 1.2),
    "jpeg": ("#bcbd22", "^", 1.2),
    "x264": ("#8c564b", "D", 1.2),
    "x265": ("#9467bd", "P", 1.2),
    "vp9": ("#2ca02c", "X", 1.2),
    "av1": ("#ff7f0e", "d", 1.2),
}
_COLUMNS: Final = (
    ("bytes_per_frame", "payload, bytes a frame"),
    ("wire_bytes_per_frame", "on the wire, bytes a frame"),
)
_ROWS: Final = (("psnr_db", "PSNR, dB"), ("ssim", "SSIM"))


def rate_distortion_png(points: Sequence[Point], title: str, fps: float) -> bytes:
    """Draws the points of one clip: payload and wire side by side, PSNR above SSIM.

    Args:
        points: At least one.
        title: What stands above.
        fps: Frames per second, for the second axis in kbit/s.

    Returns:
        The plot as PNG.
    """
    figure = Figure(figsize=(12, 9), layout="constrained")
    figure.suptitle(title)
    plain = FuncFormatter(lambda value, _place: f"{value:g}")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for row, (quality, quality_label) in enumerate(_ROWS):
        for column, (rate, rate_label) in enumerate(_COLUMNS):
            axis = axes[row][column]
            for method in METHODS:
                mine = sorted((getattr(p, rate), getattr(p, quality)) for p in points if p.method == method)
                if mine:
                    color, marker, width = _STYLES[method]
                    axis.plot(
                        *zip(*mine, strict=True), color=color, marker=marker, ms=5, lw=width, label=method, zorder=width
                    )
            axis.set_xscale("log")
            axis.grid(visible=True, which="both", alpha=0.25)
            if column == 0:
                axis.set_ylabel(quality_label)
            if row == 1:
                axis.set_xlabel(rate_label)
            else:
                top = axis.secondary_xaxis(
                    "top", functions=(lambda x: x * fps * 8 / 1000, lambda x: x / fps / 8 * 1000)
                )
                top.set_xlabel(f"kbit/s at {fps:g} frames a second")
                top.xaxis.set_major_formatter(plain)
            axis.xaxis.set_major_formatter(plain)
    columns = (len(METHODS) + 1) // 2
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
