"""The TFLite side: which runtime is here, what a model needs, and one thread's interpreter."""

from twin_edge.models.engine import Model, Quantization
from twin_edge.models.networks import Encoder, Generator, State, in_channels
from twin_edge.models.operators import Operator, check_operators, newest_version, read_operators
from twin_edge.models.runtimes import Runtime, RuntimeName, installed_runtimes, load_runtime

__all__ = [
    "Encoder",
    "Generator",
    "Model",
    "Operator",
    "Quantization",
    "Runtime",
    "RuntimeName",
    "State",
    "check_operators",
    "in_channels",
    "installed_runtimes",
    "load_runtime",
    "newest_version",
    "read_operators",
]
