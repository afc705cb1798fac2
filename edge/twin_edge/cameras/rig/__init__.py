"""The rig: a simulated machine with known truth, usable as a camera."""

from twin_edge.cameras.rig.faults import FAULT_NAMES, Fault
from twin_edge.cameras.rig.machine import Rig, RigConfig

__all__ = ["FAULT_NAMES", "Fault", "Rig", "RigConfig"]
