"""A network without color, on 28x28 stills: the same way through training, conversion, bundle and runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from twin_edge.bundle import Bundle
from twin_edge.imagining import imagine
from twin_edge.models import installed_runtimes, load_runtime
from twin_edge.twin import Twin

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def bundle(gray_path: Path) -> Bundle:
    return Bundle.open(gray_path)


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
    samples = np.stack(list(imagine(bundle, 6, rounds=1, runtime=load_runtime())))
    assert samples.shape == (6, 28, 28, 3)
    assert samples.std(0).max() > 5
