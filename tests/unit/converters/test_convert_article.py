"""A network without color, on 28x28 stills: the same way through training, conversion, bundle and runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.imagining import imagine
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.twin import Twin

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("edge", "training", "converters")),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}
RECIPE = """
[data]
train_share = 0.6
validation_share = 0.2
gap_s = 0.0
[model]
family = "article"
size = 28
latent = 20
encoder_filters = [8, 16]
generator_filters = [16, 12, 8]
discriminator_filters = [8, 16]
[train]
steps = 40
learning_rate = 2e-3
[gate]
min_psnr_db = 5.0
min_ssim = 0.0
max_psnr_loss_db = 5.0
max_share_apart = 1.0
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("article")
    (folder / "stills").mkdir()
    rng = np.random.default_rng(1)
    for number in range(200):
        image = np.zeros((28, 28), np.uint8)
        x0, y0, x1, y1 = (int(value) for value in rng.integers(5, 23, 4))
        cv2.line(image, (x0, y0), (x1, y1), 255, 3, cv2.LINE_AA)
        cv2.imwrite(str(folder / "stills" / f"{number:03d}.png"), image)
    (folder / "small.toml").write_text(RECIPE)
    for command in (
        ["twin_training", "images:stills", "--name", "strokes", "--recipe", "small.toml"],
        ["twin_converters", "runs/strokes"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return Bundle.open(folder / "bundles" / "strokes.twin")


def test_bundle_has_one_channel_inside_and_three_outside(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.tensors["encoder.input"].shape == (1, 28, 28, 1)
    assert manifest.tensors["generator.output"].shape == (1, 28, 28, 1)
    assert manifest.tensors["encoder.output"].scale <= 8 / 255 + 1e-6
    assert (manifest.gap.rows, manifest.gap.columns) == (14, 14)
    assert manifest.state.deviation == 1.0
    assert {"TRANSPOSE_CONV", "LEAKY_RELU", "TANH"} <= {each.name for each in manifest.operators["generator.tflite"]}


@pytest.mark.parametrize("name", installed_runtimes())
def test_it_runs_on_every_runtime(bundle: Bundle, name: str) -> None:
    twin = Twin(bundle, load_runtime(name))  # type: ignore[arg-type]
    twin.require_self_test()
    view = bundle.golden().views[0]
    rendering = twin.render(twin.encode(view))
    assert rendering.shape == (28, 28, 3)
    assert (rendering[..., 0] == rendering[..., 1]).all()
    assert 0 <= twin.compare(view, rendering).score <= 1
    # A colored frame is seen by its luma.
    gray = np.full((28, 28, 3), cv2.cvtColor(np.uint8([[[200, 30, 90]]]), cv2.COLOR_RGB2GRAY)[0, 0], np.uint8)
    np.testing.assert_array_equal(twin.encode(np.full((28, 28, 3), (200, 30, 90), np.uint8)), twin.encode(gray))


def test_it_can_be_imagined(bundle: Bundle) -> None:
    samples = np.stack(list(imagine(bundle, 6)))
    assert samples.shape == (6, 28, 28, 3)
    assert samples.std(0).max() > 5
