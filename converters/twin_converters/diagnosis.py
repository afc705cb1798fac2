"""Why int8 draws worse than float, for a whole run: the errors of all layers, and what finer activations would gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_converters.layers import LayerError, layer_errors, table, to_json
from twin_converters.operators import run_model
from twin_converters.quantize import FLOAT_LAYERS, QuantizedModel, to_float, to_int16_activations
from twin_converters.reference import FloatTwin
from twin_converters.run import Run, Views
from twin_edge.models import Quantization
from twin_edge.quality import psnr

_SAMPLES: Final = 8
_CALIBRATION: Final = 64
_RANGE_AT_FAULT_DB: Final = 0.3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Where int8 loses."""

    encoder: tuple[LayerError, ...]
    """Layers of the encoder, worst first."""
    generator: tuple[LayerError, ...]
    """Layers of the generator, worst first."""
    int16_gain_db: float
    """How much better the generator draws test views with int16 activations and the converter's weights, dB."""

    @property
    def culprit(self) -> str:
        """What to look at first, in words."""
        if self.int16_gain_db > _RANGE_AT_FAULT_DB:
            worst = max(self.generator, key=lambda one: one.output_share * one.rounding_share)
            return (
                f"the int8 range of the layer {worst.layer} ({worst.operator}) does not fit: its values use "
                f"{worst.used_share:.0%} of the range, and {worst.saturated_share:.1%} of them lie beyond it"
            )
        worst = self.generator[0]
        return f"most of the error, {worst.output_share:.0%}, comes from the layer {worst.layer} ({worst.operator})"

    def to_json(self) -> dict[str, Any]:
        """Returns it for the report."""
        return {
            "encoder": to_json(self.encoder),
            "generator": to_json(self.generator),
            "int16_gain_db": round(self.int16_gain_db, 3),
            "culprit": self.culprit,
        }

    def __str__(self) -> str:
        return (
            f"encoder\n{table(self.encoder)}\ngenerator\n{table(self.generator)}\n"
            f"int16 activations would change the generator's renderings by {self.int16_gain_db:+.2f} dB; {self.culprit}"
        )


def diagnose(
    run: Run,
    reference: FloatTwin,
    encoder: QuantizedModel,
    generator: QuantizedModel,
    latent: Quantization,
    calibration: npt.NDArray[np.float32],
) -> Diagnosis:
    """Looks for the layers that int8 loses accuracy in.

    Args:
        run: What training left.
        reference: Its float models.
        encoder: The int8 encoder.
        generator: The int8 generator.
        latent: How the encoder's outputs are quantized.
        calibration: Inputs that the generator was quantized with, float32 of shape (n, latent), both ends last.

    Raises:
        ConversionError: The graphs cannot be compared layer by layer.
    """
    rows = np.linspace(0, len(run.test) - 1, min(len(run.test), _SAMPLES)).round().astype(int)
    views = run.test[rows]
    # Every view by itself: whatever lies before it in the recording is not there.
    states = reference.encode(views, latent, range(len(views)))
    crops = [reference.seen[row] for row in np.linspace(0, len(reference.seen) - 1, len(views)).round().astype(int)]
    latents = latent.dequantize(states[:, states.shape[1] - generator.input.shape[1] :])
    # The ends have to stay, they fix the range of the input.
    few = np.concatenate([calibration[:_CALIBRATION], calibration[-2:]])
    fine = run_model(to_int16_activations(run.generator, few, float_layers=FLOAT_LAYERS), list(latents))
    rough = run_model(generator.content, list(latents))
    gain = _mean_psnr(views, reference.compose(fine, states)) - _mean_psnr(views, reference.compose(rough, states))
    return Diagnosis(
        layer_errors(to_float(run.encoder), encoder.content, crops),
        layer_errors(to_float(run.generator), generator.content, list(latents)),
        gain,
    )


def _mean_psnr(views: Views, renderings: Views) -> float:
    return float(np.mean([psnr(a, b) for a, b in zip(views, renderings, strict=True)]))
