"""What a Raspberry Pi would need for the two networks: an estimate, from multiply-accumulates alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from comparison.timing import Speed

GMAC_PER_S: Final[Mapping[str, tuple[float, float]]] = {
    "Pi 4 (estimate)": (5.0, 6.0),
    "Pi 5 (estimate)": (15.0, 30.0),
}
"""int8 multiply-accumulates per second and core, low and high. Pi 4: published int8 times of MobileNet v1 and v2 with
XNNPACK on its four cores (569 and 300 MMAC in 24 and 17 ms), divided by four. Pi 5: three to five times that, by its
clock and dot-product instructions; there is no published figure behind it."""


def estimates(encoder_mmac: float, generator_mmac: float, gap_every: int) -> list[Speed]:
    """Returns how long the networks would take, middle as median and slow end as 95th percentile.

    Args:
        encoder_mmac: Million multiply-accumulates of the encoder.
        generator_mmac: The same of the generator.
        gap_every: The generator runs for every n-th frame.
    """
    work = {
        "encoder + generator": encoder_mmac + generator_mmac,
        f"encoder + generator every {gap_every}": encoder_mmac + generator_mmac / gap_every,
    }
    return [
        Speed(f"{what}, {board}", "estimate", 1, round(mmac / ((low + high) / 2), 2), round(mmac / low, 2), None)
        for board, (low, high) in GMAC_PER_S.items()
        for what, mmac in work.items()
    ]
