"""Float SavedModel to full-int8 TFLite."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from twin_converters.operators import operator_name, parse
from twin_edge.bundle import TensorSpec
from twin_edge.cli.common import native_stderr_hidden
from twin_edge.errors import ConversionError

FLOAT_LAYERS: Final = "drawing_"
"""Layers of the generator between the latent and what the picture is a linear map of: few values that say all."""

_INT8_LOW: Final = -128
_INT8_HIGH: Final = 127
_TYPES: Final = {schema.TensorType.INT8: "int8", schema.TensorType.FLOAT32: "float32"}


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """An int8 model."""

    content: bytes
    """The `.tflite` file."""
    input: TensorSpec
    """Its input; for a float input, with the quantization of the int8 tensor behind it."""
    output: TensorSpec
    """Its output; for a float output, with the quantization of the int8 tensor before it."""
    minimum_runtime: str
    """Oldest TFLite release that can run it, by the converter's own account."""


def quantize(
    saved_model: Path, samples: Iterable[npt.NDArray[np.float32]], *, int8_edges: bool, float_layers: str = ""
) -> QuantizedModel:
    """Quantizes a model with one input and one output.

    Weights are per channel in convolutions and per tensor in dense layers: per-channel dense weights would be an
    operator version that tflite-runtime 2.14 does not have.

    Args:
        saved_model: Folder of the SavedModel, with the signature `serve` for a single sample.
        samples: Real inputs without the batch dimension, float32; they set the ranges of all activations.
        int8_edges: Whether input and output are int8; else they are float32 with the quantization inside.
        float_layers: What the names of the layers begin with that stay float32, if there are any: the first ones of a
            model with float32 edges (docs/adr/0003-int8-only.md). None when empty.

    Raises:
        ConversionError: The converter fails.
    """
    samples = list(samples)
    converter = _calibrated(saved_model, samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8 if int8_edges else tf.float32
    quantized = _described(_converted(converter, saved_model))
    kept = _operators_of(quantized.content, float_layers) if float_layers else []
    return replace(quantized, content=_mixed(converter, kept, saved_model)) if kept else quantized


def _operators_of(content: bytes, prefix: str) -> list[str]:
    """Returns what the converter calls the outputs of the layers whose names begin like that."""
    graph = parse(content).subgraphs[0]
    outputs = [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]
    return [name for name in outputs if any(part.startswith(prefix) for part in name.split(";")[0].split("/"))]


def _mixed(converter: Any, kept: list[str], saved_model: Path) -> bytes:
    """Returns the model with some operators in float32."""
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=kept)
    with _explained(saved_model), native_stderr_hidden(), warnings.catch_warnings():
        # The class does more than is asked of it here, with an interpreter that warns of its own end.
        warnings.simplefilter("ignore", UserWarning)
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
        )
        return bytes(quantizer.get_nondebug_quantized_model())


def to_float(saved_model: Path) -> bytes:
    """Returns a model as float TFLite: the same operators as in int8, to hold those against.

    Raises:
        ConversionError: The converter fails.
    """
    return _converted(_converter(saved_model), saved_model)


def to_int16_activations(
    saved_model: Path, samples: Iterable[npt.NDArray[np.float32]], *, float_layers: str = ""
) -> bytes:
    """Returns a model with int8 weights and int16 activations, float32 at its edges.

    No device runs this fast. What it draws better than the int8 model, that one loses in its activations.

    Args:
        saved_model: Folder of the SavedModel, with the signature `serve` for a single sample.
        samples: Real inputs without the batch dimension, float32.
        float_layers: What the names of the layers begin with that stay float32, as in `quantize`.

    Raises:
        ConversionError: The converter fails.
    """
    converter = _calibrated(saved_model, samples)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        # DEPTH_TO_SPACE has no int16 kernel; in float it moves the same values.
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    content = _converted(converter, saved_model)
    kept = _operators_of(content, float_layers) if float_layers else []
    return _mixed(converter, kept, saved_model) if kept else content


def _converter(saved_model: Path) -> Any:
    return tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["serve"])


def _calibrated(saved_model: Path, samples: Iterable[npt.NDArray[np.float32]]) -> Any:
    converter = _converter(saved_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in samples)
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    return converter


def _converted(converter: Any, saved_model: Path) -> bytes:
    with _explained(saved_model), native_stderr_hidden():
        return bytes(converter.convert())


@contextlib.contextmanager
def _explained(saved_model: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise ConversionError(
            f"{saved_model.name} cannot be quantized ({str(error).strip().splitlines()[-1]:.200})",
            fix="train it again; if it stays so, the recipe's model uses what int8 has not",
        ) from error


def _described(content: bytes) -> QuantizedModel:
    model = parse(content)
    graph = model.subgraphs[0]
    names = [operator_name(model, operator) for operator in graph.operators]
    input_at, output_at = graph.inputs[0], graph.outputs[0]
    for name, operator in zip(names, graph.operators, strict=True):
        if name == "QUANTIZE" and operator.inputs[0] == graph.inputs[0]:
            input_at = operator.outputs[0]
        if name == "DEQUANTIZE" and operator.outputs[0] == graph.outputs[0]:
            output_at = operator.inputs[0]
    return QuantizedModel(
        content,
        _spec(graph.tensors[graph.inputs[0]], graph.tensors[input_at]),
        _spec(graph.tensors[graph.outputs[0]], graph.tensors[output_at]),
        _minimum_runtime(model),
    )


def _spec(edge: Any, quantized: Any) -> TensorSpec:
    if quantized.type != schema.TensorType.INT8:
        raise ConversionError(
            f"the tensor {quantized.name.decode()} is not int8 inside", fix="every layer must have an int8 kernel"
        )
    scale, zero_point = float(quantized.quantization.scale[0]), int(quantized.quantization.zeroPoint[0])
    return TensorSpec(
        shape=tuple(int(n) for n in edge.shape),
        dtype=_TYPES[edge.type],
        scale=scale,
        zero_point=zero_point,
        low=(_INT8_LOW - zero_point) * scale,
        high=(_INT8_HIGH - zero_point) * scale,
    )


def _minimum_runtime(model: Any) -> str:
    for entry in model.metadata or []:
        if entry.name == b"min_runtime_version":
            text = bytes(model.buffers[entry.buffer].data).split(b"\0")[0].decode()
            if text:
                return text
    raise ConversionError("the converter did not say which runtime the model needs", fix="upgrade tensorflow")
