"""The rig: a simulated machine with known truth, usable as a camera."""

from twin_edge.cameras.rig.camera import RigCamera, parse_rig
from twin_edge.cameras.rig.faults import FAULT_NAMES, Fault
from twin_edge.cameras.rig.machine import Rig, RigConfig

__all__ = ["FAULT_NAMES", "Fault", "Rig", "RigCamera", "RigConfig", "parse_rig"]
