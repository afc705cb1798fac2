"""A finished run to a bundle, through quantization, measurement on every runtime, and the quality gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from twin_converters.blocks import Blocks, judged
from twin_converters.diagnosis import Diagnosis, diagnose
from twin_converters.exact import can_be_exact, exact
from twin_converters.floats import whole_floats
from twin_converters.known import chosen, limits_of
from twin_converters.measure import Material, Measured, measure, render
from twin_converters.quality import as_seen, check_gate, fit_codec, mean_quality, measure_quality, runtimes_apart
from twin_converters.quantize import FLOAT_LAYERS, QuantizedModel, quantize, to_float
from twin_converters.reference import FloatTwin
from twin_converters.run import Run, Views
from twin_edge import __version__
from twin_edge.bundle import Bundle, GapCalibration, Manifest, Origin, PartsSpec, Quality, StateSpec, seal
from twin_edge.bundle.archive import CODEC, ENCODER, GENERATOR, GOLDEN, KNOWN, PARTS, PLATE, PREVIEW
from twin_edge.bundle.golden import Golden
from twin_edge.errors import ConversionError
from twin_edge.models import Operator, Quantization, installed_runtimes, newest_version, read_operators
from twin_edge.models.pose import POSE_VALUES
from twin_edge.models.runtimes import RuntimeName
from twin_edge.models.scene import LIGHT_VALUES, SHIFT_NAMES
from twin_edge.pictures import encode_png
from twin_edge.twin.calibration import calibrate
from twin_edge.twin.known import KnownStates
from twin_edge.twin.models import TwinSpec
from twin_edge.twin.residual import ResidualMeter

_TEST_FRAMES: Final = 200
_TOLERATED_SHARE: Final = 0.015
"""What rounding the weights of the coefficients may add to the twin's squared error, before what is made up for."""
_LEVELS: Final = 127.5
_ROOM: Final = 0.1
_WHOLE_RANGE: Final = Quantization(1 / 127.5, 0)
_MUCH_LOST_DB: Final = 0.2
_RUNTIMES: Final = ("tflite", "litert")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A bundle, and what was measured on the way to it."""

    bundle: Bundle
    """The bundle, not yet written."""
    report: Mapping[str, Any]
    """What was measured, ready for JSON."""
    pictures: Mapping[str, Views]
    """`view`, `float`, `int8` and `difference` (x8) of a few test frames."""


def convert(
    run: Run,
    on_stage: Callable[[str], None] = lambda _stage: None,
    *,
    layers: bool = False,
    on_diagnosis: Callable[[Diagnosis], None] = lambda _diagnosis: None,
) -> Conversion:
    """Converts a run.

    Args:
        run: What training left.
        on_stage: Told what is being done.
        layers: Whether to measure the error of every layer even if int8 loses little.
        on_diagnosis: Told what that gave, before the gate.

    Raises:
        ConversionError: The models cannot be quantized, need operators that a runtime lacks, differ between runtimes,
            or miss the gate. Nothing has been written then.
    """
    rows = evenly_rows(len(run.test), _TEST_FRAMES)
    test = run.test[rows]
    on_stage("quantizing the encoder")
    reference = FloatTwin(run)
    # Before the encoder is quantized only the crops are of use, and any range will do to get them.
    reference.encode(run.calibration, _WHOLE_RANGE, range(len(run.calibration)))
    encoder = quantize(run.encoder, _encoder_samples(np.stack(reference.seen)), int8_edges=True)
    latent = Quantization(encoder.output.scale, encoder.output.zero_point)
    on_stage("quantizing the generator")
    known = reference.encode(run.calibration, latent, range(len(run.calibration)))
    reach = _reach(known[:, run.latent_start :])
    samples = _generator_samples(known[:, run.latent_start :], latent)
    generator = by_layers = quantize(run.generator, samples, int8_edges=False, float_layers=FLOAT_LAYERS)
    if can_be_exact(generator.content):
        on_stage("making the generator exact")
        # All error of a picture is in what is drawn of it.
        drawn = np.prod(generator.output.shape[1:]) / run.test[0].size if run.labels is not None else 1.0
        tolerated = _TOLERATED_SHARE * _mean_square(run, reference, latent) / drawn
        content = exact(generator.content, to_float(run.generator), list(samples), tolerated)
        by_layers, generator = (replace(generator, content=one) for one in (content, whole_floats(content)))
    operators = {ENCODER: read_operators(encoder.content), GENERATOR: read_operators(generator.content)}
    _check_operators(operators)
    on_stage("float reference")
    float_states = reference.encode(run.test, latent, run.test_cuts)[rows]
    float_renderings = reference.render(float_states, latent)
    parts = TwinSpec(
        generator.content,
        encoder.content,
        latent,
        (run.view.height, run.view.width),
        run.pose,
        run.plate,
        run.labels,
        reach,
    )
    material = Material(
        run.calibration,
        run.validation,
        run.validation_cuts,
        run.test,
        run.test_cuts,
        rows,
        run.live,
        run.live_cuts,
        run.paced,
        run.paced_cuts,
        float_states,
    )
    measured: dict[RuntimeName, Measured] = {}
    for runtime in installed_runtimes():
        on_stage(f"measuring on {runtime}")
        with tempfile.TemporaryDirectory() as folder:
            measured[runtime] = measure(parts, material, runtime, Path(folder))
    first, main = next(iter(measured.items()))

    def draw(states: npt.NDArray[np.int8]) -> Views:
        with tempfile.TemporaryDirectory() as folder:
            return render(parts, states, first, Path(folder))

    on_stage("fitting the codec")
    blocks = judged(main.validation_errors, run.validation_cuts, run.validation_blocks)
    codec = fit_codec(run, main, blocks, draw)
    on_stage("sealing")
    seen = as_seen(run, codec, main, rows, draw)
    quality = measure_quality(run, test, float_renderings, list(measured.values()), seen)
    diagnosis = None
    if layers or quality.float_psnr_db - quality.int8_psnr_db > min(_MUCH_LOST_DB, run.gate.max_psnr_loss_db):
        on_stage("measuring the layers")
        diagnosis = diagnose(run, reference, encoder, by_layers, latent, samples)
        on_diagnosis(diagnosis)
    check_gate(run.gate, quality, list(measured.values()), diagnosis)
    # A rendering stands in for a view: no camera frame travels with the bundle.
    golden = Golden(main.renderings[:1], main.golden_states, main.golden_renderings)
    states = None if run.labels is None else _known(run, main)
    manifest = _manifest(run, encoder, generator, operators, quality, _gap(run, main, blocks, states), reach)
    members = {
        CODEC: codec.to_bytes(),
        ENCODER: encoder.content,
        GENERATOR: generator.content,
        GOLDEN: golden.to_bytes(),
        PREVIEW: encode_png(main.renderings[0][::2, ::2]),
    } | _scene_members(run, states)
    bundle = Bundle.from_bytes(seal(manifest, members))
    return Conversion(
        bundle,
        _report(run, bundle, quality, measured, blocks.warnings())
        | ({"layers": diagnosis.to_json()} if diagnosis else {}),
        _pictures(test, float_renderings, main),
    )


def _scene_members(run: Run, states: npt.NDArray[np.int8] | None) -> dict[str, bytes]:
    """Returns what a bundle holds beside what every bundle does."""
    images = {name: encode_png(image) for name, image in ((PLATE, run.plate), (PARTS, run.labels)) if image is not None}
    return images if states is None else images | {KNOWN: states.tobytes()}


def _known(run: Run, measured: Measured) -> npt.NDArray[np.int8]:
    """Returns the states of training that the bundle carries, int8 of shape (n, latent)."""
    seen = np.concatenate([measured.calibration_states, measured.live_states, measured.paced_states])
    return chosen(seen[:, run.latent_start :], _count(run))


def _count(run: Run) -> int:
    return 0 if run.labels is None else int(run.labels.max())


def _gap(run: Run, measured: Measured, blocks: Blocks, known: npt.NDArray[np.int8] | None) -> GapCalibration:
    kept, labels = blocks.kept(), blocks.labels()
    meter = ResidualMeter(run.view.height, run.view.width)
    limits = strangeness = None
    if known is not None:
        latents = measured.validation_states[kept][:, -known.shape[1] :]
        parts = [latents[labels[kept] == block] for block in np.unique(labels[kept])]
        limits = limits_of(known, parts, measured.elsewhere_states[:, run.latent_start :], _count(run))
        measure = KnownStates(known, limits)
        strangeness = np.array([measure(latent).max() for latent in latents], np.float32)
    return calibrate(
        measured.validation_residuals[kept],
        labels[kept],
        measured.calibration_residuals,
        meter,
        limits,
        strangeness,
        ahead=1 + run.ahead_error / max(float(np.median(measured.validation_errors[kept])), 1.0),
    )


def _mean_square(run: Run, reference: FloatTwin, latent: Quantization) -> float:
    """Returns the mean squared error of the float twin on usual validation views, which are -1 to 1."""
    renderings = reference.render(reference.encode(run.validation, latent, run.validation_cuts), latent)
    errors = np.array(
        [np.square(a.astype(np.float32) - b).mean() for a, b in zip(run.validation, renderings, strict=True)]
    )
    kept = judged(errors, run.validation_cuts, run.validation_blocks).kept()
    return float(errors[kept].mean()) / _LEVELS**2


def evenly_rows(available: int, count: int) -> npt.NDArray[np.int64]:
    """Returns at most `count` row numbers out of those available, evenly spaced."""
    return np.linspace(0, available - 1, min(count, available)).round().astype(np.int64)


def _reach(latents: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Returns between what values latents are held, int8 of shape (2, latent): a tenth beyond those of training."""
    low, high = latents.min(0).astype(np.float32), latents.max(0).astype(np.float32)
    room = _ROOM * (high - low) + 1
    return np.clip(np.rint([low - room, high + room]), -128, 127).astype(np.int8)


