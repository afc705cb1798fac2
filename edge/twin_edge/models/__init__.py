"""The TFLite side: which runtime is here, what a model needs, and one thread's interpreter."""

from twin_edge.models.engine import Model, Quantization
from twin_edge.models.operators import Operator, read_operators
from twin_edge.models.runtimes import Runtime, load_runtime

__all__ = ["Model", "Operator", "Quantization", "Runtime", "load_runtime", "read_operators"]
