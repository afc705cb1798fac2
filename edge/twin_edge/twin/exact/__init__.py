"""Drawing without a TFLite runtime: what any runtime makes of a generator, in NumPy, and whether that is certain."""

from twin_edge.twin.exact.encoder import NearEncoder
from twin_edge.twin.exact.renderer import ExactGenerator

__all__ = ["ExactGenerator", "NearEncoder"]