def _layout(run: Run) -> tuple[tuple[str, ...], int]:
    """Returns the names of the pose values of a state, and the number of its light values."""
    if run.labels is not None:
        return SHIFT_NAMES, LIGHT_VALUES
    return (() if run.pose is None else POSE_VALUES), 0


def _encoder_samples(inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Real inputs, and black and white, so that the input's range is exactly that of pixels."""
    extremes = np.stack([np.zeros(inputs.shape[1:], np.float32), np.ones(inputs.shape[1:], np.float32)])
    return np.concatenate([inputs, extremes])


def _generator_samples(latents: npt.NDArray[np.int8], latent: Quantization) -> npt.NDArray[np.float32]:
    """Real latents as the device sends them, and both ends of the int8 range, so that the input is not requantized.

    Only one value at a time is at an end: with all of them there, as no latent ever is, the ranges of the layers behind
    would be those of that, and their steps coarse (digits: 0.5 dB).
    """
    ends = np.full((2, *latents.shape[1:]), latent.zero_point, np.int8)
    ends[:, 0] = (-128, 127)
    return latent.dequantize(np.concatenate([latents, ends]))


def _check_operators(operators: Mapping[str, tuple[Operator, ...]]) -> None:
    """Refuses models that a runtime would refuse, whether or not it is installed here."""
    for member, used in operators.items():
        for operator in used:
            for runtime in _RUNTIMES:
                newest = newest_version(runtime, operator.name)
                if operator.version > newest:
                    raise ConversionError(
                        f"{member} uses {operator}, {runtime} has version {newest} at most",
                        fix="use another TensorFlow release, or a layer that lowers to an older operator",
                    )


def _manifest(
    run: Run,
    encoder: QuantizedModel,
    generator: QuantizedModel,
    operators: Mapping[str, tuple[Operator, ...]],
    quality: Quality,
    gap: GapCalibration,
    reach: npt.NDArray[np.int8],
) -> Manifest:
    pose, light = _layout(run)
    return Manifest(
        name=run.name,
        origin=Origin(run.recipe_name, run.recipe_digest, run.data_digest, f"twin-edge {__version__}"),
        files={},
        view=run.view,
        state=StateSpec(
            pose,
            encoder.output.shape[1] - (0 if run.pose is None else len(pose)),
            encoder.output.scale,
            encoder.output.zero_point,
            run.prior_deviation,
            light,
            *(tuple(row) for row in reach.tolist()),
        ),
        pose=run.pose,
        parts=None if run.labels is None else PartsSpec(_count(run), encoder.input.shape[2]),
        tensors={
            "encoder.input": encoder.input,
            "encoder.output": encoder.output,
            "generator.input": generator.input,
            "generator.output": generator.output,
        },
        operators=operators,
        minimum_runtime=max(encoder.minimum_runtime, generator.minimum_runtime, key=_version),
        gap=gap,
        quality=quality,
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _report(
    run: Run,
    bundle: Bundle,
    quality: Quality,
    measured: Mapping[RuntimeName, Measured],
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    manifest = bundle.manifest
    apart, share = runtimes_apart(list(measured.values()))
    test = run.test[evenly_rows(len(run.test), _TEST_FRAMES)]
    return {
        "name": run.name,
        "digest": bundle.digest,
        "bundle_bytes": len(bundle.data),
        "member_bytes": {name: entry.size for name, entry in manifest.files.items()},
        "state_bytes": manifest.state.length,
        "codec": [{"state_bits": level.bits, "loss_db": level.loss_db} for level in bundle.codec.levels],
        "minimum_runtime": manifest.minimum_runtime,
        "operators": {name: [str(operator) for operator in used] for name, used in manifest.operators.items()},
        "test_frames": quality.frames,
        "float": {"psnr_db": quality.float_psnr_db, "ssim": quality.float_ssim},
        "int8": {"psnr_db": quality.int8_psnr_db, "ssim": quality.int8_ssim},
        "default": {
            "psnr_db": quality.default_psnr_db,
            "ssim": quality.default_ssim,
            "bytes": quality.default_bytes,
            "fps": quality.default_fps,
        },
        "baseline": {
            "method": quality.baseline,
            "psnr_db": quality.baseline_psnr_db,
            "ssim": quality.baseline_ssim,
            "bytes": quality.default_bytes,
        },
        "beats_baseline": quality.beats_baseline,
        "warnings": [*run.warnings, *warnings],
        "runtimes": {
            name: dict(zip(("psnr_db", "ssim"), mean_quality(test, one.renderings), strict=True))
            | {"runtime": one.runtime}
            for name, one in measured.items()
        },
        "levels_between_runtimes": apart,
        "share_beyond_tolerance": share,
    }


def _pictures(test: Views, float_renderings: Views, main: Measured) -> dict[str, Views]:
    rows = np.linspace(0, len(test) - 1, 6).round().astype(int)
    difference = np.abs(main.renderings[rows].astype(np.int16) - float_renderings[rows])
    return {
        "view": test[rows],
        "float": float_renderings[rows],
        "int8": main.renderings[rows],
        "float - int8, x8": np.clip(difference * 8, 0, 255).astype(np.uint8),
    }
