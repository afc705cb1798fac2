"""Which layer an int8 model loses its accuracy in.

A model is run operator by operator, once as the float model that it came from, and once more for every operator with
that one alone as int8 has it: weights, rounding and saturation. What that does to the output is the layer's error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from twin_converters.operators import HIGHEST, LOWEST, Floats, SingleOperator, activations, take_apart
from twin_edge.errors import ConversionError

_MOVES: Final = frozenset({"RESHAPE", "DEPTH_TO_SPACE", "CONCATENATION"})
_SMALL: Final = 1e-12


@dataclass(frozen=True, slots=True)
class LayerError:
    """What int8 does to one activation."""

    layer: str
    """Number of the operator in the graph, and the name of the float tensor that it makes."""
    operator: str
    """Operator, such as `CONV_2D`."""
    step: float
    """Size of one int8 step, in real values."""
    used_share: float
    """Share of the int8 range that the values of the samples span, 0 to 1; little of it is a range too wide."""
    saturated_share: float
    """Share of values that lie outside the int8 range, 0 to 1; much of it is a range too narrow."""
    rmse_steps: float
    """Root mean square error that this layer itself makes, in int8 steps; plain rounding makes 0.29."""
    weights_rmse_steps: float
    """The part of it that rounded weights make."""
    snr_db: float
    """Variance of the values to that error, dB."""
    output_rmse: float
    """Root mean square error of the model's output when this layer alone is int8, in real values."""
    output_share: float
    """Its square as a share of the sum over all layers, 0 to 1: the culprit's is the largest."""

    @property
    def rounding_share(self) -> float:
        """Share of the layer's own squared error that its activations make and not its weights, 0 to 1."""
        return max(0.0, 1 - (self.weights_rmse_steps / max(self.rmse_steps, _SMALL)) ** 2)


def layer_errors(float_content: bytes, int8_content: bytes, samples: Sequence[Floats]) -> tuple[LayerError, ...]:
    """Returns the errors of all layers, worst first.

    Args:
        float_content: The model as float TFLite.
        int8_content: The same model quantized.
        samples: Real inputs, without the batch dimension.

    Raises:
        ConversionError: The two are not the same graph.
    """
    reference, quantized = take_apart(float_content), take_apart(int8_content)
    if [one.name for one in reference] != [one.name for one in quantized]:
        raise ConversionError(
            "the layers of the float and the int8 model do not correspond, their errors cannot be told apart",
            fix="convert without --layers",
        )
    traces = [activations(reference, np.asarray(sample, np.float32)[np.newaxis]) for sample in samples]
    # What only moves values makes no error of its own, and neither does what stays in float.
    working = [at for at, one in enumerate(quantized) if one.name not in _MOVES and one.output_scale]
    squares = [_output_square(reference, quantized, at, traces) for at in working]
    total = sum(squares) + _SMALL
    found = [
        _layer_error(at, reference[at], quantized[at], traces, square, square / total)
        for at, square in zip(working, squares, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -one.output_share))


def to_json(errors: Sequence[LayerError]) -> list[dict[str, Any]]:
    """Returns the errors as objects for a report."""
    return [
        {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in asdict(error).items()}
        for error in errors
    ]


def table(errors: Sequence[LayerError]) -> str:
    """Returns the errors as a table, a line each."""
    lines = [" output     own error       weights        SNR  range used  saturated  layer"]
    lines += [
        f"{error.output_share:7.1%} {error.rmse_steps:7.2f} steps {error.weights_rmse_steps:7.2f} steps "
        f"{error.snr_db:7.1f} dB {error.used_share:11.0%} {error.saturated_share:10.2%}  {error.operator} {error.layer}"
        for error in errors
    ]
    return "\n".join(lines)


def _layer_error(
    at: int,
    reference: SingleOperator,
    quantized: SingleOperator,
    traces: Sequence[Mapping[int, Floats]],
    square: float,
    share: float,
) -> LayerError:
    values = np.concatenate([trace[reference.output] for trace in traces])
    unrounded = np.concatenate([quantized([trace[tensor] for tensor in reference.inputs]) for trace in traces])
    scale, zero_point = quantized.output_scale, quantized.output_zero_point
    low, high = (LOWEST - zero_point) * scale, (HIGHEST - zero_point) * scale
    # A value within half a step of the end is rounded, not saturated.
    beyond = (values < low - scale / 2) | (values > high + scale / 2)
    own = float(np.sqrt(np.mean(np.square(quantized.rounded(unrounded) - values))))
    return LayerError(
        layer=f"{at} {reference.output_name}",
        operator=reference.name,
        step=scale,
        used_share=float(min(1.0, (values.max() - values.min()) / (high - low))),
        saturated_share=float(beyond.mean()),
        rmse_steps=own / scale,
        weights_rmse_steps=float(np.sqrt(np.mean(np.square(unrounded - values)))) / scale,
        snr_db=float(10 * np.log10((values.var() + _SMALL) / (own**2 + _SMALL))),
        output_rmse=float(np.sqrt(square)),
        output_share=share,
    )


def _output_square(
    reference: Sequence[SingleOperator],
    quantized: Sequence[SingleOperator],
    at: int,
    traces: Sequence[Mapping[int, Floats]],
) -> float:
    """Returns the mean squared error of the output when one operator alone is int8."""
    last, squares = reference[-1].output, []
    for trace in traces:
        values = dict(trace)
        changed = quantized[at]([trace[tensor] for tensor in reference[at].inputs])
        values[reference[at].output] = quantized[at].rounded(changed)
        for operator in reference[at + 1 :]:
            values[operator.output] = operator([values[tensor] for tensor in operator.inputs])
        squares.append(float(np.mean(np.square(values[last] - trace[last]))))
    return float(np.mean(squares))
