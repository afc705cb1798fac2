"""The error of each layer: it adds up, and it finds the layer that was spoiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from twin_converters.layers import layer_errors, table, to_json
from twin_converters.operators import run_model
from twin_converters.quantize import quantize, to_float, to_int16_activations
from twin_edge.errors import ConversionError

pytestmark = pytest.mark.training

SIDE, CHANNELS = 8, 3


def saved(folder: Path, *, spoiled: bool = False, layers: int = 3) -> Path:
    """Saves a chain of convolutions; spoiled, the second has one channel that is 200 times the others, and unused."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, CHANNELS)), *(keras.layers.Conv2D(6, 3, padding="same") for _ in range(layers))]
    )
    if spoiled:
        kernel, bias = model.layers[1].get_weights()
        kernel[..., 0] *= 200
        model.layers[1].set_weights([kernel, bias])
        kernel, bias = model.layers[2].get_weights()
        kernel[:, :, 0] = 0
        model.layers[2].set_weights([kernel, bias])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", model, [tf.TensorSpec((1, SIDE, SIDE, CHANNELS), tf.float32)])
    archive.write_out(str(folder), verbose=False)
    return folder


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (24, SIDE, SIDE, CHANNELS)).astype(np.float32)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def original(sound: Path) -> bytes:
    return to_float(sound)


@pytest.fixture(scope="module")
def quantized(sound: Path, samples: np.ndarray) -> bytes:
    return quantize(sound, samples, int8_edges=False).content


@pytest.mark.parametrize("int8_edges", [True, False])
def test_errors_of_a_sound_model_are_rounding(
    sound: Path,
    original: bytes,
    quantized: bytes,
    samples: np.ndarray,
    int8_edges: bool,  # noqa: FBT001
) -> None:
    content = quantize(sound, samples, int8_edges=True).content if int8_edges else quantized
    errors = layer_errors(original, content, list(samples[:8]))
    assert sorted(error.layer.split()[0] for error in errors) == ["0", "1", "2"]
    assert sum(error.output_share for error in errors) == pytest.approx(1)
    assert [error.output_share for error in errors] == sorted((error.output_share for error in errors), reverse=True)
    for error in errors:
        # Rounding alone makes sqrt(1 / 12) steps; weights may add as much again, hardly more.
        assert 0.25 < error.rmse_steps < 0.8
        assert error.weights_rmse_steps < error.rmse_steps
        assert error.snr_db > 30
        assert error.used_share > 0.5
        assert error.saturated_share < 0.001


def test_the_shares_explain_the_error_of_the_whole_model(
    original: bytes, quantized: bytes, samples: np.ndarray
) -> None:
    parts = sum(error.output_rmse**2 for error in layer_errors(original, quantized, list(samples[:8])))
    whole = np.mean(np.square(run_model(original, list(samples[:8])) - run_model(quantized, list(samples[:8]))))
    # What is missing is the rounding of the input, which no operator makes.
    assert 0.5 < parts / whole < 1.2


def test_an_activation_with_a_useless_range_is_found_and_int16_recovers_it(tmp_path: Path, samples: np.ndarray) -> None:
    path = saved(tmp_path / "spoiled", spoiled=True)
    spoiled, rounded = to_float(path), quantize(path, samples, int8_edges=False).content
    worst = layer_errors(spoiled, rounded, list(samples[:8]))[0]
    assert worst.layer.startswith("1 ")
    assert worst.output_share > 0.9
    assert worst.rounding_share > 0.5
    fine = to_int16_activations(path, samples)
    exact, rough, finer = (run_model(content, list(samples[:8])) for content in (spoiled, rounded, fine))
    assert np.square(finer - exact).mean() < np.square(rough - exact).mean() / 4


def test_the_report_is_json_and_the_table_has_a_line_for_each_layer(
    original: bytes, quantized: bytes, samples: np.ndarray
) -> None:
    errors = layer_errors(original, quantized, list(samples[:2]))
    assert len(json.loads(json.dumps(to_json(errors)))) == len(errors)
    lines = table(errors).splitlines()
    assert len(lines) == 1 + len(errors)
    assert all("CONV_2D" in line for line in lines[1:])


def test_other_graphs_are_refused(original: bytes, tmp_path: Path, samples: np.ndarray) -> None:
    other = quantize(saved(tmp_path / "longer", layers=4), samples, int8_edges=False).content
    with pytest.raises(ConversionError, match="do not correspond"):
        layer_errors(original, other, list(samples[:2]))


def test_a_conversion_that_loses_too_much_names_the_layer(run_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "runs" / "quick"))
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["gate"]["max_psnr_loss_db"] = -1.0
    (run / "recipe.json").write_text(json.dumps(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "twin_converters", str(run), "--out", str(tmp_path / "quick.twin")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1
    assert "int16 activations would change the generator's renderings by " in done.stderr
    assert "own error" in done.stderr
    assert "int8 loses" in done.stderr
    assert "layer" in done.stderr.splitlines()[-1] or "activation" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "quick.twin").exists()
