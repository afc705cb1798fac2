"""Drawing without a TFLite runtime: what any runtime makes of a generator, to the bit, in NumPy."""

from twin_edge.twin.exact.encoder import NearEncoder
from twin_edge.twin.exact.renderer import ExactGenerator

__all__ = ["ExactGenerator", "NearEncoder"]
