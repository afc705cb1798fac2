"""Layers of reals: one result, whatever the order of summation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_by_hand import bent
from twin_edge.models import Model as Native
from twin_edge.models import Quantization, load_runtime
from twin_edge.twin.exact import ExactGenerator
from twin_edge.twin.exact.reals import FloatDense, copies
from twin_edge.twin.exact.whole import InexactError

LATENT = Quantization(2 / 255, -1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
@settings(max_examples=60)
def test_sums_are_those_of_whole_numbers(seed: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.uniform(0, 6, inputs) * rng.choice([1, 2.0**-12], inputs)).astype(np.float32)
    weights = (rng.normal(size=(7, inputs)) * rng.choice([1, 1e-3], (7, inputs))).astype(np.float32)
    bias = rng.normal(size=7).astype(np.float32)
    out = np.empty(7, np.float32)
    layer = FloatDense(x, weights, bias, (None, None), reach=6.0, exact=False, out=out)
    layer.run()
    # Not one bit is lost on the way, so no order can lose another one.
    for row, added, total in zip(layer._weights, layer._bias, layer._sums, strict=True):
        parts = [
            sum((Fraction(float(w)) * Fraction(float(v)) for w, v in zip(row, part, strict=True)), Fraction(0))
            for part in (layer._input, layer._fine)
        ]
        parts[0] += Fraction(float(added))
        assert all(Fraction(float(part)) == part for part in parts)
        assert float(parts[0]) + float(parts[1]) == total
    order = rng.permutation(inputs)
    again = np.empty(7, np.float32)
    FloatDense(x[order], weights[:, order], bias, (None, None), reach=6.0, exact=False, out=again).run()
    np.testing.assert_array_equal(out, again)
    np.testing.assert_allclose(out, weights.astype(float) @ x + bias, rtol=1e-5, atol=1e-5)
    assert np.abs(out).max() <= layer.reach


def test_what_copies_is_left_as_it_is() -> None:
    weights = np.zeros((3, 2), np.float32)
    weights[[0, 2], [1, 0]] = 1
    assert copies(weights, np.zeros(3))
    assert not copies(weights, np.ones(3))
    x, out = np.array([1 / 3, 1e-7], np.float32), np.empty(3, np.float32)
    FloatDense(x, weights, np.zeros(3, np.float32), (None, None), reach=1.0, exact=False, out=out).run()
    np.testing.assert_array_equal(out, [x[1], 0, x[0]])


def test_weights_too_large_are_refused() -> None:
    weights = np.full((1, 2), 1e9, np.float32)
    with pytest.raises(InexactError, match="too large"):
        FloatDense(
            np.ones(2, np.float32),
            weights,
            np.zeros(1, np.float32),
            (None, None),
            reach=1.0,
            exact=False,
            out=np.empty(1, np.float32),
        )


def test_a_bent_twin_is_drawn_and_not_certain() -> None:
    content, rng = bent(0), np.random.default_rng(1)
    exact = ExactGenerator(content, LATENT)
    assert not exact.certain
    natives = [Native(content, load_runtime(name)) for name in ("tflite", "litert")]  # type: ignore[arg-type]
    states = rng.integers(-128, 128, (400, 8)).astype(np.int8)
    for native in natives:
        off = [(native.run(LATENT.dequantize(one)[np.newaxis]) != exact.values(one)).any() for one in states]
        assert np.mean(off) < 0.01
