"""Exact weights: no sum is near a tie, scales are powers of two, and rounding makes up for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.lite.python import schema_py_generated as schema

from twin_converters.exact import can_be_exact, exact
from twin_converters.operators import operator_name, parse
from twin_converters.rounding import LARGEST, Inputs, _alike, _rounded, _shared_out, equal_harm
from twin_edge.bundle import Bundle
from twin_edge.bundle.archive import GENERATOR
from twin_edge.errors import ConversionError

pytestmark = pytest.mark.training


def constant(model: Any, at: int, width: Any) -> np.ndarray:
    tensor = model.subgraphs[0].tensors[at]
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), width)


@pytest.mark.parametrize(("subject", "layers"), [("bundle_path", 5), ("moving_path", 5), ("parts_path", 12)])
def test_sums_cannot_come_near_a_tie(subject: str, layers: int, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(subject)
    model = parse(Bundle.open(path).members[GENERATOR])
    tensors, looked_at = model.subgraphs[0].tensors, 0
    for operator in model.subgraphs[0].operators:
        name = operator_name(model, operator)
        scales = [
            None if kind is None or kind.scale is None else kind.scale
            for kind in (tensors[at].quantization for at in (*operator.inputs, operator.outputs[0]))
        ]
        if name == "ADD":
            assert scales[0] == scales[1] == scales[2]
        if name not in {"CONV_2D", "FULLY_CONNECTED"} or tensors[operator.inputs[0]].type != schema.TensorType.INT8:
            continue
        looked_at += 1
        assert not (constant(model, operator.inputs[1], np.int8) % 4).any()
        bits = np.log2(scales[0].astype(float) * scales[1] / scales[3])
        np.testing.assert_allclose(bits, np.rint(bits), atol=1e-6)
        assert (constant(model, operator.inputs[2], np.int32) % 4 == np.where(np.rint(bits) == -2, 0, 2)).all()
        np.testing.assert_allclose(scales[2], scales[0] * scales[1], rtol=1e-6)
    assert looked_at == layers


def test_a_model_with_other_operators_is_left_alone(gray_path: Path, bundle_path: Path) -> None:
    assert not can_be_exact(Bundle.open(gray_path).members[GENERATOR])
    assert can_be_exact(Bundle.open(bundle_path).members[GENERATOR])


def test_two_graphs_that_do_not_correspond(bundle_path: Path) -> None:
    members = Bundle.open(bundle_path).members
    with pytest.raises(ConversionError, match="do not correspond"):
        exact(members[GENERATOR], members["encoder.tflite"], [np.zeros(16, np.float32)], 1e-4)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 24))
def test_rounding_makes_up_for_itself(seed: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs, inputs)) * np.linspace(1, 0.05, inputs)
    covariance = mixing @ mixing.T
    weights = rng.normal(size=(60, inputs))
    steps = np.abs(weights).max(1, keepdims=True) / 20
    plain = np.rint(weights / steps)
    found = _rounded(weights, steps, covariance)
    assert np.abs(found).max() <= LARGEST
    np.testing.assert_array_equal(found, np.rint(found))

    def error(whole: np.ndarray) -> float:
        missed = weights - whole * steps
        return float(np.einsum("ij,jk,ik->", missed, covariance, missed))

    # One row may be unlucky; all together are not.
    assert error(found) < 1.05 * error(plain)


def test_copies_take_what_one_weight_has_no_room_for() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4000, 3))
    values = np.c_[values, values[:, :1], values[:, :1]]
    alike = _alike(Inputs(values.mean(0), values.T @ values / len(values)))
    np.testing.assert_array_equal(alike.sum(1), [3, 1, 1, 3, 3])
    weights = np.array([[80.3, 5.2, -7.7, 0, 0], [-92.1, 0.4, 31.0, 0, 0]])
    whole = _shared_out(weights, np.ones((2, 1)), alike)
    np.testing.assert_array_equal(whole, [[31, 5, -8, 31, 18], [-31, 0, 31, -31, -30]])


def test_steps_do_equal_harm() -> None:
    seen = Inputs(np.zeros(2), np.diag([0.5, 1.5]))
    sizes = np.array([1.0, 4.0])
    steps = equal_harm(6, seen, sizes, 0.9)
    np.testing.assert_allclose(steps * np.tile(sizes, 3), steps[0])
    harm = (np.square(steps * np.tile(sizes, 3)) / 12).sum() * np.trace(seen.covariance)
    assert harm == pytest.approx(0.9)
    assert np.isfinite(equal_harm(6, Inputs(np.ones(2), np.ones((2, 2))), sizes, 0.0)).all()
