"""The twin itself: view to state, state to rendering, and how far apart view and rendering are."""

from twin_edge.twin.gap import GapMeter
from twin_edge.twin.packet import Codec, Flags, Packet
from twin_edge.twin.twin import Twin

__all__ = ["Codec", "Flags", "GapMeter", "Packet", "Twin"]
