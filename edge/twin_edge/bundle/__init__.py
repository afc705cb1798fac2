"""The bundle: everything that a device, or a subscriber, needs to run one twin, sealed in one file."""

from twin_edge.bundle.archive import Bundle, seal
from twin_edge.bundle.manifest import (
    FileEntry,
    GapCalibration,
    Manifest,
    Origin,
    PartsSpec,
    Quality,
    StateSpec,
    TensorSpec,
)

__all__ = [
    "Bundle",
    "FileEntry",
    "GapCalibration",
    "Manifest",
    "Origin",
    "PartsSpec",
    "Quality",
    "StateSpec",
    "TensorSpec",
    "seal",
]
